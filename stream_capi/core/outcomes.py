"""What an answer means (contract, section 6), and how a refused batch comes down to the events that caused it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stream_capi.core.clock import clock_date, http_date
from stream_capi.model import Answer

if TYPE_CHECKING:
    from stream_capi.core.batch import Batch

MAX_RETRY_AFTER_SECONDS = 300.0
_REFUSED = frozenset({400, 413, 422})
_THROTTLED = frozenset({429, 503})
# Request Timeout, Misdirected Request, Too Early: about this connection or this moment, not about key, pixel or address.
_TRANSIENT = frozenset({408, 421, 425})


class Delivered(NamedTuple):
    """A 200, the only success: every event of the batch is delivered."""


class Refused(NamedTuple):
    """The API dropped the whole batch, because of at least one event in it."""

    reason: str


class SetUpFault(NamedTuple):
    """The request itself is wrong (key, pixel, address): no event's fault, so the pixel is held."""

    reason: str


class Throttled(NamedTuple):
    """The API asks for a pause. ``after`` is in seconds, or None where it didn't say."""

    reason: str
    after: float | None


class Transient(NamedTuple):
    """The same batch may succeed later."""

    reason: str


Outcome = Delivered | Refused | SetUpFault | Throttled | Transient


def classify(answer: Answer, now: float) -> Outcome:
    """The class of an answer. ``now`` is in epoch seconds, for a Retry-After that is a date in an answer without its own."""
    status = answer.status
    if status is None:
        return Transient(answer.fault or "no answer")
    if status == 200:
        return Delivered()
    reason = str(status)
    if status in _REFUSED:
        return Refused(reason)
    if status in _THROTTLED:
        return Throttled(reason, retry_after_seconds(answer.retry_after, now, answer.date))
    if 300 <= status < 500 and status not in _TRANSIENT:
        return SetUpFault(reason)
    return Transient(reason)


def retry_after_seconds(text: str | None, now: float, date: str | None = None) -> float | None:
    """A Retry-After header, seconds or a date (RFC 9110, 10.2.3), in seconds, between 0 and the cap.

    A date is measured by the clock that wrote it: the answer's ``date``, or ``now`` where that can't be read. None where
    there is none or it can't be read: the caller then takes its own backoff, which no pause is shorter than.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    moment, written = http_date(text), clock_date(date)
    if moment is None:
        return None
    return min(max(moment - (now if written is None else written), 0.0), MAX_RETRY_AFTER_SECONDS)


@dataclass(slots=True)
class Split:
    """One refused batch on its way to the events that caused it.

    The refused events are gathered here and judged together at the end: when each was dead-lettered as it was found, a
    fault of all events would have emptied half the line before anyone could tell.
    """

    budget: int  # requests left
    refused: list[Batch]  # single events that were refused alone
    parked: list[Batch]  # pieces found undecided after the budget was spent
    pending: int = 0  # pieces that are not decided yet

    @classmethod
    def of(cls, budget: int) -> Split:
        """A split that has just begun."""
        return cls(budget, [], [])

    @property
    def spent(self) -> bool:
        """Whether no request is left to find out more."""
        return self.budget <= 0


class RatioGuard:
    """Tells poison from a fault of all events: the share of rejected ones among the recent ones.

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
        """Whether to count nothing: events that wait are mapped anew, and have been counted."""
        self._paused = paused

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
