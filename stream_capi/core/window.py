"""Limits how often something may happen within a time window."""

from __future__ import annotations

from collections import deque


class Window:
    """At most ``limit`` times within ``seconds``; a limit of 0 means no limit. Times are seconds of a monotonic clock."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._at: deque[float] = deque(maxlen=limit)

    def add(self, now: float) -> None:
        """Note that it happened now."""
        self._at.append(now)

    def room(self, now: float) -> float:
        """How many times it may still happen now."""
        if not self.limit:
            return float("inf")
        while self._at and self._at[0] + self._seconds <= now:
            self._at.popleft()
        return self.limit - len(self._at)

    def full_until(self, now: float) -> float | None:
        """Until when it may not happen; None if it may happen now."""
        return self._at[0] + self._seconds if self.room(now) <= 0 else None
