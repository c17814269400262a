"""Parses dates of HTTP, and estimates the clocks of other machines from the times that they state.

An estimate is an offset to the monotonic clock, so it doesn't move if the local wall clock is set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median

_EARLIEST, _LATEST = 1_577_836_800.0, 4_102_444_800.0  # 2020 and 2100: any other date is not the present time


def http_date(text: str | None) -> float | None:
    """An HTTP date (RFC 9110, 5.6.7) in epoch seconds; None if it can't be parsed."""
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
    """A ``Date`` header in epoch seconds; None if it can't be parsed, or can't be the present time."""
    moment = http_date(text)
    return moment if moment is not None and _EARLIEST <= moment < _LATEST else None


class RemoteClock:
    """An estimate of another machine's clock, from times that it states: exact to half of a request's duration.

    It is the median of the last samples, so one machine of many with a wrong clock doesn't change it. ``now`` is seconds of
    the monotonic clock, ``epoch`` of the local wall clock. If these two drift apart, this machine was suspended or its clock
    was set. Which one is unknown, so the estimate is dropped until the next sample. It is also dropped after ``keeps``
    seconds without a sample.
    """

    def __init__(self, keeps: float = float("inf"), samples: int = 5, tolerance: float = 5.0) -> None:
        self._bases: deque[float] = deque(maxlen=samples)
        self._keeps = keeps
        self._tolerance = tolerance
        self._local = 0.0  # epoch - now when the last sample was taken
        self._last = 0.0

    def answered(self, date: str | None, sent_at: float, now: float, epoch: float) -> None:
        """Take the date of an answer. It has a resolution of one second, so the middle of that second is taken."""
        moment = clock_date(date)
        if moment is not None:
            self.said(moment + 0.5, sent_at, now, epoch)

    def said(self, moment: float, sent_at: float, now: float, epoch: float) -> None:
        """Take a sample: the other clock was at ``moment`` in the middle between ``sent_at`` and ``now``."""
        self._forget_if_stale(now, epoch)
        self._local, self._last = epoch - now, now
        self._bases.append(moment - (sent_at + now) / 2)

    def at(self, now: float, epoch: float) -> float | None:
        """The other clock's epoch seconds; None if they aren't known."""
        self._forget_if_stale(now, epoch)
        return now + median(self._bases) if self._bases else None

    def offset(self, now: float, epoch: float) -> float | None:
        """By how many seconds the local clock is ahead of the other; None if that isn't known."""
        there = self.at(now, epoch)
        return None if there is None else epoch - there

    def _forget_if_stale(self, now: float, epoch: float) -> None:
        if abs(epoch - now - self._local) > self._tolerance or now - self._last > self._keeps:
            self._bases.clear()


class Clocks:
    """The clocks of the endpoint and of the brokers, compared with the local one; and when to report a difference."""

    NEWS_SECONDS = 60.0
    _OVER_SECONDS = 50.0  # lower than NEWS_SECONDS, so that a difference near that isn't reported again and again
    _KEEPS_SECONDS = 120.0  # brokers' stamps mostly give a lower bound, which is soon too low

    def __init__(self, now: Callable[[], float], epoch: Callable[[], float]) -> None:
        self._now, self._epoch = now, epoch
        self.endpoint = RemoteClock()
        self.brokers = RemoteClock(keeps=self._KEEPS_SECONDS)
        self.differing: set[str] = set()

    def answered(self, date: str | None, sent_at: float) -> None:
        """Take the date of an answer that the endpoint has just given."""
        self.endpoint.answered(date, sent_at, self._now(), self._epoch())

    def brokers_stamped(self, milliseconds: int) -> None:
        """Take the time stamp that a broker gave a record, some time ago.

        A stamp ahead of the local clock shows that this clock is behind. An earlier stamp shows nothing, because the record
        may be old.
        """
        now, epoch, moment = self._now(), self._epoch(), milliseconds / 1000
        known = self.brokers.at(now, epoch)
        if moment > epoch + 1.0 and (known is None or moment > known - 1.0):
            self.brokers.said(moment, now, now, epoch)

    def brokers_wrote(self, milliseconds: int, seconds: float) -> None:
        """Take the time stamp that a broker gave a record sent ``seconds`` ago and acknowledged now."""
        now = self._now()
        self.brokers.said(milliseconds / 1000, now - seconds, now, self._epoch())

    def event_now(self) -> tuple[int, bool]:
        """The present epoch milliseconds to compare event times with, and whether they are by the endpoint's clock."""
        now, epoch = self._now(), self._epoch()
        there = self.endpoint.at(now, epoch)
        return int((epoch if there is None else there) * 1000), there is not None

    def judge(self) -> tuple[bool, float]:
        """Which clock event times are compared with, and its offset to the monotonic clock. If either changes, events that
        wait are compared again."""
        milliseconds, known = self.event_now()
        return known, milliseconds / 1000 - self._now()

    def offset(self, of: str) -> float | None:
        """By how many seconds the local clock is ahead of that of the ``endpoint`` or the ``brokers``; None if unknown."""
        return (self.endpoint if of == "endpoint" else self.brokers).offset(self._now(), self._epoch())

    def news(self) -> Iterator[tuple[str, float | None]]:
        """The changes since the last call: whose clock now differs from the local one, and by how much; None: no longer, or
        it isn't known."""
        for of in ("endpoint", "brokers"):
            offset = self.offset(of)
            if of in self.differing:
                if offset is None or abs(offset) < self._OVER_SECONDS:
                    self.differing.discard(of)
                    yield of, None
            elif offset is not None and abs(offset) > self.NEWS_SECONDS:
                self.differing.add(of)
                yield of, offset
