"""Options that select records: by key, by an id, by one field, by time."""

from __future__ import annotations

import os
import re
import time

from stream_capi.config.dotted_paths import steps
from stream_capi.errors import ConfigurationError
from stream_capi.events.paths import RECORD
from stream_capi.events.selecting import Wanted
from stream_capi.kafka.ranges import time_of

KEY_HELP = "The record's key, as text; hex:0A1B for bytes."
SINCE_HELP = "Look at records since then: a time, 36h, 7d or earliest."
DEFAULT_SINCE = "24h"
_IN_HEX = "hex:"
_is_span = re.compile(r"([0-9]{1,6})([mhd])").fullmatch
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


def wanted_key(text: str) -> Wanted:
    """The key that was given, as the bytes of the command line. Raises ConfigurationError."""
    if text.startswith(_IN_HEX):
        try:
            return Wanted("key", text, bytes.fromhex(text[len(_IN_HEX) :]))
        except ValueError:
            raise ConfigurationError(["--key: hex: must be followed by pairs of the digits 0-9 and a-f"]) from None
    return Wanted("key", text, os.fsencode(text))


def wanted_of(key: str | None, event_id: str | None, dedupe_id: str | None, where: str | None) -> Wanted | None:
    """What to search for; None if no option was given. Raises ConfigurationError if it is invalid, or if several were."""
    given = {"--key": key, "--event-id": event_id, "--dedupe-id": dedupe_id, "--where": where}
    options = [option for option, text in given.items() if text is not None]
    if len(options) > 1:
        raise ConfigurationError([f"{' and '.join(options)}: give one of them"])
    if key is not None:
        return wanted_key(key)
    if where is not None:
        return _wanted_field(where)
    text = (event_id if event_id is not None else dedupe_id or "").strip()
    if not options:
        return None
    if not text:
        raise ConfigurationError([f"{options[0]}: must not be empty"])
    return Wanted("event_id" if event_id is not None else "dedupe_id", text, os.fsencode(text))


def _wanted_field(where: str) -> Wanted:
    path, sign, text = where.partition("=")
    path = path.strip()
    if not sign:
        raise ConfigurationError(["--where: must be FIELD=VALUE, like customer.plan=pro"])
    try:
        if path != RECORD:
            steps(path)
    except ValueError as error:
        raise ConfigurationError([f"--where: the field {error}"]) from None
    return Wanted("field", text, b"", path)


def since_of(text: str) -> int | None:
    """The start of the search in epoch milliseconds; None for the beginning of the log. Raises ConfigurationError."""
    return None if text.strip() == "earliest" else time_or_span("--since", text)


def time_or_span(option: str, text: str) -> int:
    """A time, or how long ago it was (36h, 7d), in epoch milliseconds. Raises ConfigurationError."""
    if found := _is_span(text.strip()):
        return max(0, int((time.time() - int(found[1]) * _UNITS[found[2]]) * 1000))
    return time_of(option, text)
