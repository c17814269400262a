"""How often something happened in the last while."""

from __future__ import annotations

from collections import deque


class Window:
    """The last ``limit`` moments within ``seconds``; a limit of 0 is none. Seconds of a monotonic clock."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._at: deque[float] = deque(maxlen=limit)

    def add(self, now: float) -> None:
        """It happened now."""
        self._at.append(now)

    def room(self, now: float) -> float:
        """How often it may happen now."""
        if not self.limit:
            return float("inf")
        while self._at and self._at[0] + self._seconds <= now:
            self._at.popleft()
        return self.limit - len(self._at)

    def full_until(self, now: float) -> float | None:
        """Until when there is no room, None where there is some."""
        return self._at[0] + self._seconds if self.room(now) <= 0 else None
