"""What each field of a ServerEvent must be, as functions from a raw value to the one that is sent (contract, section 5).

A function returns None where the value is wrong; ``WRONG`` says in one line what it should have been, and under which
reason a field that is left out is counted. The compiled transform and ``explain`` both call these, so that they can't differ.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from stream_capi.events.network import address, url
from stream_capi.events.tables import COUNTRIES, CURRENCIES, OPERATING_SYSTEMS

IDENTIFIER_FIELDS = ("aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone")
RESTRICTED_FIELDS = (
    "aleid", "alart", "client_id", "user_id", "client_ip_address", "client_user_agent", "esi",
)  # fmt: skip
RESTRICTED_IDENTIFIERS = ("alart", "client_id", "user_id")
# What tells who a person is, against what an ad's click brought along: the former is left out without consent.
PERSONAL_FIELDS = ("client_id", "user_id", "email", "phone", "zip", "sid", "ifa", "idfv")

LEAST_TIME_MS = 10**11  # March 1973: what is below is a count of seconds, or no time at all
MOST_TIME_MS = 10**14  # the year 5138: what is above is a count of microseconds


class Wrong(NamedTuple):
    """What a wrong value breaks: the sentence for people, and the reason it is counted under."""

    sentence: str
    reason: str


WRONG = {
    "event_time": Wrong(
        "must be a time: a timestamp type, ISO-8601 text with an offset, or a number whose unit the schema or the mapping "
        "says; below 10^11 it would be seconds",
        "time",
    ),
    "event_source_url": Wrong("must be an absolute http or https URL with a host", "url"),
    "data.currency": Wrong("must be an ISO 4217 code of three letters", "currency"),
    "data.value": Wrong("must be a finite number of 0 or more", "value"),
    "user_data.client_ip_address": Wrong("must be one IPv4 or IPv6 address", "address"),
    "user_data.client_user_agent": Wrong("must be text", "text"),
    "user_data.esi": Wrong("must be web or app", "esi"),
    "user_data.email": Wrong("must have an @, or be a SHA-256 in hex", "no_at"),
    "user_data.phone": Wrong("must have 7 to 15 digits, or be a SHA-256 in hex", "digits"),
    "user_data.country_code": Wrong("must be an ISO 3166-1 code of two letters", "unknown"),
    "user_data.zip": Wrong("must have digits in the United States", "digits"),
    "user_data.os": Wrong("must be a known operating system", "unknown"),
    "user_data.user_id": Wrong("must be a number in the restricted profile", "not_numeric"),
}
UNFIT = Wrong("is of a type that can't hold it", "type")

# Characters of a text as it came, beyond which no rule is asked: the work on one record stays in proportion to its size.
_LONGEST = {
    "data.currency": 64,
    "user_data.client_ip_address": 1_024,
    "user_data.esi": 64,
    "user_data.email": 1_024,
    "user_data.phone": 256,
    "user_data.country_code": 64,
    "user_data.zip": 64,
    "user_data.os": 64,
}


def longest(target: str) -> int:
    """The most characters that a field's text may have, blanks around it included."""
    return _LONGEST.get(target, 8_192)


def too_long(target: str) -> Wrong:
    """What a longer text breaks."""
    return Wrong(f"is longer than {longest(target)} characters", "too_long")


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


_SOURCES = {"web": "web", "app": "app"}


def esi(text: str) -> str | None:
    """Where the event comes from: web or app."""
    return _SOURCES.get(text) or _SOURCES.get(text.strip().lower())


def country_code(text: str) -> str | None:
    """ISO 3166-1 alpha-2, upper-cased."""
    code = (
        text if text in COUNTRIES or not text.isascii() else text.strip().upper()
    )  # ß in capitals would be South Sudan
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


# The values that nearly every event has: the compiled text looks here before it calls a function.
KNOWN: dict[str, dict[str, str]] = {
    "data.currency": {code: code for code in CURRENCIES},
    "user_data.esi": _SOURCES,
    "user_data.country_code": {code: code for code in COUNTRIES},
}


def function_of(target: str, *, hash_here: bool, restricted: bool) -> Callable[..., Any] | None:
    """What makes a field's text or number valid (a postcode's takes the country besides); None where trimming is all."""
    functions: dict[str, Callable[..., Any]] = {
        "event_source_url": url,
        "data.currency": currency,
        "data.value": value,
        "user_data.client_ip_address": address,
        "user_data.esi": esi,
        "user_data.email": email if hash_here else email_plain,
        "user_data.phone": phone if hash_here else phone_plain,
        "user_data.country_code": country_code,
        "user_data.zip": zip_code,
        "user_data.os": operating_system,
    }
    if restricted:
        functions["user_data.user_id"] = numeric
    return functions.get(target)
