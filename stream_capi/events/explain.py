"""Explains to a person, field by field, how one record becomes an event.

It runs the steps of the transform on a table of one record. Each step validates its field even if one before it failed, so
that all faults are seen at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stream_capi.events import network
from stream_capi.events.fields import FIELDS, IDENTIFIER_FIELDS, Field, Need
from stream_capi.events.judging import NOTHING
from stream_capi.events.kinds import readable
from stream_capi.events.lane_plan import LanePlan
from stream_capi.events.lines import Line, PathState, PathValue, Verdict, routing_lines
from stream_capi.events.paths import Found, MissingPath, Schema, table_of
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.events.suppression import People
from stream_capi.events.suspects import SHORT, is_short
from stream_capi.events.taking import Columns, Origin, Taking
from stream_capi.events.transform import Transform
from stream_capi.events.work import Work
from stream_capi.model import EventName, Lane, Rejection, Skipped, Transformed

_DERIVED = "from topic, partition and offset"
# If one of these is sent, the record's value was a number, a time, or a code from a list.
_HARMLESS = frozenset({"event_time", "data.currency", "data.value", "user_data.esi", "user_data.country_code"})


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """Every line, the outcome of the event, and its lane (None if it got none)."""

    lines: tuple[Line, ...]
    outcome: Transformed
    lane: Lane | None

    @property
    def is_id_derived(self) -> bool:
        """Whether the event has no id of its own, and gets one derived from its position."""
        return bool(self.lines) and self.lines[-1].note == _DERIVED

    def __repr__(self) -> str:
        return f"Explanation({len(self.lines)} lines)"


def explain(
    rules: SourceRules,
    schema_raw: Any,
    row: Mapping[str, Any],
    place: tuple[str, int, int],
    now_ms: int,
    record: str = "",
    *,
    people: People | None = None,
) -> Explanation:
    """Explain a decoded record from ``place`` (topic, partition, offset). ``now_ms`` is epoch milliseconds.

    ``record``: its full name, if the schema's top-level type is a union. ``people``: those who asked to be forgotten.
    """
    schema = Schema(schema_raw, record)
    transform = Transform(rules, schema, people)
    table = transform.completed(table_of([row], transform.paths))
    lines = list(routing_lines(rules, transform.routing, table.columns))
    (way,), faults = transform.routing.ways(table.columns, 1)
    if people is not None and not isinstance(faults.get(0), Skipped):
        suppressed = transform.suppressed(table.columns, 1)
        lines.append(_suppression_line(bool(suppressed)))
        faults = {**faults, **suppressed}
    if faults:
        return Explanation(_readable(lines, schema, table.columns), faults[0], None)
    plan = transform.plan(way)
    topic, partition, offset = place
    work = transform.run(plan, table.columns, 1, f"{topic}-{partition}", [offset], now_ms)
    lines += _Event(rules, transform, plan, work).lines()
    (made,) = transform.routed(plan.lane, work.payloads())
    return Explanation(_readable(lines, schema, table.columns), made, plan.lane)


def _readable(lines: Iterable[Line], schema: Schema, columns: Columns) -> tuple[Line, ...]:
    """The lines with what each of their paths held, and with values as people write them."""
    return tuple(
        replace(
            line,
            raw=line.raw if line.path is None else _value(schema, line.path, line.raw),
            held=tuple(_held(schema, columns, path, line) for path in line.paths),
        )
        for line in lines
    )


def _value(schema: Schema, path: str, raw: Any) -> Any:
    found = schema.find(path)
    return readable(found.kinds, raw) if isinstance(found, Found) else raw


def _held(schema: Schema, columns: Columns, path: str, line: Line) -> PathValue:
    if isinstance(schema.find(path), MissingPath):
        return PathValue(path, None, PathState.MISSING)
    if path not in columns or (line.verdict is Verdict.WITHHELD and line.path is None):
        return PathValue(path, None, PathState.UNREAD)
    raw = _value(schema, path, columns[path][0])
    if raw is None:
        return PathValue(path, raw, PathState.NULL)
    if isinstance(raw, str) and not raw.strip():
        return PathValue(path, raw, PathState.EMPTY)
    if path == line.path:
        return PathValue(path, raw, PathState.TAKEN)
    is_behind = line.path is not None and line.paths.index(path) > line.paths.index(line.path)
    return PathValue(path, raw, PathState.UNNEEDED if is_behind else PathState.UNUSABLE)


def _suppression_line(is_suppressed: bool) -> Line:
    verdict, note = (Verdict.SKIPS, "the person asked to be forgotten") if is_suppressed else (Verdict.PASSED, "")
    return Line("suppress", (), None, None, "not in suppress.file", None, verdict, note)


class _Event:
    """An event, and the lines that explain it."""

    def __init__(self, rules: SourceRules, transform: Transform, plan: LanePlan, work: Work) -> None:
        self._rules = rules
        self._transform = transform
        self._plan = plan
        self._work = work
        self._restricted = rules.restricted[plan.lane.pixel]

    def lines(self) -> Iterator[Line]:
        """The fields, in the order in which they are validated."""
        last = f"user_data.{IDENTIFIER_FIELDS[-1]}"
        for target, field in self._plan.fields.items():
            if field.need is Need.DATA and self._plan.lane.event is EventName.PAGE_VIEW:
                continue
            if field.need is Need.ID:
                continue
            if target == "data.value":
                yield from self._lead_value()
            elif target == "user_data.phone" and self._plan.region is not None:
                yield from self._phone(field, *self._plan.region)
            else:
                yield self._field(field)
            if target == last:
                yield self._identified()
        yield from self._ids()

    def _rule_text(self, field: Field) -> str:
        unit = self._rules.rule(field.target).unit
        if field.target == "event_time" and unit is not None:
            return f"epoch milliseconds; a number counts {unit}"
        return field.rule_for(hash_here=self._rules.hash_here, restricted=self._restricted).description

    def _line(self, field: Field, taking: Taking, result: Any, verdict: Verdict, note: str = "") -> Line:
        path = taking.taken(self._work.columns)
        raw = taking.rule.const if path is None else self._work.columns[path][0]
        rule = self._rule_text(field)
        origin = taking.origin(self._work.columns) if verdict is Verdict.SENT else Origin.RECORD
        # The raw value behind a default may be anything. Keys of a map and constants are in the settings, so not secret.
        is_known = origin is not Origin.DEFAULT or path is None
        harmless = verdict is Verdict.SENT and field.target in _HARMLESS and is_known
        note = note or origin.value
        return Line(field.target, taking.rule.paths, path, raw, rule, result, verdict, note, harmless)

    def _field(self, field: Field) -> Line:
        taking = self._plan.takings.get(field.target)
        if taking is None:
            return self._withheld(field)
        values, wrongs, *_ = self._work.judged.get(field.target, NOTHING)
        value, wrong = values[0] if values else None, wrongs.get(0)
        if wrong is not None and field.need in (Need.REQUIRED, Need.DATA):
            line = self._line(field, taking, None, Verdict.FAILS, wrong.sentence)
        elif value is not None and value != "":
            line = self._line(field, taking, value, Verdict.SENT)
        elif wrong is not None:
            line = self._line(field, taking, None, Verdict.DROPPED, wrong.sentence)
        else:
            note = "not in this schema" if taking.is_never else ""
            line = self._line(field, taking, None, Verdict.ABSENT, note)
        return self._with_what_came_from_elsewhere(field, line)

    def _with_what_came_from_elsewhere(self, field: Field, line: Line) -> Line:
        aside = self._work.aside
        if field.target == "data.currency" and 0 in aside.get("default_currency", ()):
            return replace(line, path=None, note=line.note or "default_currency")
        if field.target == "event_source_url" and line.result is not None and "origin" in aside:
            return replace(line, result=aside["origin"][0])
        if field.target == "user_data.client_ip_address" and line.result is not None:
            note = line.note or network.address_note(str(line.raw), line.result)
            why = [*aside.get("suspect", ()), None][0]
            notes = [note] * bool(note) + ([] if why is None else [f"counted as suspect: {why}"])
            return replace(line, note="; ".join(notes))
        if field.target == "user_data.user_id" and line.result is not None and is_short(line.result):
            return replace(line, note="; ".join(filter(None, (line.note, f"counted as suspect: {SHORT}"))))
        if aside.get(f"{field.name}=", ("",))[0]:
            return replace(line, path=None, raw=None, note=f"the URL's {field.name}")
        return line

    def _withheld(self, field: Field) -> Line:
        """The line of a field that events of this lane don't have."""
        if field.target in self._rules.targets(self._plan.lane):
            return self._line(field, self._transform.taking(field), None, Verdict.WITHHELD, "without consent")
        paths, rule = self._rules.rule(field.target).paths, self._rule_text(field)
        return Line(field.target, paths, None, None, rule, None, Verdict.WITHHELD, "not in the restricted profile")

    def _lead_value(self) -> Iterator[Line]:
        field, table = FIELDS["data.value"], self._rules.values
        line = self._field(field)
        if table is None:
            yield line
            return
        raw = self._work.columns.get(table.field, (None,))[0]
        worth = self._work.aside["worth"][0]
        of_table = replace(line, paths=(table.field,), path=table.field, raw=raw)
        if worth is not None:
            yield replace(of_table, note="by the table of values", harmless=as_key(raw) in table.table)
            return
        note = "is not in the table of values"
        absent = replace(of_table, target="values.field", result=None, verdict=Verdict.ABSENT, note=note)
        yield replace(absent, rule="trimmed", harmless=False)
        yield line

    def _phone(self, field: Field, region: Field, taking: Taking) -> Iterator[Line]:
        """The country's line, and the number's, with the number completed by the country code if that changed it."""
        values, wrong, *_ = self._work.judged.get(region.target, NOTHING)
        country = values[0] if values else None
        verdict = Verdict.PASSED if country else Verdict.DROPPED if wrong else Verdict.ABSENT
        note = wrong[0].sentence if wrong else ""
        yield replace(self._line(region, taking, country, verdict, note), harmless=bool(country))
        line = self._field(field)
        if line.verdict is Verdict.SENT and (
            texts := self._plan.takings[field.target].column(self._work.columns, 1)[0]
        ):
            rule = field.rule_for(hash_here=False, restricted=self._restricted)
            completed = rule.one(texts[0], country) if rule.one is not None else None
            if isinstance(completed, str) and completed != line.result:
                line = replace(line, completed=completed)
        yield line

    def _identified(self) -> Line:
        counted, judged = self._plan.counted, self._work.judged
        targets = {name: f"user_data.{name}" for name in counted}
        there = [name for name, target in targets.items() if target in judged and judged[target][0][0]]
        rule = f"one of {', '.join(counted)}"
        if there:
            return Line("identifiers", (), None, None, rule, ", ".join(there), Verdict.PASSED)
        nobody = self._plan.nobody
        if isinstance(nobody, Skipped):
            return Line("identifiers", (), None, None, rule, None, Verdict.SKIPS, "none is left without consent")
        assert isinstance(nobody, Rejection)  # noqa: S101
        return Line("identifiers", (), None, None, rule, None, Verdict.FAILS, nobody.detail)

    def _ids(self) -> Iterator[Line]:
        for target in ("dedupe_id", "event_id"):
            line = self._field(FIELDS[target])
            if line.verdict is Verdict.SENT:
                yield line if target == "dedupe_id" else replace(line, target="dedupe_id", note="the event_id")
                return
            yield line
        derived, rule = self._work.aside["id"][0], self._rule_text(FIELDS["dedupe_id"])
        yield Line("dedupe_id", (), None, None, rule, derived, Verdict.SENT, _DERIVED)
