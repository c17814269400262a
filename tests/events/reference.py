"""The mapping in plain steps: one record, one field after the other, as the contract's section 5 reads.

It is what the mapping by columns is held against, so it takes nothing from there but what is about one value alone: reading
logical types (``kinds``), and what a URL or an IP address is (``network``). It is slow, and nothing in it is clever.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

from stream_capi.events import kinds, network
from stream_capi.events.kinds import UNFIT
from stream_capi.events.paths import Found, Schema, read
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
    "user_data.client_ip_address": "must be one IPv4 or IPv6 address",
    "user_data.client_user_agent": "must be text",
    "user_data.esi": "must be web or app",
}
WRONG = {
    "user_id": "not_numeric",
    "email": "no_at",
    "phone": "digits",
    "country_code": "unknown",
    "zip": "digits",
    "os": "unknown",
}
COMMON_UNITS = {"s": 1, None: 10**11, "ms": 10**11, "us": 10**11}  # the least time that is believed
DIGITS = "0123456789"

Counts = Counter[tuple[str, ...]]


class Ends(Exception):
    """The event is not sent."""

    def __init__(self, outcome: Rejection | Skipped) -> None:
        super().__init__()
        self.outcome = outcome


def outcome_of(
    rules: SourceRules, raw: Any, row: Mapping[str, Any], place: tuple[str, int, int], now_ms: int, counts: Counts
) -> Transformed:
    """What becomes of a decoded record, and what is counted of it."""
    try:
        lane, consent = way_of(Record(rules, Schema(raw), row), rules)
        event = Event(Record(rules, Schema(raw), row, lane), rules, lane, consent, counts)
        payload = orjson.dumps(event.made(place, now_ms))
    except Ends as end:
        return end.outcome
    return payload if rules.pixel is not None and rules.event is not None else Routed(lane, payload)


class Record:
    """A record with the ways to its values."""

    def __init__(self, rules: SourceRules, schema: Schema, row: Mapping[str, Any], lane: Lane | None = None) -> None:
        self.rules, self.schema, self.row, self.lane = rules, schema, row, lane

    def at(self, path: str) -> Any:
        """The value at a path; None where this schema has no such path."""
        return read(self.row, path) if isinstance(self.schema.find(path), Found) else None

    def value(self, target: str) -> Any:
        """The first value that is neither null nor blank, read as what the field needs; UNFIT where it can't be that."""
        rule = self.rules.rule(target)
        if rule.has_const:
            return rule.const if target == "data.value" else str(rule.const)
        value = None
        for path in rule.paths:
            found = self.schema.find(path)
            if isinstance(found, Found):
                value = self._read(target, found, self.at(path))
                if value is not None and not self._is_blank(target, value):
                    return value
        return value

    def _read(self, target: str, found: Found, value: Any) -> Any:
        if target == "event_time":
            reader = kinds.time_reader(found.kinds, self.rules.rule(target).unit)
        elif target == "data.value":
            reader = kinds.number_reader(found.kinds)
        else:
            reader = kinds.text_reader(found.kinds)
        return value if value is None or reader is None else reader(value)

    def _is_blank(self, target: str, value: Any) -> bool:
        return isinstance(value, str) and not is_long(target, value) and not value.strip()

    def text(self, target: str) -> Any:
        """A text, None where it is blank."""
        value = self.value(target)
        return None if value is None or self._is_blank(target, value) else value

    def reject(self, target: str, sentence: str, code: Code = Code.INVALID_FIELD) -> Ends:
        """The event is dead-lettered for a field."""
        paths = " or ".join(f'"{path}"' for path in self.rules.rule(target).paths)
        detail = f"{target}: {sentence}" + (f" (from {paths})" if paths else "")
        return Ends(Rejection(code, detail, self.lane.pixel if self.lane else None))


def is_long(target: str, value: Any) -> bool:
    return isinstance(value, str) and len(value) > LONGEST.get(target.rpartition(".")[2], 8_192)


def way_of(record: Record, rules: SourceRules) -> tuple[Lane, bool]:
    """Whether the record is meant; for which pixel, as which event, with whose consent."""
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
    """One event in the making."""

    def __init__(self, record: Record, rules: SourceRules, lane: Lane, consent: bool, counts: Counts) -> None:
        self.record, self.rules, self.lane, self.consent, self.counts = record, rules, lane, consent, counts
        self.restricted = rules.restricted[lane.pixel]

    def made(self, place: tuple[str, int, int], now_ms: int) -> dict[str, Any]:
        """The ServerEvent. The first fault decides; what is left out is counted when it is met."""
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
        for field in IDENTIFIERS:
            self.add(user, field, url)
        self.need_an_identifier(user)
        for field in OTHERS:
            self.add(user, field, url)
        dedupe_id = self.id("dedupe_id") or self.id("event_id") or hashed("-".join(map(str, place)))
        self.count("mapped", self.lane.pixel, self.lane.event.value)
        for field in set(IDENTIFIERS) & set(user):
            self.count("identifiers", self.lane.pixel, self.lane.event.value, field)
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

    # What an event can't be without

    def time(self, now_ms: int) -> int:
        target = "event_time"
        time, least = self.record.value(target), COMMON_UNITS[self.rules.rule(target).unit]
        if time is None:
            raise self.record.reject(target, "is absent", Code.MISSING_FIELD)
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
        if number is UNFIT or not 0 <= number <= sys.float_info.max:
            raise self.record.reject("data.value", MUST_BE["data.value"])
        # Other readers of JSON have no larger integers; and -0.0 becomes 0.0.
        return float(number) + 0.0 if isinstance(number, float) or number >= 2**53 else number

    def address(self) -> Any:
        target = "user_data.client_ip_address"
        address = self.required(target, network.address)
        reason = network.suspect(address)
        if reason is not None and self.rules.refuse_private:
            raise self.record.reject(target, "is no public address")
        if reason is not None:
            self.count("suspect", "client_ip_address", reason)
        return address

    # What an event may be without

    def add(self, user: dict[str, Any], field: str, url: str) -> None:
        """Put a field of the person's in, if there is one and it may be told."""
        if (self.restricted and field not in RESTRICTED) or (not self.consent and field in PERSONAL):
            return
        value = self.optional(f"user_data.{field}", user.get("country_code"))
        if value is None and field in ("aleid", "alart"):
            value = network.parameter(url, field) or None
        if value is not None:
            user[field] = value

    def optional(self, target: str, country: str | None = None) -> Any:
        field, text = target.rpartition(".")[2], self.record.text(target)
        if text is None:
            return None
        if text is UNFIT or is_long(target, text):
            self.count("dropped", field, "type" if text is UNFIT else "too_long")
            return None
        value = self.valid(field, text.strip(), country)
        if value is None:
            self.count("dropped", field, WRONG[field])
        return value

    def valid(self, field: str, text: str, country: str | None) -> str | None:
        """What is sent for a text without blanks around it; None where it is wrong."""
        if field == "user_id" and self.restricted:
            return text if set(text) <= set(DIGITS) else None
        if field == "email":
            return self.hash_of(text.lower()) if "@" in text else text.lower() if is_hash(text) else None
        if field == "phone":
            return text.lower() if is_hash(text) else self.hash_of(digits) if (digits := phone(text)) else None
        if field == "country_code":
            return text.upper() if text.isascii() and text.upper() in COUNTRIES else None
        if field == "zip" and country == "US":
            return "".join(sign for sign in text if sign in DIGITS)[:5] or None
        return operating_system(text) if field == "os" else text

    def hash_of(self, text: str) -> str:
        return hashed(text) if self.rules.hash_here else text

    def need_an_identifier(self, user: Mapping[str, Any]) -> None:
        counted = RESTRICTED_IDENTIFIERS if self.restricted else IDENTIFIERS
        if not set(counted) & set(user):
            nobody = Rejection(Code.NO_IDENTIFIER, f"none of {', '.join(counted)} is there", self.lane.pixel)
            raise Ends(nobody if self.consent else Skipped("no_consent"))

    def id(self, target: str) -> Any:
        return self.optional(target)


# The rules of single values


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


def phone(text: str) -> str | None:
    """The digits; each leading pair of zeros stands for the plus."""
    digits = "".join(sign for sign in text if sign in DIGITS)
    while digits.startswith("00"):
        digits = digits[2:]
    return digits if 7 <= len(digits) <= 15 else None


def operating_system(text: str) -> str | None:
    """By its name, by its name without a version, or by its first word."""
    name = text.lower()
    bare = name.rstrip("0123456789._- ").removesuffix(" version")
    return OPERATING_SYSTEMS.get(name) or OPERATING_SYSTEMS.get(bare) or OPERATING_SYSTEMS.get(bare.partition(" ")[0])
