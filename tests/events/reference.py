"""A reference implementation of the mapping: record by record and field by field, as section 5 of the contract says.

The mapping by columns is compared with it. So it shares only functions for single values with it: reading logical types
(``kinds``), parsing URLs and IP addresses (``network``). It is slow and simple.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import replace
from hashlib import sha256
from typing import Any
from unicodedata import category, decomposition, normalize

import orjson
import phonenumbers

from stream_capi.events import kinds, network
from stream_capi.events.kinds import UNFIT
from stream_capi.events.paths import RECORD, Found, Schema, read
from stream_capi.events.routing import consents, holds
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.events.tables import COUNTRIES, CURRENCIES, OPERATING_SYSTEMS
from stream_capi.model import Code, EventName, Lane, Rejection, Routed, Skipped, Transformed

IDENTIFIERS = ("aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone")
OTHERS = ("country_code", "zip", "os", "sid", "ifa", "idfv")
PERSONAL = {"client_id", "user_id", "email", "phone", "zip", "sid", "ifa", "idfv"}
RESTRICTED = {"aleid", "alart", "client_id", "user_id"}
RESTRICTED_IDENTIFIERS = ("alart", "client_id", "user_id")
LONGEST = {
    "currency": 64, "client_ip_address": 1_024, "esi": 64, "email": 1_024, "phone": 256, "country_code": 64, "zip": 64, "os": 64,
}  # fmt: skip
MUST_BE = {
    "event_time": "must be a time: a timestamp type, ISO-8601 text with an offset, or a number whose unit the schema or the "
    "mapping says; below 10^11 it would be seconds",
    "event_source_url": "must be an absolute http or https URL with a host",
    "data.currency": "must be an ISO 4217 code of three letters",
    "data.value": "must be a finite number of 0 or more",
    "user_data.client_ip_address": "must be an IPv4 or IPv6 address, or a list of them",
    "user_data.client_user_agent": "must be text",
    "user_data.esi": "must be web or app",
}
PLACEHOLDERS = ("null", "undefined", "none", "n/a", "unknown")
SPELLED = {
    "(null)", "<null>", "<nil>", "nil", "NaN", "nan", "[object Object]", "\\N", "#N/A", "00000000-0000-0000-0000-000000000000",
}  # fmt: skip
INVISIBLE = {  # Unicode's default ignorable code points
    0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F),
    *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
}  # fmt: skip
COMMON_UNITS = {"s": 1, None: 10**11, "ms": 10**11, "us": 10**11, "ns": 10**11}  # least accepted time in ms, by unit
DIGITS = "0123456789"
BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())

NOT_IN_MAP = object()  # the result for a value that a rule's map lacks

Counts = Counter[tuple[str, ...]]


class Left(Exception):
    """A field is left out, and counted with this reason."""


class Ends(Exception):
    """The event is not sent."""

    def __init__(self, outcome: Rejection | Skipped) -> None:
        super().__init__()
        self.outcome = outcome


def outcome_of(
    rules: SourceRules,
    raw: Any,
    row: Mapping[str, Any],
    place: tuple[str, int, int],
    now_ms: int,
    counts: Counts,
    forgotten: Set[tuple[str, str]] = frozenset(),
) -> Transformed:
    """The outcome of a decoded record; ``counts`` is updated.

    ``forgotten`` identifies the people on the suppression list, by pairs: ("hash", hash) or ("id", user_id).
    """
    suppressed = is_forgotten(Record(rules, Schema(raw), row), forgotten)
    try:
        lane, consent = way_of(Record(rules, Schema(raw), row), rules)
    except Ends as end:
        return Skipped("suppressed") if suppressed and isinstance(end.outcome, Rejection) else end.outcome
    if suppressed:
        return Skipped("suppressed")
    try:
        event = Event(Record(rules, Schema(raw), row, lane), rules, lane, consent, counts)
        payload = orjson.dumps(event.made(place, now_ms))
    except Ends as end:
        return end.outcome
    return payload if rules.pixel is not None and rules.event is not None else Routed(lane, payload)


class Record:
    """A record, and how to read its values."""

    def __init__(self, rules: SourceRules, schema: Schema, row: Mapping[str, Any], lane: Lane | None = None) -> None:
        self.rules, self.schema, self.row, self.lane = rules, schema, row, lane

    def at(self, path: str) -> Any:
        """The value at a path; None if this schema has no such path."""
        if path == RECORD:
            return self.schema.record
        return read(self.row, path) if isinstance(self.schema.find(path), Found) else None

    def value(self, target: str) -> Any:
        """The first value that is neither null nor blank, converted for the field; UNFIT if it can't be."""
        rule = self.rules.rule(target)
        is_number = target in ("data.value", "event_time")
        const = None if not rule.has_const else rule.const if is_number else str(rule.const)
        value = self._first(target)
        if rule.map is not None:
            return self._of_map(target, value, {key: v if is_number else str(v) for key, v in rule.map.items()}, const)
        return const if value is None or (self._is_blank(target, value) and rule.has_const) else value

    def _of_map(self, target: str, value: Any, table: dict[str, Any], const: Any) -> Any:
        """The value's entry in the map; the default for an unknown, null or blank value."""
        if isinstance(value, str) and not is_long(target, value):
            for key in (value, value.strip()):
                if key in table:
                    return table[key]
        if const is not None:
            return const
        return None if value is None or self._is_blank(target, value) else NOT_IN_MAP

    def _first(self, target: str) -> Any:
        """The first value that is neither null nor blank; if there is none, the last value."""
        rule, value = self.rules.rule(target), None
        for path in rule.paths:
            found = self.schema.find(path)
            if isinstance(found, Found):
                value = self._read(target, found, self.at(path))
                if value is not None and not self._is_blank(target, value):
                    return value
        return value

    def _read(self, target: str, found: Found, value: Any) -> Any:
        if self.rules.rule(target).map is not None:
            reader = kinds.key_reader(found.kinds)
        elif target == "event_time":
            reader = kinds.time_reader(found.kinds, self.rules.rule(target).unit)
        elif target == "data.value":
            reader = kinds.number_reader(found.kinds)
        else:
            reader = kinds.text_reader(found.kinds)
        return value if value is None or reader is None else reader(value)

    def _is_blank(self, target: str, value: Any) -> bool:
        return isinstance(value, str) and not is_long(target, value) and not value.strip()

    def text(self, target: str) -> Any:
        """The value; None if it is blank."""
        value = self.value(target)
        return None if value is None or self._is_blank(target, value) else value

    def reject(self, target: str, sentence: str, code: Code = Code.INVALID_FIELD) -> Ends:
        """The exception that dead-letters the event because of a field."""
        paths = " or ".join(f'"{path}"' for path in self.rules.rule(target).paths)
        detail = f"{target}: {sentence}" + (f" (from {paths})" if paths else "")
        return Ends(Rejection(code, detail, self.lane.pixel if self.lane else None))


def is_long(target: str, value: Any) -> bool:
    return isinstance(value, str) and len(value) > LONGEST.get(target.rpartition(".")[2], 8_192)


def is_forgotten(record: Record, forgotten: Set[tuple[str, str]]) -> bool:
    """Whether one of the person's values is on the list, as an unrestricted source that hashes would send it."""
    pixels = dict.fromkeys(record.rules.restricted, False)
    rules = replace(record.rules, hash_here=True, restricted=pixels)
    event = Event(record, rules, Lane(next(iter(pixels)), EventName.GENERATE_LEAD), True, Counter())
    event.region = event.phone_region()
    kinds_of = {"email": "hash", "phone": "hash", "user_id": "id"}
    return any((kind, event.optional(f"user_data.{field}")) in forgotten for field, kind in kinds_of.items())


def way_of(record: Record, rules: SourceRules) -> tuple[Lane, bool]:
    """The record's lane, and whether there is consent. Raises Ends if the record isn't to be sent."""
    if not all(holds(where, record.at(where.field)) for where in rules.where):
        raise Ends(Skipped("where"))
    event, pixel = rules.event, rules.pixel
    if rules.event_field is not None:
        event = event_of(record.at(rules.event_field), rules)
    if rules.pixel_field is not None:
        named = record.at(rules.pixel_field)
        pixel = as_key(named)
        if named is None:
            raise Ends(Rejection(Code.MISSING_FIELD, f'pixel_field "{rules.pixel_field}" is null'))
        if pixel not in rules.restricted:
            raise Ends(Rejection(Code.INVALID_FIELD, f'pixel_field "{rules.pixel_field}" names none of the pixels'))
    consent = rules.consent_field is None or consents(record.at(rules.consent_field), rules.consent_purposes)
    if not consent and not rules.strip_without_consent:
        raise Ends(Skipped("no_consent"))
    assert pixel is not None
    assert event is not None
    return Lane(pixel, event), consent


def event_of(value: Any, rules: SourceRules) -> EventName:
    key = as_key(value)
    key = key if key in rules.events else "*"
    if key not in rules.events and value is None:
        raise Ends(Rejection(Code.MISSING_FIELD, f'event_field "{rules.event_field}" is null', rules.pixel))
    if key not in rules.events:
        raise Ends(Rejection(Code.INVALID_FIELD, f'event_field "{rules.event_field}" is not in events', rules.pixel))
    assert key is not None
    event = rules.events[key]
    if event is None:
        raise Ends(Skipped("event"))
    return event


class Event:
    """Builds the event of one record."""

    def __init__(self, record: Record, rules: SourceRules, lane: Lane, consent: bool, counts: Counts) -> None:
        self.record, self.rules, self.lane, self.consent, self.counts = record, rules, lane, consent, counts
        self.restricted = rules.restricted[lane.pixel]
        self.region: str | None = None

    def made(self, place: tuple[str, int, int], now_ms: int) -> dict[str, Any]:
        """The ServerEvent. The first fault decides; fields that are left out before it are counted."""
        time = self.time(now_ms)
        url = self.required("event_source_url", network.url)
        data = None
        if self.lane.event is EventName.GENERATE_LEAD:
            data = {"currency": self.currency(), "value": self.worth()}
        user = {
            "client_ip_address": self.address(),
            "client_user_agent": self.required("user_data.client_user_agent", str.strip),
            "esi": self.required("user_data.esi", esi),
        }
        if not self.restricted and self.consent:
            self.region = self.phone_region()
        for field in IDENTIFIERS:
            self.add(user, field, url)
        self.need_an_identifier(user)
        for field in OTHERS:
            self.add(user, field, url)
        dedupe_id = self.id("dedupe_id") or self.id("event_id") or hashed("-".join(map(str, place)))
        self.count("mapped", self.lane.pixel, self.lane.event.value)
        for field in set(IDENTIFIERS) & set(user):
            self.count("identifiers", self.lane.pixel, self.lane.event.value, field)
        if (reason := network.suspect(user["client_ip_address"])) is not None:
            self.count("suspect", self.lane.event.value, "client_ip_address", reason)
        if len(user.get("user_id", "000000")) < 6:
            self.count("suspect", self.lane.event.value, "user_id", "short")
        return {
            "name": self.lane.event.value,
            "event_time": time,
            "event_source_url": network.origin(url) if self.restricted else url,
            "data": data,
            "user_data": user,
            "dedupe_id": dedupe_id,
        }

    def count(self, *what: str) -> None:
        self.counts[what] += 1

    # Required fields

    def time(self, now_ms: int) -> int:
        target = "event_time"
        time, least = self.record.value(target), COMMON_UNITS[self.rules.rule(target).unit]
        if time is None:
            raise self.record.reject(target, "is absent", Code.MISSING_FIELD)
        if time is NOT_IN_MAP:
            raise self.record.reject(target, "is not in its map")
        if time is UNFIT or not least <= time < 10**14:
            raise self.record.reject(target, MUST_BE[target])
        if time < now_ms - (self.rules.max_age_ms or 10**14):
            raise self.record.reject(target, "is older than delivery.max_age_seconds", Code.TOO_OLD)
        if time > now_ms + self.rules.max_future_ms:
            raise self.record.reject(target, "is more than delivery.max_future_seconds ahead", Code.IN_FUTURE)
        return int(time)

    def required(self, target: str, rule: Any, default: str | None = None) -> Any:
        text = self.record.text(target)
        text = default if text is None else text
        if text is None:
            raise self.record.reject(target, "is absent", Code.MISSING_FIELD)
        if is_long(target, text):
            raise self.record.reject(
                target, f"is longer than {LONGEST.get(target.rpartition('.')[2], 8_192)} characters"
            )
        if text is NOT_IN_MAP:
            raise self.record.reject(target, "is not in its map")
        result = None if text is UNFIT else rule(text)
        if result is None:
            raise self.record.reject(target, MUST_BE[target])
        return result

    def currency(self) -> Any:
        return self.required("data.currency", currency, self.rules.default_currency)

    def worth(self) -> Any:
        table = self.rules.values
        if table is not None:
            key = as_key(self.record.at(table.field))
            worth = table.default if key is None else table.table.get(key, table.default)
            if worth is not None:
                return worth
        number = self.record.value("data.value")
        if number is None:
            raise self.record.reject("data.value", "is absent", Code.MISSING_FIELD)
        if number is NOT_IN_MAP:
            raise self.record.reject("data.value", "is not in its map")
        if number is UNFIT or not 0 <= number <= sys.float_info.max:
            raise self.record.reject("data.value", MUST_BE["data.value"])
        # Many JSON parsers can't read larger integers; adding 0.0 turns -0.0 into 0.0.
        return float(number) + 0.0 if isinstance(number, float) or number >= 2**53 else number

    def address(self) -> Any:
        target = "user_data.client_ip_address"
        address = self.required(target, network.address)
        reason = network.suspect(address)
        if reason is not None and self.rules.refuse_private:
            raise self.record.reject(target, "is not a public address")
        return address

    def phone_region(self) -> str | None:
        rule = self.rules.phone_region
        if rule is None or rule.has_const:
            return str(rule.const) if rule else None
        value = None
        for path in rule.paths:
            found = self.record.schema.find(path)
            if isinstance(found, Found):
                reader, value = kinds.text_reader(found.kinds), self.record.at(path)
                value = value if value is None or reader is None else reader(value)
                if value is not None and (value is UNFIT or len(value) > 64 or value.strip()):
                    break
        if value is None or (value is not UNFIT and len(value) <= 64 and not value.strip()):
            return None
        if value is not UNFIT and len(value) <= 64 and value.strip().isascii() and value.strip().upper() in COUNTRIES:
            return str(value).strip().upper()
        self.count(
            "dropped", "phone_region", "type" if value is UNFIT else "too_long" if len(value) > 64 else "unknown"
        )
        return None

    # Optional fields

    def add(self, user: dict[str, Any], field: str, url: str) -> None:
        """Add a user-data field, if it has a value and may be sent."""
        if (self.restricted and field not in RESTRICTED) or (not self.consent and field in PERSONAL):
            return
        value = self.optional(f"user_data.{field}", user.get("country_code"))
        if value is None and field in ("aleid", "alart"):
            value = network.parameter(url, field) or None
            if value is not None and is_placeholder(value):
                self.count("dropped", field, "placeholder")
                value = None
        if value is not None:
            user[field] = value

    def optional(self, target: str, country: str | None = None) -> Any:
        field, text = target.rpartition(".")[2], self.record.text(target)
        if text is None:
            return None
        if text is UNFIT or is_long(target, text):
            self.count("dropped", field, "type" if text is UNFIT else "too_long")
            return None
        if text is NOT_IN_MAP:
            self.count("dropped", field, "not_in_map")
            return None
        try:
            return self.valid(field, text.strip(), country)
        except Left as why:
            self.count("dropped", field, *why.args)
            return None

    def valid(self, field: str, text: str, country: str | None) -> str:
        """The value sent for a text without surrounding blanks. Raises Left if the text is invalid."""
        if field == "email":
            return self.hash_of(email(text))
        if field == "phone":
            return self.hash_of(phone(text, self.region))
        if field == "country_code":
            if text.isascii() and text.upper() in COUNTRIES:
                return text.upper()
            raise Left("unknown")
        if field == "zip" and country == "US":
            return zip_code(text) or leave("digits")
        if field == "zip" and is_placeholder(text):
            raise Left("placeholder")
        if field == "os":
            return operating_system(text) or leave("unknown")
        if is_placeholder(text) or (field in ("ifa", "idfv") and set(text) <= {"0", "-"}):
            raise Left("placeholder")
        if field == "user_id" and self.restricted and not set(text) <= set(DIGITS):
            raise Left("not_numeric")
        return text

    def hash_of(self, text: str) -> str:
        return hashed(text) if self.rules.hash_here and not is_hash(text) else text

    def need_an_identifier(self, user: Mapping[str, Any]) -> None:
        counted = RESTRICTED_IDENTIFIERS if self.restricted else IDENTIFIERS
        if not set(counted) & set(user):
            nobody = Rejection(Code.NO_IDENTIFIER, f"none of {', '.join(counted)} is there", self.lane.pixel)
            raise Ends(nobody if self.consent else Skipped("no_consent"))

    def id(self, target: str) -> Any:
        return self.optional(target)


# Rules for single values


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def is_hash(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdefABCDEF")


def currency(text: str) -> str | None:
    code = text.strip().upper() if text.isascii() else ""
    return code if code in CURRENCIES else None


def esi(text: str) -> str | None:
    source = text.strip().lower()
    return source if source in ("web", "app") else None


def leave(reason: str) -> str:
    raise Left(reason)


def is_placeholder(text: str) -> bool:
    """Whether it is a word that programs write for a missing value, or the hash of such a word or of an empty text."""
    if len(text) == 64:
        words = {"", " "} | SPELLED | {way(word) for word in PLACEHOLDERS for way in (str, str.upper, str.capitalize)}
        return text in (text.lower(), text.upper()) and text.lower() in map(hashed, words)
    return text in SPELLED or (text.isascii() and text.lower() in PLACEHOLDERS)


def visible(text: str) -> str:
    return "".join(sign for sign in text if ord(sign) not in INVISIBLE).strip()


def email(text: str) -> str:
    text = visible(text).lower()
    if text.startswith("mailto:"):
        text = text[len("mailto:") :].removeprefix("//").split("?")[0].strip()
    if is_placeholder(text):
        raise Left("placeholder")
    if is_hash(text):
        return text
    name, at, host = text.partition("@")
    if not at:
        raise Left("no_at")
    odd = any(sign.isspace() or ord(sign) < 32 or 127 <= ord(sign) < 160 or sign == "\ufffd" for sign in name + host)
    ascii_of_host = [sign for sign in host if sign.isascii()]
    if (
        odd
        or not name
        or not all(host.split("."))
        or any(sign in '@<>,;:()[]*"\\' for sign in name)
        or not (name[0].isalnum() or name[0] in "_+")
        or host[0] == "-"
        or host[-1] in "-_"
        or any(
            ord(sign) > 127 and (category(sign)[0] in "PSC" or "<wide>" in decomposition(sign)) for sign in name + host
        )
        or not all(sign.isalnum() or sign in "-_." for sign in ascii_of_host)
    ):
        raise Left("not_one_address")
    if any(set(hexed[:2]) <= set("0123456789abcdef") and len(hexed) > 1 for hexed in text.split("%")[1:]):
        raise Left("escaped")
    return text


def phone(text: str, region: str | None) -> str:
    """The digits, without leading pairs of zeros, which stand for the plus."""
    text = visible(text)
    if is_placeholder(text.lower() if len(text) == 64 else text):
        raise Left("placeholder")
    if is_hash(text):
        return text.lower()
    number = one_number(text)
    return completed(number, region) if region else digits_of(number)


def completed(number: str, region: str) -> str:
    """The number with its country code: as phonenumbers parses it, or with a plus in place of leading zeros.

    The first valid form, else the first possible one.
    """
    forms = [number]
    if number.lstrip(" (+").startswith("00"):
        forms.append("+" + number.lstrip(" (+").lstrip("0"))
    found: list[tuple[bool, str]] = []
    for form in forms:
        try:
            parsed = phonenumbers.parse(form, region)
        except phonenumbers.NumberParseException:
            continue
        digits = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:]
        reason = phonenumbers.is_possible_number_with_reason(parsed)
        is_zero = phonenumbers.national_significant_number(parsed).strip("0") == ""
        if reason == phonenumbers.ValidationResult.IS_POSSIBLE and 7 <= len(digits) <= 15 and not is_zero:
            found.append((not phonenumbers.is_valid_number(parsed), digits))
    return min(found, key=lambda one: one[0])[1] if found else leave("impossible")


def one_number(text: str) -> str:
    text = normalize("NFKC", text).lower().removeprefix("tel:").strip()
    text = re.sub(r"\(\s*0\s*\)", "", without_extension(text)).strip()
    if "%" in text or "&#" in text:
        raise Left("escaped")
    for sign in text:
        if sign.isalpha():
            raise Left("letters")
        if sign.isalnum() and sign not in DIGITS:
            raise Left("digits")
    if is_decimal(text):
        raise Left("decimal")
    if is_grouped(text.lstrip("+-") if len(text) - len(text.lstrip("+-")) < 2 else text):
        raise Left("decimal")
    if is_masked(text):
        raise Left("masked")
    if is_two(text):
        raise Left("two_numbers")
    return text


def is_two(text: str) -> bool:
    """Whether seven digits or more occur twice, between separators or at a stretch, or any digits after a part of eight."""
    stretches = "".join(sign if sign in DIGITS else " " for sign in text).split()
    parts = "".join("/" if sign in "/,;|:&\\\n\r" else sign if sign in DIGITS else "" for sign in text).split("/")
    sizes = [len(part.lstrip("0")) for part in parts if part]
    long_ones = [size for size in sizes if size >= 7]
    long_stretches = [one for one in stretches if len(one.lstrip("0")) >= 7]
    return len(long_ones) > 1 or len(long_stretches) > 1 or max(sizes[:-1], default=0) >= 8


def is_decimal(text: str) -> bool:
    """Whether only zeros follow the last dot or comma, after digits or groups of three separated by the other sign."""
    bare = text[1:] if text[:1] in ("+", "-") else text
    before, _, after = bare.partition(".")
    if len(before) >= 8 and after and set(before + after) <= set(DIGITS):
        return True
    for point, between in (".,", ",."):
        whole, dot, rest = bare.rpartition(point)
        first, *groups = whole.split(between)
        all_digits = all(part and set(part) <= set(DIGITS) for part in (first, *groups))
        in_threes = not groups or (len(first) <= 3 and all(len(group) == 3 for group in groups))
        if dot and rest and set(rest) == {"0"} and all_digits and in_threes:
            return True
    return False


def is_grouped(text: str) -> bool:
    """Whether only zeros follow a dot or comma, after groups of two or three digits separated by another sign."""
    number = text.rstrip("0")
    if number == text or number[-1:] not in (".", ","):
        return False
    groups = re.split("[,. '’]", number[:-1])
    marks = {sign for sign in number[:-1] if sign not in DIGITS}
    first, *rest = groups
    return (
        len(marks) == 1
        and number[-1] not in marks
        and all(set(group) <= set(DIGITS) for group in groups)
        and 1 <= len(first) <= 3
        and all(len(group) in (2, 3) for group in rest)
    )


def is_masked(text: str) -> bool:
    """Whether a sign stands for a digit: star, bullet, question mark, # inside the number, or _ not between digits."""
    if any(sign in "*?•●∙◦▪■█" for sign in text):
        return True
    digits = [at for at, sign in enumerate(text) if sign in DIGITS]
    for at, sign in enumerate(text):
        if sign == "#" and digits and digits[0] < at < digits[-1]:
            return True
        if sign == "_" and not (at - 1 in digits and at + 1 in digits):
            return True
    return False


def without_extension(text: str) -> str:
    """The text without an extension: digits at the end, the word before them, and the separators before that."""
    before = text.rstrip().rstrip(".)" + BLANKS)
    stem = before.rstrip("".join(sign for sign in before if sign.isdecimal()))
    if stem == before:
        return text
    stem = stem.rstrip(".:=-" + BLANKS)
    for word in ("extension", "extn", "ext", "x", "#"):
        if stem.endswith(word):
            number = stem.removesuffix(word).rstrip(".,;()-" + BLANKS)
            if number and number[-1].isdecimal():
                return number
    return text


def digits_of(text: str) -> str:
    digits = "".join(sign for sign in text if sign in DIGITS)
    while digits.startswith("00"):
        digits = digits[2:]
    return digits if 7 <= len(digits) <= 15 else leave("digits")


def zip_code(text: str) -> str | None:
    """The five digits of a ZIP or ZIP+4 code, with hyphen, blank or neither. Lost leading zeros are added again."""
    code, more = text, ""
    for sign in "- ":
        if sign in text:
            code, _, more = text.partition(sign)
            break
    else:
        if 7 <= len(text) <= 9:
            code, more = text[:-4], text[-4:]
    if not 3 <= len(code) <= 5 or not set(code + more) <= set(DIGITS) or len(more) not in (0, 4) or text[-1] in "- ":
        return None
    code = "0" * (5 - len(code)) + code
    return code if code >= "00501" or code == text[:5] else None


def operating_system(text: str) -> str | None:
    """Look it up by its name without quotes, then without the version, then by its first word."""
    name = text.strip("\"'“”„").strip().lower()
    bare = name.rstrip("0123456789._- ").removesuffix(" version")
    by_first_word = OPERATING_SYSTEMS.get(bare.partition(" ")[0])
    words = set(re.findall(r"[^\W_]+", bare))
    if words & {
        "phone",
        "mobile",
        "touch",
        "tv",
        "ce",
        "android",
        "iphone",
        "ipad",
        "ipod",
        "tizen",
        "webos",
    } or bare.startswith(("linux arm", "linux aarch")):
        by_first_word = None if by_first_word == "desktop_os" else by_first_word
    return OPERATING_SYSTEMS.get(name) or OPERATING_SYSTEMS.get(bare) or by_first_word
