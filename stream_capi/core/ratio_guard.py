"""How many events may be dead-lettered: the share of rejected ones among the recent ones (contract, section 8)."""

from __future__ import annotations


class RatioGuard:
    """Distinguishes poison from a fault of all events by the share of rejected events among the recent ones.

    It is asked *before* anything is dead-lettered, with the events in question counted in. Recent are the last
    ``window`` events; below ``at_least`` of them there is no share to speak of, and the answer is yes.
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
        """Whether ``count`` events more may be dead-lettered. Counts them as rejected when they may."""
        total = self._good + self._bad + count
        if total >= self._at_least and (self._bad + count) / total > self._max_ratio:
            return False
        self._bad += count
        self._forget()
        return True

    def _forget(self) -> None:
        """Scale both counts down to the window: old events fade, and no list of them is kept."""
        total = self._good + self._bad
        if total > self._window:
            self._good *= self._window / total
            self._bad *= self._window / total


class SourceGuard(RatioGuard):
    """The guard of a source: once it has said no, it goes on saying no until the share among what came since is in bounds.

    How many events wait is of no account: what waits would else keep out what waits, for ever.
    """

    def __init__(self, max_ratio: float, at_least: int = 100, window: int = 200) -> None:
        super().__init__(max_ratio, at_least, window)
        self.held = False
        self._paused = False

    def pause(self, paused: bool) -> None:
        """While true nothing is counted: waiting events are mapped again, and were counted before."""
        self._paused = paused

    @property
    def paused(self) -> bool:
        """Whether nothing is counted at present."""
        return self._paused

    def passed(self, count: int) -> None:
        """Count events that were good."""
        if not self._paused:
            super().passed(count)

    def admits(self, count: int) -> bool:
        """Whether ``count`` events more may be dead-lettered; where not, the source is held from now on."""
        if self.held:
            self._bad += 0 if self._paused else count
            self._forget()
            return False
        if super().admits(count):
            return True
        self.held, self._good, self._bad = True, 0.0, 0.0
        return False

    def over(self) -> bool:
        """Whether enough events have come since, and few enough of them bad ones."""
        total = self._good + self._bad
        return total >= self._at_least and self._bad / total <= self._max_ratio
