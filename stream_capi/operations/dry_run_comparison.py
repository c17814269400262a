"""What differs between the mappings of two configurations: counted by kind, field and rule. No value is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from stream_capi.config import FieldRule
from stream_capi.events.fields import FIELDS
from stream_capi.events.rejected_field import field_of
from stream_capi.events.rules import SourceRules
from stream_capi.model import Lane, Rejection, Routed, Skipped, TopicPartition
from stream_capi.operations.dry_run_mapper import MappedPart, Outcome, Waits

_ID = "dedupe_id"


class MappingChange(NamedTuple):
    """A kind of change. ``before`` and ``after`` say what the field is made from by each file, or what becomes of events."""

    topic: str
    kind: str
    field: str
    before: str
    after: str


class _Mapped(NamedTuple):
    lane: Lane | None
    rules: SourceRules | None
    outcome: Outcome

    def __repr__(self) -> str:
        return f"_Mapped({self.lane})"


class Comparison:
    """Counts events whose outcome or content differs. ``first`` has the place of the first event of each kind of change."""

    def __init__(self) -> None:
        self.compared = 0
        self.changed = 0
        self.changes: Counter[MappingChange] = Counter()
        self.first: dict[MappingChange, str] = {}
        self._origins: dict[tuple[int, str, str | None], str] = {}

    def add(self, tp: TopicPartition, before: Sequence[MappedPart], after: Sequence[MappedPart]) -> None:
        """Compare what became of one chunk by each of the files."""
        if len(before) == len(after) == 1 and _all_sent_alike(before[0], after[0]):
            self.compared += len(before[0].outcomes)
            return
        others = dict(_by_offset(after))
        for offset, one in _by_offset(before):
            self.compared += 1
            other = others[offset]
            if one.outcome is other.outcome and one.lane == other.lane:
                continue
            found = list(dict.fromkeys(self._differences(tp.topic, one, other)))
            self.changed += bool(found)
            for change in found:
                self.changes[change] += 1
                self.first.setdefault(change, f"{tp}@{offset}")

    def _differences(self, topic: str, one: _Mapped, other: _Mapped) -> list[MappingChange]:
        kinds = _kind(one.outcome), _kind(other.outcome)
        if kinds != ("sent", "sent"):
            if kinds[0] == kinds[1] and _why(one.outcome) == _why(other.outcome):
                return []
            told = _told(one.outcome), _told(other.outcome)
            name = f"{kinds[0]}_to_{kinds[1]}" if kinds[0] != kinds[1] else f"other_{kinds[0]}"
            return [MappingChange(topic, name, "", *told)]
        found: list[MappingChange] = []
        lanes = _lane(one), _lane(other)
        if lanes[0].pixel != lanes[1].pixel:
            found.append(MappingChange(topic, "other_pixel", "", lanes[0].pixel, lanes[1].pixel))
        if lanes[0].event != lanes[1].event:
            found.append(MappingChange(topic, "other_event", "name", lanes[0].event.value, lanes[1].event.value))
        payloads = _payload(one.outcome), _payload(other.outcome)
        if payloads[0] != payloads[1]:
            found += self._of_fields(topic, one, other, _flat(payloads[0]), _flat(payloads[1]))
        return found

    def _of_fields(
        self, topic: str, one: _Mapped, other: _Mapped, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> list[MappingChange]:
        found = []
        for target in dict.fromkeys((*before, *after)):
            if target == "name" or (target in before and target in after and before[target] == after[target]):
                continue
            kind = "differs" if target in before and target in after else "appears" if target in after else "disappears"
            origins = self._origin(one, target), self._origin(other, target)
            found.append(MappingChange(topic, f"field_{kind}", target, *origins))
        return found

    def _origin(self, mapped: _Mapped, target: str) -> str:
        if mapped.rules is None:
            return ""
        lane = _lane(mapped)
        key = id(mapped.rules), target, lane.pixel
        if key not in self._origins:
            self._origins[key] = origin(mapped.rules, lane, target)
        return self._origins[key]


def origin(rules: SourceRules, lane: Lane, target: str) -> str:
    """Where a field comes from and by which rule, in the words of the settings and of ``explain``."""
    if target not in FIELDS:
        return ""
    targets = (_ID, "event_id") if target == _ID else (target,)
    where = " or ".join(filter(None, (_of_rule(rules.rule(one)) for one in targets)))
    if target == "data.value" and rules.values is not None:
        where = f'values by "{rules.values.field}", else {where}'
    if target == "data.currency" and rules.default_currency is not None:
        where += " or default_currency"
    if target == "user_data.phone" and rules.phone_region is not None:
        where += f", phone_region {_of_rule(rules.phone_region, shows_constant=True)}"
    rule = FIELDS[target].rule_for(hash_here=rules.hash_here, restricted=rules.restricted[lane.pixel])
    return f"{where}: {rule.description}"


def _of_rule(rule: FieldRule, shows_constant: bool = False) -> str:
    constant = f'"{rule.const}"' if shows_constant else "a constant"
    words = [f'"{path}"' for path in rule.paths]
    if rule.has_const:
        words.append(constant)
    by_map = " by its map" if rule.map is not None else ""
    unit = f" in {rule.unit}" if rule.unit is not None else ""
    return " or ".join(words) + by_map + unit


def _all_sent_alike(one: MappedPart, other: MappedPart) -> bool:
    return (
        one.lane is not None
        and one.lane == other.lane
        and one.outcomes == other.outcomes
        and set(map(type, one.outcomes)) == {bytes}
    )


def _by_offset(parts: Sequence[MappedPart]) -> list[tuple[int, _Mapped]]:
    return [
        (offset, _Mapped(part.lane, part.rules, outcome))
        for part in parts
        for offset, outcome in zip(part.offsets, part.outcomes, strict=True)
    ]


def _kind(outcome: Outcome) -> str:
    if isinstance(outcome, bytes | Routed):
        return "sent"
    if isinstance(outcome, Rejection):
        return "dead_letter"
    if isinstance(outcome, Skipped):
        return "skipped"
    return "waits" if isinstance(outcome, Waits) else "no_source"


def _why(outcome: Outcome) -> tuple[str, str]:
    """What the outcome is counted by; the paths that a field is looked for at make no other outcome."""
    if isinstance(outcome, Rejection):
        return outcome.code.value, field_of(outcome).field
    return (outcome.reason if isinstance(outcome, Skipped | Waits) else ""), ""


def _told(outcome: Outcome) -> str:
    """What becomes of an event, by its code, field and reason."""
    if isinstance(outcome, Rejection):
        field, paths = field_of(outcome)
        return f"{outcome.code.value}{f' {field}' if field else ''}{f' from {paths}' if paths else ''}"
    return outcome.reason if isinstance(outcome, Skipped | Waits) else ""


def _lane(mapped: _Mapped) -> Lane:
    lane = mapped.outcome.lane if isinstance(mapped.outcome, Routed) else mapped.lane
    assert lane is not None  # noqa: S101 -- only what is sent is asked, and it has a lane
    return lane


def _payload(outcome: Outcome) -> bytes:
    payload = outcome.payload if isinstance(outcome, Routed) else outcome
    assert isinstance(payload, bytes)  # noqa: S101 -- only what is sent is asked
    return payload


def _flat(payload: bytes) -> dict[str, Any]:
    """The fields of an event by their targets."""
    event: dict[str, Any] = orjson.loads(payload)
    inner = {
        f"{table}.{name}": value for table in ("data", "user_data") for name, value in (event.pop(table) or {}).items()
    }
    return event | inner
