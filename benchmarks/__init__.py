"""Compares the program's cost with that of its parts and of other programs: ``make bench``.

Every contender is a process of its own. It is measured from outside, by the user and system time that the kernel counts for
it, with the same events from the same broker to the same endpoint. What counts are ratios within one run, because times of
two machines can't be compared.
"""
