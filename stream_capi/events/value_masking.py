"""Masks the personal data in values of events for display (contract, section 2: ``explain``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from stream_capi.events import network
from stream_capi.events.lines import Line, PathState, PathValue

_is_hash = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_LEAST = 4  # characters; a shorter value could be guessed from its first character and its length
_PLAIN_USER_DATA = ("user_data.esi", "user_data.country_code", "user_data.os")
_PERSONAL = ("dedupe_id", "event_id")  # ids of orders or forms may contain a name


def masked(value: Any) -> str:
    """The value's type and length, and the first character of a longer text: enough to see which field was mapped."""
    if value is None:
        return "null"
    if isinstance(value, str):
        if _is_hash(value):
            return "…(SHA-256)"
        first = value[0] if len(value) >= _LEAST and value[0].isprintable() else ""
        return f"{first}…({len(value)} chars)" if value else '""'
    if isinstance(value, bool):
        return "…(true or false)"
    if isinstance(value, int | float | Decimal):
        return "…(number)"
    if isinstance(value, bytes):
        return f"…({len(value)} bytes)"
    return f"…({len(value)} item{'s' * (len(value) != 1)})" if isinstance(value, list | dict) else "…"


def masked_url(url: str) -> str:
    """Scheme and host of a URL that is sent, and the number of characters that follow."""
    scheme, _, rest = url.partition("://")
    host = re.split("[/?#]", rest)[0]
    more = len(rest) - len(host)
    return f"{scheme}://{host}" + (f"/…({more} chars)" if more > 1 else "/" * more)


def raw_shown(line: Line) -> Any:
    """The record's value, masked if necessary. A boolean is not masked: it says less than the length of a text."""
    if line.raw is None or line.harmless or isinstance(line.raw, bool):
        return line.raw
    if line.target == "event_source_url" and isinstance(line.raw, str):
        url = line.raw.strip()
        return masked_url(url) if network.url(url) == url else masked(line.raw)
    return masked(line.raw)


def held_shown(line: Line, held: PathValue) -> Any:
    """The value at one of a field's paths, masked if necessary."""
    if held.state is PathState.TAKEN:
        return raw_shown(line)
    return held.raw if held.raw is None or isinstance(held.raw, bool) else masked(held.raw)


def completed_shown(line: Line) -> str | None:
    """The completed phone number of a line, masked."""
    return None if line.completed is None else masked(line.completed)


def result_shown(line: Line) -> Any:
    """The value that is sent, masked if necessary."""
    return None if line.result is None else sent_shown(line.target, line.result)


def sent_shown(target: str, value: Any) -> Any:
    """A field's value that is sent, masked if the field may identify a person."""
    if target == "event_source_url":
        return masked_url(value)
    personal = target.startswith("user_data.") and target not in _PLAIN_USER_DATA
    return masked(value) if personal or target in _PERSONAL else value


def masked_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """A ServerEvent with its personal data masked."""
    return {key: _event_part(key, value) for key, value in event.items()}


def _event_part(key: str, value: Any) -> Any:
    if key in ("name", "event_time"):
        return value
    if key == "event_source_url":
        return masked_url(str(value))
    if key == "user_data":
        return {k: v if f"user_data.{k}" in _PLAIN_USER_DATA else masked(v) for k, v in value.items()}
    is_plain = value is None or (key == "data" and set(value) == {"currency", "value"})
    return value if is_plain else masked(value)
