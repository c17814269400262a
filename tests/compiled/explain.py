"""How one record becomes an event, field by field, for people.

The same rules as the compiled transform, walked one by one: it goes on where the transform stops at the first fault, so that
all of them are seen at once. Its outcome is the transform's own; tests hold the two together over random records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from stream_capi.events import kinds, network
from stream_capi.events.kinds import UNFIT
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.model import Code, EventName, Lane, Rejection, Routed, Skipped, Transformed
from tests.compiled import fields
from tests.compiled.fields import IDENTIFIER_FIELDS, PERSONAL_FIELDS, RESTRICTED_IDENTIFIERS, WRONG, function_of
from tests.compiled.lines import Line, Verdict, routing_lines
from tests.compiled.paths import Found, Schema, read
from tests.compiled.routing import Way, route

_RULES = {
    "event_time": "epoch milliseconds",
    "event_source_url": "an absolute http or https URL",
    "data.currency": "an ISO 4217 code, upper-cased",
    "data.value": "a finite number of 0 or more",
    "user_data.client_ip_address": "one IPv4 or IPv6 address",
    "user_data.esi": "web or app",
    "user_data.country_code": "an ISO 3166-1 code, upper-cased",
    "user_data.zip": "trimmed; in the US the first five digits",
    "user_data.os": "ios, android or desktop_os",
}
_HASHED = {
    "user_data.email": ("trimmed, lower-cased", "SHA-256 unless it is one"),
    "user_data.phone": ("digits only", "SHA-256 unless it is one"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """Every line, what the event becomes, and where it goes (None where that is not decided)."""

    lines: tuple[Line, ...]
    outcome: Transformed
    lane: Lane | None

    def __repr__(self) -> str:
        return f"Explanation({len(self.lines)} lines)"


def explain(
    rules: SourceRules, schema_raw: Any, row: Mapping[str, Any], place: tuple[str, int, int], now_ms: int
) -> Explanation:
    """Explain a decoded record from ``place`` (topic, partition, offset). ``now_ms`` is epoch milliseconds."""
    schema = Schema(schema_raw)

    def value_at(path: str) -> Any:
        return read(row, path) if isinstance(schema.find(path), Found) else None

    way = route(rules, value_at)
    lines = list(routing_lines(rules, value_at))
    if not isinstance(way, Way):
        return Explanation(tuple(lines), way, None)
    event = _Event(rules, schema, way, value_at, now_ms)
    lines += event.lines("-".join(map(str, place)))
    made: Transformed = event.outcome()
    if isinstance(made, bytes) and rules.lane is None:
        made = Routed(way.lane, made)
    return Explanation(tuple(lines), made, way.lane)


@dataclass(frozen=True, slots=True, repr=False)
class _Taken:
    """What stood at the path that was taken: raw, and read as a text, a number or a time (UNFIT, or None: nothing)."""

    paths: tuple[str, ...]
    path: str | None
    raw: Any
    value: Any

    def why_nothing(self) -> str:
        """Of an absent value: whether the schema has any of its paths."""
        return "not in this schema" if self.paths and self.path is None else ""


# Where one of these is sent, what stood there was a number, a moment or a code out of a list.
_HARMLESS = frozenset({"event_time", "data.currency", "data.value", "user_data.esi", "user_data.country_code"})


class _Event:
    """One event in the making."""

    def __init__(
        self, rules: SourceRules, schema: Schema, way: Way, value_at: Callable[[str], Any], now_ms: int
    ) -> None:
        self._rules = rules
        self._schema = schema
        self._lane, self._consent = way
        self._value_at = value_at
        self._restricted = rules.restricted[way.lane.pixel]
        self._allowed = rules.targets(way.lane)
        self._oldest, self._newest = now_ms - (rules.max_age_ms or fields.MOST_TIME_MS), now_ms + rules.max_future_ms
        self._sent: dict[str, Any] = {}
        self._fault: Rejection | Skipped | None = None

    def outcome(self) -> bytes | Rejection | Skipped:
        """The payload, or the first fault."""
        if self._fault is not None:
            return self._fault
        sent, lead = self._sent, self._lane.event is EventName.GENERATE_LEAD
        url = network.origin(sent["event_source_url"]) if self._restricted else sent["event_source_url"]
        return orjson.dumps(
            {
                "name": self._lane.event.value,
                "event_time": sent["event_time"],
                "event_source_url": url,
                "data": {"currency": sent["data.currency"], "value": sent["data.value"]} if lead else None,
                "user_data": {target[10:]: value for target, value in sent.items() if target.startswith("user_data.")},
                "dedupe_id": sent["dedupe_id"],
            }
        )

    def lines(self, place: str) -> Iterator[Line]:
        """The fields in the order in which they are looked at."""
        yield self._time()
        yield self._required("event_source_url")
        if self._lane.event is EventName.GENERATE_LEAD:
            yield self._currency()
            yield from self._lead_value()
        yield self._address()
        yield self._required("user_data.client_user_agent")
        yield self._required("user_data.esi")
        for field in IDENTIFIER_FIELDS:
            yield self._identifier(field)
        yield self._identified()
        for field in ("country_code", "zip", "os", "sid", "ifa", "idfv"):
            yield self._optional(f"user_data.{field}")
        yield from self._ids(place)

    # The value of a field

    def _take(self, target: str, reader: Callable[..., Any] = kinds.text_reader, *args: Any) -> _Taken:
        """The first value that is neither null nor empty; the last one looked at where none is."""
        rule = self._rules.rule(target)
        if rule.has_const:
            return _Taken((), None, rule.const, str(rule.const) if reader is kinds.text_reader else rule.const)
        taken = _Taken(rule.paths, None, None, None)
        for path in rule.paths:
            found = self._schema.find(path)
            if not isinstance(found, Found):
                continue
            raw = value = self._value_at(path)
            read_as = reader(found.kinds, *args)
            if raw is not None and read_as is not None:
                value = read_as(raw)
            taken = _Taken(rule.paths, path, raw, value)
            if not _is_nothing(value, target):
                break
        return taken

    def _rule_text(self, target: str) -> str:
        if target in _HASHED:
            cleaned, hashed = _HASHED[target]
            return f"{cleaned}, {hashed}" if self._rules.hash_here else cleaned
        if target == "event_time" and (unit := self._rules.rule(target).unit) is not None:
            return f"epoch milliseconds; a number counts {unit}"
        if self._restricted and target == "event_source_url":
            return "scheme and host of an absolute URL"
        if self._restricted and target == "user_data.user_id":
            return "digits"
        return _RULES.get(target, "trimmed")

    def _line(self, target: str, taken: _Taken, result: Any, verdict: Verdict, note: str = "") -> Line:
        if verdict is Verdict.SENT:
            self._sent[target] = result
            if self._restricted and target == "event_source_url":
                result = network.origin(result)
        rule = self._rule_text(target)
        harmless = verdict is Verdict.SENT and target in _HARMLESS
        return Line(target, taken.paths, taken.path, taken.raw, rule, result, verdict, note, harmless)

    def _fails(self, target: str, taken: _Taken, code: Code, note: str) -> Line:
        if self._fault is None:
            paths = " or ".join(f'"{path}"' for path in self._rules.rule(target).paths)
            detail = f"{target}: {note}" + (f" (from {paths})" if paths else "")
            self._fault = Rejection(code, detail, self._lane.pixel)
        return self._line(target, taken, None, Verdict.FAILS, note)

    # The fields that an event can't be without

    def _time(self) -> Line:
        target = "event_time"
        unit = self._rules.rule(target).unit
        taken = self._take(target, kinds.time_reader, unit)
        if taken.value is None:
            return self._fails(target, taken, Code.MISSING_FIELD, "is absent")
        at = None if taken.value is UNFIT else fields.time(taken.value, unit)
        if at is None:
            return self._fails(target, taken, Code.INVALID_FIELD, WRONG[target].sentence)
        if at < self._oldest:
            return self._fails(target, taken, Code.TOO_OLD, "is older than delivery.max_age_seconds")
        if at > self._newest:
            return self._fails(target, taken, Code.IN_FUTURE, "is more than delivery.max_future_seconds ahead")
        return self._line(target, taken, at, Verdict.SENT)

    def _required(self, target: str, taken: _Taken | None = None) -> Line:
        taken = taken or self._take(target)
        if _is_nothing(taken.value, target):
            return self._fails(target, taken, Code.MISSING_FIELD, "is absent")
        if _is_long(taken.value, target):
            return self._fails(target, taken, Code.INVALID_FIELD, fields.too_long(target).sentence)
        function = self._function(target)
        result = None if taken.value is UNFIT else function(taken.value)
        if result is None:
            return self._fails(target, taken, Code.INVALID_FIELD, WRONG[target].sentence)
        return self._line(target, taken, result, Verdict.SENT)

    def _function(self, target: str) -> Callable[..., Any]:
        return function_of(target, hash_here=self._rules.hash_here, restricted=self._restricted) or str.strip

    def _currency(self) -> Line:
        taken, default = self._take("data.currency"), self._rules.default_currency
        if default is not None and _is_nothing(taken.value, "data.currency"):
            taken = _Taken(taken.paths, None, taken.raw, default)
            line = self._required("data.currency", taken)
            return replace(line, note=line.note or "default_currency")
        return self._required("data.currency", taken)

    def _lead_value(self) -> Iterator[Line]:
        rule = self._rules.values
        if rule is not None:
            raw = self._value_at(rule.field)
            key = as_key(raw)
            worth = rule.default if key is None else rule.table.get(key, rule.default)
            taken = _Taken((rule.field,), rule.field, raw, worth)
            if worth is not None:
                line = self._line("data.value", taken, worth, Verdict.SENT, "by the table of values")
                yield replace(line, harmless=key in rule.table)
                return
            yield self._line("values.field", taken, None, Verdict.ABSENT, "is not in the table of values")
        yield self._required("data.value", self._take("data.value", kinds.number_reader))

    def _address(self) -> Line:
        target = "user_data.client_ip_address"
        taken = self._take(target)
        address = taken.value if isinstance(taken.value, str) and not _is_long(taken.value, target) else ""
        reason = network.suspect(valid) if (valid := network.address(address)) else None
        if reason is not None and self._rules.refuse_private:
            return self._fails(target, taken, Code.INVALID_FIELD, "is no public address")
        line = self._required(target, taken)
        return line if reason is None else replace(line, note=f"counted as suspect: {reason}")

    # The others

    def _optional(self, target: str) -> Line:
        if target not in self._allowed:
            taken = _Taken(self._rules.rule(target).paths, None, None, None)
            return self._line(target, taken, None, Verdict.WITHHELD, "not in the restricted profile")
        taken = self._take(target)
        if not self._consent and target[10:] in PERSONAL_FIELDS:
            return self._line(target, taken, None, Verdict.WITHHELD, "without consent")
        if _is_nothing(taken.value, target):
            return self._line(target, taken, None, Verdict.ABSENT, taken.why_nothing())
        if (unfit := _unfit(taken.value, target)) is not None:
            return self._line(target, taken, None, Verdict.DROPPED, unfit.sentence)
        text = taken.value.strip()
        more: Sequence[Any] = [self._sent.get("user_data.country_code")] if target == "user_data.zip" else []
        result = self._function(target)(text, *more)
        if result is None:
            return self._line(target, taken, None, Verdict.DROPPED, WRONG[target].sentence)
        return self._line(target, taken, result, Verdict.SENT)

    def _identifier(self, field: str) -> Line:
        line = self._optional(f"user_data.{field}")
        url = self._sent.get("event_source_url", "")
        if (
            field not in ("aleid", "alart")
            or line.verdict is Verdict.SENT
            or not (found := network.parameter(url, field))
        ):
            return line
        taken = _Taken(line.paths, None, None, None)
        return self._line(line.target, taken, found, Verdict.SENT, f"the URL's {field}")

    def _identified(self) -> Line:
        counted = RESTRICTED_IDENTIFIERS if self._restricted else IDENTIFIER_FIELDS
        there = [field for field in counted if f"user_data.{field}" in self._sent]
        rule = f"one of {', '.join(counted)}"
        if there:
            return Line("identifiers", (), None, None, rule, ", ".join(there), Verdict.PASSED)
        none = f"none of {', '.join(counted)} is there"
        if not self._consent:
            self._fault = self._fault or Skipped("no_consent")
            return Line("identifiers", (), None, None, rule, None, Verdict.SKIPS, "none is left without consent")
        self._fault = self._fault or Rejection(Code.NO_IDENTIFIER, none, self._lane.pixel)
        return Line("identifiers", (), None, None, rule, None, Verdict.FAILS, none)

    def _ids(self, place: str) -> Iterator[Line]:
        for target in ("dedupe_id", "event_id"):
            taken = self._take(target)
            unfit = _unfit(taken.value, target)
            if not _is_nothing(taken.value, target) and unfit is None:
                yield self._line(
                    "dedupe_id", taken, taken.value.strip(), Verdict.SENT, "the event_id" * (target != "dedupe_id")
                )
                return
            verdict = Verdict.ABSENT if unfit is None else Verdict.DROPPED
            yield self._line(target, taken, None, verdict, unfit.sentence if unfit else taken.why_nothing())
        derived = _Taken((), None, None, None)
        yield self._line(
            "dedupe_id", derived, fields.derived_id(place), Verdict.SENT, "from topic, partition and offset"
        )


def _is_long(value: Any, target: str) -> bool:
    return isinstance(value, str) and len(value) > fields.longest(target)


def _is_nothing(value: Any, target: str) -> bool:
    return value is None or (isinstance(value, str) and not _is_long(value, target) and not value.strip())


def _unfit(value: Any, target: str) -> fields.Wrong | None:
    """Why a value is left out before its rule is asked."""
    if value is UNFIT:
        return fields.UNFIT
    return fields.too_long(target) if _is_long(value, target) else None
