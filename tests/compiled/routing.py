"""Where a record goes: whether it is meant at all, to which pixel, as which event, with whose consent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from stream_capi.config import Where
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.model import Code, Lane, Rejection, Skipped


class Way(NamedTuple):
    """Where an event goes, and whether with all that is known of the person."""

    lane: Lane
    consent: bool


def route(rules: SourceRules, read: Callable[[str], Any]) -> Way | Rejection | Skipped:
    """Decide a record's lane; ``read`` gives the value at a path."""
    for where in rules.where:
        if not holds(where, read(where.field)):
            return Skipped("where")
    event = rules.event
    if rules.event_field is not None:
        found = read(rules.event_field)
        key = as_key(found)
        if key is None or key not in rules.events:
            key = "*"  # whatever else, null too
        if key not in rules.events and found is None:
            return Rejection(Code.MISSING_FIELD, f'event_field "{rules.event_field}" is null', rules.pixel)
        if key not in rules.events:
            return Rejection(Code.INVALID_FIELD, f'event_field "{rules.event_field}" is not in events', rules.pixel)
        event = rules.events[key]
        if event is None:
            return Skipped("event")
    pixel = rules.pixel
    if rules.pixel_field is not None:
        found = read(rules.pixel_field)
        if found is None:
            return Rejection(Code.MISSING_FIELD, f'pixel_field "{rules.pixel_field}" is null')
        if as_key(found) not in rules.restricted:
            return Rejection(Code.INVALID_FIELD, f'pixel_field "{rules.pixel_field}" names none of the pixels')
        pixel = as_key(found)
    assert event is not None and pixel is not None  # noqa: PT018 -- the settings have one of each pair
    if rules.consent_field is None or consents(read(rules.consent_field), rules.consent_purposes):
        return Way(Lane(pixel, event), True)
    return Way(Lane(pixel, event), False) if rules.strip_without_consent else Skipped("no_consent")


_LONGEST = 8_192  # characters of a text that may be a consent


def holds(where: Where, value: Any) -> bool:
    """Whether a record's value meets a condition. Numbers equal numbers; ``true`` equals only a truth value."""
    if where.present is not None:
        return (value is not None) is where.present
    wanted = where.one_of if where.one_of is not None else (where.equals,)
    return any(value == one and (value.__class__ is bool) is (one.__class__ is bool) for one in wanted)


def consents(value: Any, purposes: tuple[str, ...]) -> bool:
    """Whether a record's value is a consent: a truth value; or, where purposes are asked for, a set, a table or a list in
    text that grants all of them. What is absent or of another form means no.
    """
    if value.__class__ is str and len(value) > _LONGEST:
        return False
    if not purposes:
        return _granted(value)
    if value.__class__ is str:
        value = str(value).replace(";", ",").replace(" ", ",").split(",")
    if value.__class__ is dict:
        return all(_granted(value.get(purpose)) for purpose in purposes)
    return value.__class__ is list and all(purpose in value for purpose in purposes)


def _granted(value: Any) -> bool:
    return value is True or (
        value.__class__ is str and len(value) <= _LONGEST and str(value).strip().lower() in ("true", "yes", "granted")
    )
