"""Classifies answers of the API (contract, section 6)."""

from __future__ import annotations

from typing import NamedTuple

from stream_capi.applovin import DELIVERED, ERROR_HEADERS, REFUSED, SET_UP_FAULTS, THROTTLED
from stream_capi.core.clock import clock_date, http_date
from stream_capi.model import Answer

MAX_RETRY_AFTER_SECONDS = 300.0


class Delivered(NamedTuple):
    """A 200, the only success: every event of the batch is delivered."""


class RefusedBatch(NamedTuple):
    """The API dropped the whole batch because of one event in it or several. ``said``: the API's message, or empty."""

    reason: str
    said: str = ""


class SetUpFault(NamedTuple):
    """The request itself is wrong (key, pixel, address). This is no fault of the events, so the pixel is held."""

    reason: str


class OtherForm(NamedTuple):
    """The key was refused in the form in which it was sent; another may be accepted. The batch is sent again at once."""

    reason: str


class Throttled(NamedTuple):
    """The API asks for a pause of ``after`` seconds; None if it didn't say how long."""

    reason: str
    after: float | None


class Transient(NamedTuple):
    """The same batch may succeed later."""

    reason: str


Outcome = Delivered | RefusedBatch | SetUpFault | OtherForm | Throttled | Transient


def classify(answer: Answer, now: float) -> Outcome:
    """The class of an answer. ``now``: epoch seconds, for a date in Retry-After if the answer has no Date."""
    status = answer.status
    if status is None:
        return Transient(answer.fault or "no answer")
    if status == DELIVERED:
        return Delivered()
    reason = str(status)
    if answer.again:
        return OtherForm(reason)
    if status in REFUSED:
        return RefusedBatch(reason, _in_words(answer))
    if status in THROTTLED:
        return Throttled(reason, retry_after_seconds(answer.retry_after, now, answer.date))
    if status in SET_UP_FAULTS:
        return SetUpFault(reason)
    return Transient(reason)


def _in_words(answer: Answer) -> str:
    """The API's explanation of an answer: the values of its error headers, each with the header's name."""
    named = zip(ERROR_HEADERS, answer.said or (), strict=False)
    return ", ".join(f"{name} {text}" for name, text in named if text)


def retry_after_seconds(text: str | None, now: float, date: str | None = None) -> float | None:
    """A Retry-After header (seconds or a date: RFC 9110, 10.2.3) in seconds, from 0 to ``MAX_RETRY_AFTER_SECONDS``.

    A date is compared with the clock that wrote it: the answer's ``date``, or ``now`` if that can't be parsed. None if the
    header is absent or can't be parsed: the caller then uses its own backoff, which is the shortest pause in any case.
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
