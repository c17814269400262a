"""What the program costs, against what its parts cost: ``make bench``.

Every contender is a process of its own, measured from outside by the user and system time that the kernel counts for it, on
the same events out of the same broker to the same endpoint. Figures are ratios of one run, because times of two machines
can't be compared.
"""
