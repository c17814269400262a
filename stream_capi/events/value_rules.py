"""The rules for fields of a ServerEvent, as functions from one value to the value that is sent (contract, section 5).

A rule returns None if the value is wrong, or a ``Wrong`` if several faults of the field are told apart. Each takes one value
and handles every case; ``whole`` has fast rules for columns of simple values. ``fields`` says which field has which rule;
``contacts`` has the rules of email and phone.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from hashlib import sha256
from itertools import product
from typing import NamedTuple

from stream_capi.events.tables import COUNTRIES, CURRENCIES, OPERATING_SYSTEMS

LEAST_TIME_MS = 10**11  # March 1973: a smaller number counts seconds, or is not a time
MOST_TIME_MS = 10**14  # the year 5138: a larger number counts microseconds
SOURCES = {"web": "web", "app": "app"}


class Wrong(NamedTuple):
    """The fault of a value: a sentence for people, and the reason under which it is counted."""

    sentence: str
    reason: str


PLACEHOLDER = Wrong("must not be a placeholder, or the SHA-256 of one or of the empty text", "placeholder")
_WORDS = ("null", "undefined", "none", "n/a", "unknown")
# What Objective-C, Go, Ruby, JavaScript, pandas, MySQL, spreadsheets and .NET write, as they spell it.
_SPELLED = (
    "(null)", "<null>", "<nil>", "nil", "NaN", "nan", "[object Object]", "\\N", "#N/A",
    "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
_HASHES = [
    sha256(word.encode()).hexdigest()
    for word in (
        "",
        " ",
        *_SPELLED,
        *(spelled for word in _WORDS for spelled in (word, word.upper(), word.capitalize())),
    )
]
# In every mixture of upper and lower case, so that the fast rules can look a text up as it is.
PLACEHOLDERS = frozenset(
    ["".join(signs) for word in _WORDS for signs in product(*zip(word, word.upper(), strict=True))]
    + [*_SPELLED, *_HASHES]
    + [one.upper() for one in _HASHES]
)
_is_zip = re.compile("([0-9]{3,5})(?:[- ]?[0-9]{4})?").fullmatch
_LEAST_ZIP = "00501"
# Windows Phone, Ubuntu Touch, Linux Android …; as its platform a browser on Android names its processor, "Linux armv8l".
_is_on_a_phone = re.compile(
    r"(?<![^\W_])(?:phone|mobile|touch|tv|ce|android|iphone|ipad|ipod|tizen|webos)(?![^\W_])|\Alinux (?:arm|aarch)"
).search
_QUOTES = "\"'“”„"  # around a browser's platform hint


def time(ms: int, unit: str | None = None) -> int | None:
    """Epoch milliseconds. A time before March 1973 is valid only with ``unit = "s"``."""
    least = 1 if unit == "s" else LEAST_TIME_MS
    return ms if least <= ms < MOST_TIME_MS else None


def currency(text: str) -> str | None:
    """ISO 4217, upper-cased."""
    code = text if text in CURRENCIES or not text.isascii() else text.strip().upper()
    return code if code in CURRENCIES else None


def value(number: float) -> float | None:
    """Finite and not negative. An integer of 2**53 or more is sent as a float, because JSON readers would read one."""
    if not 0 <= number <= sys.float_info.max:
        return None
    return number + 0.0 if number.__class__ is float or number >= 2**53 else number  # -0.0 becomes 0.0


def identifier(text: str) -> str | Wrong:
    """The text, trimmed; placeholders are wrong."""
    text = text.strip()
    return PLACEHOLDER if text in PLACEHOLDERS else text


def device_id(text: str) -> str | Wrong:
    """The text, trimmed; placeholders are wrong, and so is an id of zeros, which a device gives if tracking is refused."""
    text = text.strip()
    return PLACEHOLDER if text in PLACEHOLDERS or (text and not text.strip("0-")) else text


def esi(text: str) -> str | None:
    """Where the event comes from: web or app."""
    return SOURCES.get(text) or SOURCES.get(text.strip().lower())


def country_code(text: str) -> str | None:
    """ISO 3166-1 alpha-2, upper-cased."""
    text = text.strip()
    code = text if text in COUNTRIES or not text.isascii() else text.upper()  # ß upper-cased is SS, South Sudan
    return code if code in COUNTRIES else None


def zip_code(text: str, country: str | None) -> str | Wrong | None:
    """A postcode, trimmed. In the US the five digits of a ZIP or ZIP+4, with leading zeros that a number has lost."""
    text = text.strip()
    if country != "US":
        return PLACEHOLDER if text in PLACEHOLDERS else text
    parts = _is_zip(text)
    code = parts[1].zfill(5) if parts else ""
    return code if code >= _LEAST_ZIP or (parts and len(parts[1]) == 5) else None


@lru_cache(maxsize=1024)
def operating_system(text: str) -> str | None:
    """ios, android or desktop_os, from common spellings, with or without quotes and a version after the name."""
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
    """A user id of digits only, as the restricted profile requires."""
    text = text.strip()
    if text in PLACEHOLDERS:
        return PLACEHOLDER
    return text if text.isascii() and text.isdigit() else None


def derived_id(position: str) -> str:
    """The dedupe id of an event without an id, from ``topic-partition-offset``: it is the same in a retry and a replay."""
    return sha256(position.encode()).hexdigest()
