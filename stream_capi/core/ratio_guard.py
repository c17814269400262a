"""Limits the share of rejected events among recent ones that may be dead-lettered (contract, section 8)."""

from __future__ import annotations


class RatioGuard:
    """Distinguishes single bad events from a fault of all events, by the share of rejected events among recent ones.

    It must be asked *before* anything is dead-lettered; the events in question are counted in. Recent are about the last
    ``window`` events; with fewer than ``at_least`` a share means little, and the answer is yes.
    """

    def __init__(self, max_ratio: float, at_least: int = 100, window: int = 200) -> None:
        self._max_ratio = max_ratio
        self._at_least = at_least
        self._window = window
        self._good = 0.0
        self._bad = 0.0

    def passed(self, count: int) -> None:
        """Count events that were good."""
        self._good += count
        self._forget()

    def admits(self, count: int) -> bool:
        """Whether ``count`` more events may be dead-lettered. If so, they are counted as rejected."""
        total = self._good + self._bad + count
        if total >= self._at_least and (self._bad + count) / total > self._max_ratio:
            return False
        self._bad += count
        self._forget()
        return True

    def _forget(self) -> None:
        """Scale both counts down to the window: older events count for less, and no list of events is needed."""
        total = self._good + self._bad
        if total > self._window:
            self._good *= self._window / total
            self._bad *= self._window / total


class SourceGuard(RatioGuard):
    """The guard of a source. After it has said no once, it says no until ``over``: the share among events since then is low.

    The number of events that wait doesn't matter: otherwise these would keep the share high, and wait for ever.
    """

    def __init__(self, max_ratio: float, at_least: int = 100, window: int = 200) -> None:
        super().__init__(max_ratio, at_least, window)
        self.held = False
        self._paused = False

    def pause(self, paused: bool) -> None:
        """While true, nothing is counted: events that waited are mapped again, and were counted before."""
        self._paused = paused

    @property
    def paused(self) -> bool:
        """Whether counting is paused."""
        return self._paused

    def passed(self, count: int) -> None:
        """Count events that were good."""
        if not self._paused:
            super().passed(count)

    def admits(self, count: int) -> bool:
        """Whether ``count`` more events may be dead-lettered; if not, the source is held from now on."""
        if self.held:
            self._bad += 0 if self._paused else count
            self._forget()
            return False
        if super().admits(count):
            return True
        self.held, self._good, self._bad = True, 0.0, 0.0
        return False

    def over(self) -> bool:
        """Whether enough events have been counted since the source was held, and few enough of them were rejected."""
        total = self._good + self._bad
        return total >= self._at_least and self._bad / total <= self._max_ratio
