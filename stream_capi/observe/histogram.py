"""The ages of events as a histogram that is filled a batch at a time, and what the last while brought.

``prometheus_client.Histogram`` takes one value at a time: five times what all other counting for a batch costs.

The status page's quantiles come from bounds that are at most a tenth apart, so that what it says is wrong by a tenth at
most. Prometheus gets a few of these bounds: each is a series for each member.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence

from prometheus_client.core import HistogramMetricFamily

_STEP = 1.1  # from one fine bound to the next


def finer(bounds: Sequence[float], smallest: float) -> list[float]:
    """The bounds from ``smallest`` on, with others between them, so that none is more than a tenth above the one before."""
    fine = [smallest]
    for bound in bounds:
        if bound <= smallest:
            continue
        low, steps = fine[-1], math.ceil(math.log(bound / fine[-1]) / math.log(_STEP))
        fine += [low * (bound / low) ** (step / steps) for step in range(1, steps)]
        fine.append(bound)
    return fine


class AgeHistogram:
    """Counts of ages in milliseconds by the smallest bound that is not below them; the last place has no bound.

    ``exposed_ms`` are those of ``bounds_ms`` that Prometheus gets; all of them where none are named.
    """

    def __init__(self, bounds_ms: Sequence[int], exposed_ms: Sequence[int] = ()) -> None:
        self._bounds = tuple(bounds_ms)
        self._exposed = frozenset(exposed_ms or bounds_ms)
        self.counts = [0] * (len(bounds_ms) + 1)
        self.sum = 0

    @property
    def bounds_seconds(self) -> list[float]:
        """All bounds in seconds."""
        return [bound / 1000 for bound in self._bounds]

    def observe_alike(self, n: int, least: int, most: int, total: int) -> bool:
        """Take ``n`` ages by their bounds and sum alone; False, and nothing taken, where they lie in several places."""
        at = bisect_left(self._bounds, least)
        if at != bisect_left(self._bounds, most):
            return False
        self.counts[at] += n
        self.sum += total
        return True

    def observe_all(self, ages: Sequence[int]) -> None:
        """Take many. Those of one batch mostly lie between the same two bounds: then they aren't looked at singly."""
        if not ages:
            return
        least, most, total = min(ages), max(ages), sum(ages)
        if self.observe_alike(len(ages), least, most, total):
            return
        self.sum += total
        first, last = bisect_left(self._bounds, least), bisect_left(self._bounds, most)
        ordered, at = sorted(ages), 0
        for i in range(first, last):
            end = bisect_right(ordered, self._bounds[i], at)
            self.counts[i] += end - at
            at = end
        self.counts[last] += len(ordered) - at

    def add_to(self, family: HistogramMetricFamily) -> None:
        """Expose it, in seconds."""
        total, buckets = 0, []
        for bound, count in zip(self._bounds, self.counts, strict=False):
            total += count
            if bound in self._exposed:
                buckets.append((str(bound / 1000), float(total)))
        buckets.append(("+Inf", float(total + self.counts[-1])))
        family.add_metric([], buckets, self.sum / 1000)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that ``share`` of ``counts`` don't pass; None for none. Straight between two bounds.

    Above the last bound there is nothing to go by: the bound itself is given, which is then too low.
    """
    wanted, below = share * sum(counts), 0
    if not wanted:
        return None
    for i, count in enumerate(counts):
        if below + count >= wanted:
            low = bounds[i - 1] if i else 0.0
            high = bounds[min(i, len(bounds) - 1)]
            return low + (high - low) * (wanted - below) / count
        below += count
    return bounds[-1]


class Rolling:
    """The last while of a histogram: its counts less a copy of what they were. Seconds of the caller's clock."""

    def __init__(
        self, bounds: Sequence[float], read: Callable[[], Sequence[int]], seconds: float = 60.0, step: float = 5.0
    ) -> None:
        self.bounds = tuple(bounds)
        self._read = read
        self._seconds = seconds
        self._step = step
        self._copies: deque[tuple[float, list[int]]] = deque()
        self._next = float("-inf")

    def roll(self, now: float) -> None:
        """Take a copy where it is time for one. To be called before values are added."""
        if now < self._next:
            return
        # Whatever came at or after ``_next`` would have rolled first: so long have the counts been what they are.
        self._copies.append((max(self._next, now - self._seconds), list(self._read())))
        self._next = now + self._step
        self._forget(now)

    def counts(self, now: float) -> list[int]:
        """What came in the last while, which is up to one step longer than asked."""
        self.roll(now)
        self._forget(now)
        return [count - before for count, before in zip(self._read(), self._copies[0][1], strict=True)]

    def _forget(self, now: float) -> None:
        while len(self._copies) > 1 and self._copies[1][0] <= now - self._seconds:
            self._copies.popleft()


class RecentSums:
    """How many in each of the last ``spans`` spans of time, of so many ``seconds`` each; below 2^32 in each of them."""

    def __init__(self, spans: int, seconds: float = 1.0) -> None:
        self._sums = array("I", [0] * spans)
        self._seconds = seconds
        self._last = 0

    def add(self, n: int, now: float) -> None:
        """Count ``n`` at this moment."""
        self._forward(now)
        self._sums[self._last % len(self._sums)] += n

    def series(self, now: float) -> list[int]:
        """The sums of the whole spans before this one, oldest first."""
        self._forward(now)
        at = self._last % len(self._sums)
        return [*self._sums[at + 1 :], *self._sums[:at]]

    def total(self, now: float) -> int:
        """The sum of all spans, and of this one so far."""
        self._forward(now)
        return sum(self._sums)

    def _forward(self, now: float) -> None:
        """Empty the places of the spans that have begun since."""
        span = int(now / self._seconds)
        for passed in range(max(self._last, span - len(self._sums)) + 1, span + 1):
            self._sums[passed % len(self._sums)] = 0
        self._last = max(self._last, span)
