"""What time it is elsewhere: dates that an endpoint writes, and its clock as estimated from them.

The estimate is kept against a monotonic clock, so that a local wall clock that is set right or wrong doesn't move it.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median

_EARLIEST, _LATEST = 1_577_836_800.0, 4_102_444_800.0  # 2020 and 2100: a date outside is no clock's


def http_date(text: str | None) -> float | None:
    """A date of HTTP (RFC 9110, 5.6.7) in epoch seconds, None where it can't be read."""
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime.fromtimestamp(0, UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def clock_date(text: str | None) -> float | None:
    """A ``Date`` header in epoch seconds, None where it can't be read or no clock would say so."""
    moment = http_date(text)
    return moment if moment is not None and _EARLIEST <= moment < _LATEST else None


class RemoteClock:
    """Another machine's clock, from the dates of its answers: right within a second and half of a request's time.

    The median of the last few counts, so that one machine of many with a wrong clock moves nothing. ``now`` is seconds of
    the monotonic clock, ``epoch`` those of the local wall clock. Where the two don't run alike any more, the machine was
    suspended or its clock set: which one can't be told, so the estimate is forgotten until the next answer.
    """

    def __init__(self, samples: int = 5, tolerance: float = 5.0) -> None:
        self._bases: deque[float] = deque(maxlen=samples)
        self._tolerance = tolerance
        self._local = 0.0  # epoch - now when the last sample was taken

    def answered(self, date: str | None, sent_at: float, now: float, epoch: float) -> None:
        """An answer bore this date. The second was written somewhere in its request's time: the middle is taken of both."""
        moment = clock_date(date)
        if moment is None:
            return
        self._forget_if_set(now, epoch)
        self._local = epoch - now
        self._bases.append(moment + 0.5 - (sent_at + now) / 2)

    def at(self, now: float, epoch: float) -> float | None:
        """The other clock's epoch seconds, None where it isn't known."""
        self._forget_if_set(now, epoch)
        return now + median(self._bases) if self._bases else None

    def offset(self, now: float, epoch: float) -> float | None:
        """By how many seconds the local clock is ahead of the other, None where that isn't known."""
        there = self.at(now, epoch)
        return None if there is None else epoch - there

    def _forget_if_set(self, now: float, epoch: float) -> None:
        if abs(epoch - now - self._local) > self._tolerance:
            self._bases.clear()
