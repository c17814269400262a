"""Distributions in plain lists, filled a batch at a time: an observation an event would cost more than hashing one.

Values and bounds are in whatever unit the owner chooses, the same for both; ``unit`` says how many of it make one of the
unit that is exposed (1000 for values in milliseconds, exposed as seconds).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence

from prometheus_client.core import HistogramMetricFamily


class Histogram:
    """Counts of values by the smallest bound that is not below them, with one place more for what is above all bounds."""

    def __init__(self, bounds: Sequence[float], unit: float = 1.0) -> None:
        self.bounds = tuple(bounds)
        self.unit = unit
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Take one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_alike(self, n: int, least: float, most: float, total: float) -> bool:
        """Take ``n`` values by their bounds and sum alone; False, and nothing taken, where they lie in several places."""
        at = bisect_left(self.bounds, least)
        if at != bisect_left(self.bounds, most):
            return False
        self.counts[at] += n
        self.sum += total
        return True

    def observe_all(self, values: Sequence[float]) -> None:
        """Take many. Those of one batch mostly lie between the same two bounds: then they aren't looked at singly."""
        if not values:
            return
        least, most, total = min(values), max(values), sum(values)
        if self.observe_alike(len(values), least, most, total):
            return
        self.sum += total
        first, last = bisect_left(self.bounds, least), bisect_left(self.bounds, most)
        ordered, at = sorted(values), 0
        for i in range(first, last):
            end = bisect_right(ordered, self.bounds[i], at)
            self.counts[i] += end - at
            at = end
        self.counts[last] += len(ordered) - at

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def add_to(self, family: HistogramMetricFamily) -> None:
        """Expose it."""
        total, buckets = 0, []
        for bound, count in zip([*self.bounds, None], self.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound is None else str(bound / self.unit), float(total)))
        family.add_metric([], buckets, self.sum / self.unit)

    def quantile(self, share: float, counts: Sequence[int]) -> float | None:
        """The value that ``share`` of ``counts`` don't pass, exposed unit; None for none. Straight between two bounds.

        Above the last bound there is nothing to go by: the bound itself is given, which is then too low.
        """
        wanted, below = share * sum(counts), 0
        if not wanted:
            return None
        for i, count in enumerate(counts):
            if below + count >= wanted:
                low = self.bounds[i - 1] if i else 0.0
                high = self.bounds[min(i, len(self.bounds) - 1)]
                return (low + (high - low) * (wanted - below) / count) / self.unit
            below += count
        return self.bounds[-1] / self.unit


class Rolling:
    """The last while of a histogram, by the difference to a copy of its counts. Seconds of the caller's clock."""

    def __init__(self, histogram: Histogram, seconds: float = 60.0, step: float = 5.0) -> None:
        self.histogram = histogram
        self._seconds = seconds
        self._step = step
        self._copies: deque[tuple[float, list[int]]] = deque()
        self._next = float("-inf")

    def roll(self, now: float) -> None:
        """Take a copy where it is time for one. To be called before values are added."""
        if now < self._next:
            return
        # Whatever came at or after ``_next`` would have rolled first: so long have the counts been what they are.
        self._copies.append((max(self._next, now - self._seconds), list(self.histogram.counts)))
        self._next = now + self._step
        self._forget(now)

    def counts(self, now: float) -> list[int]:
        """What came in the last while, which is up to one step longer than asked."""
        self.roll(now)
        self._forget(now)
        return [count - before for count, before in zip(self.histogram.counts, self._copies[0][1], strict=True)]

    def _forget(self, now: float) -> None:
        while len(self._copies) > 1 and self._copies[1][0] <= now - self._seconds:
            self._copies.popleft()


class PerSecond:
    """How many in each of the last ``seconds`` seconds."""

    def __init__(self, seconds: int) -> None:
        self._sums = [0] * seconds
        self._last = 0

    def add(self, n: int, now: float) -> None:
        """Count ``n`` at this moment."""
        self._forward(int(now))
        self._sums[self._last % len(self._sums)] += n

    def series(self, now: float) -> list[int]:
        """The sums of the whole seconds before this one, oldest first."""
        self._forward(int(now))
        at = self._last % len(self._sums)
        return self._sums[at + 1 :] + self._sums[:at]

    def _forward(self, second: int) -> None:
        """Empty the places of the seconds that have begun since."""
        for passed in range(max(self._last, second - len(self._sums)) + 1, second + 1):
            self._sums[passed % len(self._sums)] = 0
        self._last = max(self._last, second)
