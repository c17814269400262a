"""What an answer means (contract, section 6)."""

from __future__ import annotations

from typing import NamedTuple

from stream_capi.applovin import DELIVERED, ERROR_HEADERS, REFUSED, SET_UP_FAULTS, THROTTLED
from stream_capi.core.clock import clock_date, http_date
from stream_capi.model import Answer

MAX_RETRY_AFTER_SECONDS = 300.0


class Delivered(NamedTuple):
    """A 200, the only success: every event of the batch is delivered."""


class RefusedBatch(NamedTuple):
    """The API dropped the whole batch, because of at least one event in it. ``said``: the API's own words, or empty."""

    reason: str
    said: str = ""


class SetUpFault(NamedTuple):
    """The request itself is wrong (key, pixel, address): no event's fault, so the pixel is held."""

    reason: str


class OtherForm(NamedTuple):
    """The key was refused in the form it came in, and may be taken in another: the same batch goes again at once."""

    reason: str


class Throttled(NamedTuple):
    """The API asks for a pause. ``after`` is in seconds, or None where it didn't say."""

    reason: str
    after: float | None


class Transient(NamedTuple):
    """The same batch may succeed later."""

    reason: str


Outcome = Delivered | RefusedBatch | SetUpFault | OtherForm | Throttled | Transient


def classify(answer: Answer, now: float) -> Outcome:
    """The class of an answer. ``now`` is in epoch seconds, for a Retry-After that is a date in an answer without its own."""
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
    """What the API says itself of an answer, by the headers' names."""
    named = zip(ERROR_HEADERS, answer.said or (), strict=False)
    return ", ".join(f"{name} {text}" for name, text in named if text)


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
