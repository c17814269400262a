"""Delta debugging (Zeller's ddmin): find a smallest part of a schedule that still fails, within a number of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Shrunk(NamedTuple):
    """What is left, and how many runs it took. ``whole``: the runs sufficed to show that nothing more can be left out."""

    left: tuple[int, ...]
    runs: int
    whole: bool


class _Cut(NamedTuple):
    """A smaller schedule, and the number of parts to split it into next, if it fails."""

    left: tuple[int, ...]
    parts: int


class _OutOfRuns(Exception):
    pass


def shrink(count: int, fails: Callable[[tuple[int, ...]], bool], runs: int) -> Shrunk:
    """Of the numbers below ``count``, which fail together, find a smallest part that still fails. Tries the empty one first.

    A failure that occurs only sometimes may not occur in a run: what is left failed once, and no smaller part was seen to
    fail.
    """
    known: dict[tuple[int, ...], bool] = {}
    left = tuple(range(count))

    def asked(numbers: tuple[int, ...]) -> bool:
        if numbers not in known:
            if len(known) >= runs:
                raise _OutOfRuns
            known[numbers] = fails(numbers)
        return known[numbers]

    try:
        if asked(()):
            return Shrunk((), len(known), True)
        parts = 2
        while len(left) > 1:
            smaller = next((cut for cut in _cuts(left, parts) if asked(cut.left)), None)
            if smaller is not None:
                left, parts = smaller
            elif parts < len(left):
                parts = min(2 * parts, len(left))
            else:
                break
    except _OutOfRuns:
        return Shrunk(left, len(known), False)
    return Shrunk(left, len(known), True)


def _cuts(left: Sequence[int], parts: int) -> list[_Cut]:
    """Each part alone, then all but one part."""
    bounds = [len(left) * part // parts for part in range(parts + 1)]
    spans = list(pairwise(bounds))
    alone = [_Cut(tuple(left[begin:end]), 2) for begin, end in spans]
    if parts == 2:  # with two parts, all but one is the other one
        return alone
    return alone + [_Cut((*left[:begin], *left[end:]), parts - 1) for begin, end in spans]
