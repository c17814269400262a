"""What time it is elsewhere: dates that an endpoint writes, and its clock as estimated from them.

The estimate is kept against a monotonic clock, so that a local wall clock that is set right or wrong doesn't move it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
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
    """Another machine's clock, from what it says: right within half of what a request takes.

    The median of the last few counts, so that one machine of many with a wrong clock moves nothing. ``now`` is seconds of
    the monotonic clock, ``epoch`` those of the local wall clock. Where the two don't run alike any more, the machine was
    suspended or its clock set. Which one is unknown, so the estimate is dropped until the next answer. It is dropped as well
    after ``keeps`` seconds without one.
    """

    def __init__(self, keeps: float = float("inf"), samples: int = 5, tolerance: float = 5.0) -> None:
        self._bases: deque[float] = deque(maxlen=samples)
        self._keeps = keeps
        self._tolerance = tolerance
        self._local = 0.0  # epoch - now when the last sample was taken
        self._last = 0.0

    def answered(self, date: str | None, sent_at: float, now: float, epoch: float) -> None:
        """An answer bore this date, of one second's resolution: the middle of it is taken."""
        moment = clock_date(date)
        if moment is not None:
            self.said(moment + 0.5, sent_at, now, epoch)

    def said(self, moment: float, sent_at: float, now: float, epoch: float) -> None:
        """It said ``moment`` between two moments of ours: the middle is taken."""
        self._forget_if_stale(now, epoch)
        self._local, self._last = epoch - now, now
        self._bases.append(moment - (sent_at + now) / 2)

    def at(self, now: float, epoch: float) -> float | None:
        """The other clock's epoch seconds, None where it isn't known."""
        self._forget_if_stale(now, epoch)
        return now + median(self._bases) if self._bases else None

    def offset(self, now: float, epoch: float) -> float | None:
        """By how many seconds the local clock is ahead of the other, None where that isn't known."""
        there = self.at(now, epoch)
        return None if there is None else epoch - there

    def _forget_if_stale(self, now: float, epoch: float) -> None:
        if abs(epoch - now - self._local) > self._tolerance or now - self._last > self._keeps:
            self._bases.clear()


class Clocks:
    """The clocks of the endpoint and of the brokers beside the local one, and when a difference is news."""

    NEWS_SECONDS = 60.0
    _OVER_SECONDS = 50.0  # a difference at the bound is no news each second
    _KEEPS_SECONDS = 120.0  # what brokers said is a lower bound mostly: it isn't believed for long

    def __init__(self, now: Callable[[], float], epoch: Callable[[], float]) -> None:
        self._now, self._epoch = now, epoch
        self.endpoint = RemoteClock()
        self.brokers = RemoteClock(keeps=self._KEEPS_SECONDS)
        self.differing: set[str] = set()

    def answered(self, date: str | None, sent_at: float) -> None:
        """The endpoint has answered just now."""
        self.endpoint.answered(date, sent_at, self._now(), self._epoch())

    def brokers_stamped(self, milliseconds: int) -> None:
        """A record was stamped by its broker, some time before now.

        A stamp ahead of the local clock shows that it is behind. One behind says nothing: the record may be old.
        """
        now, epoch, moment = self._now(), self._epoch(), milliseconds / 1000
        known = self.brokers.at(now, epoch)
        if moment > epoch + 1.0 and (known is None or moment > known - 1.0):
            self.brokers.said(moment, now, now, epoch)

    def brokers_wrote(self, milliseconds: int, seconds: float) -> None:
        """A broker has stamped and acknowledged a record that went out ``seconds`` ago."""
        now = self._now()
        self.brokers.said(milliseconds / 1000, now - seconds, now, self._epoch())

    def event_now(self) -> tuple[int, bool]:
        """The milliseconds that event times are measured against, and whether they are the endpoint's."""
        now, epoch = self._now(), self._epoch()
        there = self.endpoint.at(now, epoch)
        return int((epoch if there is None else there) * 1000), there is not None

    def judge(self) -> tuple[bool, float]:
        """Which clock judges events, and its offset to the monotonic one. If one changes, waiting events are judged again."""
        milliseconds, known = self.event_now()
        return known, milliseconds / 1000 - self._now()

    def offset(self, of: str) -> float | None:
        """By how many seconds the local clock is ahead of that of the ``endpoint`` or the ``brokers``, where known."""
        return (self.endpoint if of == "endpoint" else self.brokers).offset(self._now(), self._epoch())

    def news(self) -> Iterator[tuple[str, float | None]]:
        """Whose clock differs from the local one since the last time, by how much, or None: not any more, as far as known."""
        for of in ("endpoint", "brokers"):
            offset = self.offset(of)
            if of in self.differing:
                if offset is None or abs(offset) < self._OVER_SECONDS:
                    self.differing.discard(of)
                    yield of, None
            elif offset is not None and abs(offset) > self.NEWS_SECONDS:
                self.differing.add(of)
                yield of, offset
