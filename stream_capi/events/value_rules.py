"""What each field of a ServerEvent must be, as functions from one value to the one that is sent (contract, section 5).

A function returns None where the value is wrong, or a ``Wrong`` where the field has several faults to tell apart. This is
the careful way: ``whole`` has the fast ones, for columns of values that need no care. ``fields`` has the table that says
which field has which; ``contacts`` has the rules of email and phone.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from hashlib import sha256
from itertools import product
from typing import NamedTuple

from stream_capi.events.tables import COUNTRIES, CURRENCIES, OPERATING_SYSTEMS

LEAST_TIME_MS = 10**11  # March 1973: what is below is a count of seconds, or no time at all
MOST_TIME_MS = 10**14  # the year 5138: what is above is a count of microseconds
SOURCES = {"web": "web", "app": "app"}


class Wrong(NamedTuple):
    """What a wrong value breaks: the sentence for people, and the reason it is counted under."""

    sentence: str
    reason: str


PLACEHOLDER = Wrong("must be a value, not a placeholder or the SHA-256 of one or of nothing", "placeholder")
_WORDS = ("null", "undefined", "none", "n/a", "unknown")
_HASHES = [sha256(word.encode()).hexdigest() for word in ("", *_WORDS)]
# In every mixture of small and capital letters, so that the fast ways have only to look a text up.
PLACEHOLDERS = frozenset(
    ["".join(signs) for word in _WORDS for signs in product(*zip(word, word.upper(), strict=True))]
    + _HASHES
    + [one.upper() for one in _HASHES]
)
_is_zip = re.compile("([0-9]{3,5})(?:[- ]?[0-9]{4})?").fullmatch
_LEAST_ZIP = "00501"
# Windows Phone, Ubuntu Touch …; a browser on Android gives its processor, "Linux armv8l", for the platform.
_is_on_a_phone = re.compile(r"(?<![^\W_])(?:phone|mobile|touch|tv|ce)(?![^\W_])|\Alinux (?:arm|aarch)").search
_QUOTES = "\"'“”„"  # around a browser's platform hint


def time(ms: int, unit: str | None = None) -> int | None:
    """Epoch milliseconds. Only ``unit = "s"`` makes a time before March 1973 believable."""
    least = 1 if unit == "s" else LEAST_TIME_MS
    return ms if least <= ms < MOST_TIME_MS else None


def currency(text: str) -> str | None:
    """ISO 4217, upper-cased."""
    code = text if text in CURRENCIES or not text.isascii() else text.strip().upper()
    return code if code in CURRENCIES else None


def value(number: float) -> float | None:
    """Finite and not negative. An integer that JSON's readers can't hold exactly goes as the float that they would read."""
    if not 0 <= number <= sys.float_info.max:
        return None
    return number + 0.0 if number.__class__ is float or number >= 2**53 else number  # -0.0 becomes 0.0


def identifier(text: str) -> str | Wrong:
    """Trimmed, unless it is a placeholder."""
    text = text.strip()
    return PLACEHOLDER if text in PLACEHOLDERS else text


def device_id(text: str) -> str | Wrong:
    """Trimmed, unless it is a placeholder or all zeros, as of a device whose owner refused to be tracked."""
    text = text.strip()
    return PLACEHOLDER if text in PLACEHOLDERS or (text and not text.strip("0-")) else text


def esi(text: str) -> str | None:
    """Where the event comes from: web or app."""
    return SOURCES.get(text) or SOURCES.get(text.strip().lower())


def country_code(text: str) -> str | None:
    """ISO 3166-1 alpha-2, upper-cased."""
    text = text.strip()
    code = text if text in COUNTRIES or not text.isascii() else text.upper()  # ß in capitals would be South Sudan
    return code if code in COUNTRIES else None


def zip_code(text: str, country: str | None) -> str | Wrong | None:
    """A postcode; of a ZIP or ZIP+4 the first five digits, with the leading zeros that a number has lost."""
    text = text.strip()
    if country != "US":
        return PLACEHOLDER if text in PLACEHOLDERS else text
    parts = _is_zip(text)
    code = parts[1].zfill(5) if parts else ""
    return code if code >= _LEAST_ZIP or (parts and len(parts[1]) == 5) else None


@lru_cache(maxsize=1024)
def operating_system(text: str) -> str | None:
    """ios, android or desktop_os, from the common spellings with quotes around them and a version after them."""
    name = text.strip().strip(_QUOTES).strip().lower()
    known = OPERATING_SYSTEMS.get(name)
    if known is None:
        name = name.rstrip("0123456789._- ").removesuffix(" version")
        known = OPERATING_SYSTEMS.get(name) or _by_first_word(name)
    return known


def _by_first_word(name: str) -> str | None:
    found = OPERATING_SYSTEMS.get(name.partition(" ")[0])
    return None if found == "desktop_os" and _is_on_a_phone(name) else found


def numeric(text: str) -> str | Wrong | None:
    """A user id of digits alone, as the restricted flow wants it."""
    text = text.strip()
    if text in PLACEHOLDERS:
        return PLACEHOLDER
    return text if text.isascii() and text.isdigit() else None


def derived_id(position: str) -> str:
    """The dedupe id of an event without one, from ``topic-partition-offset``: the same in a retry and in a replay."""
    return sha256(position.encode()).hexdigest()
