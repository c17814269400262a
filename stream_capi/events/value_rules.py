"""What each field of a ServerEvent must be, as functions from one value to the one that is sent (contract, section 5).

A function returns None where the value is wrong. This is the careful way: ``whole`` has the fast ones, for columns of values
that need no care. ``fields`` has the table that says which field has which.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from hashlib import sha256

from stream_capi.events.tables import COUNTRIES, CURRENCIES, OPERATING_SYSTEMS

LEAST_TIME_MS = 10**11  # March 1973: what is below is a count of seconds, or no time at all
MOST_TIME_MS = 10**14  # the year 5138: what is above is a count of microseconds
SOURCES = {"web": "web", "app": "app"}

_is_hash = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_NOT_DIGITS = bytes(sorted(set(range(256)) - set(b"0123456789")))


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


def email(text: str) -> str | None:
    """SHA-256 of the trimmed, lower-cased text; a hash passes as it is."""
    text = text.strip().lower()
    if "@" in text:
        return sha256(text.encode()).hexdigest()
    return text if _is_hash(text) else None


def email_plain(text: str) -> str | None:
    """Trimmed and lower-cased, for an API that hashes by itself."""
    text = text.strip().lower()
    return text if "@" in text or _is_hash(text) else None


def phone(text: str) -> str | None:
    """SHA-256 of the digits. Whether it is a hash already is asked first: a hash's own digits would look like a number."""
    text = text.strip()
    if len(text) == 64 and _is_hash(text):
        return text.lower()
    digits = _phone_digits(text)
    return sha256(digits).hexdigest() if digits else None


def phone_plain(text: str) -> str | None:
    """The digits, without ``+`` and without a leading ``00``."""
    text = text.strip()
    if len(text) == 64 and _is_hash(text):
        return text.lower()
    return _phone_digits(text).decode() or None


def _phone_digits(text: str) -> bytes:
    """The digits of a phone number; none where it can't be one."""
    digits = text.encode().translate(None, _NOT_DIGITS)  # a sixth of a regular expression's time
    if digits.startswith(b"00"):  # an odd zero stays
        digits = digits[(len(digits) - len(digits.lstrip(b"0"))) // 2 * 2 :]
    return digits if 7 <= len(digits) <= 15 else b""


def esi(text: str) -> str | None:
    """Where the event comes from: web or app."""
    return SOURCES.get(text) or SOURCES.get(text.strip().lower())


def country_code(text: str) -> str | None:
    """ISO 3166-1 alpha-2, upper-cased."""
    text = text.strip()
    code = text if text in COUNTRIES or not text.isascii() else text.upper()  # ß in capitals would be South Sudan
    return code if code in COUNTRIES else None


def zip_code(text: str, country: str | None) -> str | None:
    """A postcode; of one in the United States the first five digits."""
    text = text.strip()
    if country != "US":
        return text
    digits = text if text.isascii() and text.isdigit() else text.encode().translate(None, _NOT_DIGITS).decode()
    return digits[:5] or None


@lru_cache(maxsize=1024)
def operating_system(text: str) -> str | None:
    """ios, android or desktop_os, from the common spellings and with a version after them."""
    name = text.strip().lower()
    known = OPERATING_SYSTEMS.get(name)
    if known is None:
        name = name.rstrip("0123456789._- ").removesuffix(" version")
        known = OPERATING_SYSTEMS.get(name) or OPERATING_SYSTEMS.get(name.partition(" ")[0])
    return known


def numeric(text: str) -> str | None:
    """A user id of digits alone, as the restricted flow wants it."""
    text = text.strip()
    return text if text.isascii() and text.isdigit() else None


def derived_id(position: str) -> str:
    """The dedupe id of an event without one, from ``topic-partition-offset``: the same in a retry and in a replay."""
    return sha256(position.encode()).hexdigest()
