"""The routing of a source, compiled for a writer's schema: what ``routing.route`` decides, at a quarter of its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stream_capi.config import Where
from stream_capi.events.kinds import Kind
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.model import Code, EventName, Rejection, Skipped
from tests.compiled.paths import Missing, Schema, follow
from tests.compiled.routing import consents, holds

# Pixel and event, and whether there is a consent. Plain texts, as they are hashed for each event.
Picker = Callable[[dict[str, Any]], tuple[str, str, bool] | Rejection | Skipped]


def compile_picker(rules: SourceRules, schema: Schema) -> Picker:
    """The function that decides a record's way: its pixel, event and consent, or what becomes of it instead."""
    return _Picking(rules, schema).make()


class _Picking:
    def __init__(self, rules: SourceRules, schema: Schema) -> None:
        self._rules = rules
        self._schema = schema
        self._lines = ["def pick(row):"]
        self._globals: dict[str, Any] = {"follow": follow, "as_key": as_key, "consents": consents, "holds": holds}

    def make(self) -> Picker:
        rules = self._rules
        for where in rules.where:
            self._where(where)
        event = self._const(rules.event.value if rules.event else None)
        if rules.event_field is not None:
            self._look_up(rules.event_field, *self._events(rules.event_field))
            event = "v"
        self._lines.append(f" event = {event}")
        pixel = self._const(rules.pixel)
        if rules.pixel_field is not None:
            self._look_up(rules.pixel_field, *self._pixels(rules.pixel_field))
            pixel = "v"
        self._lines.append(f" pixel = {pixel}")
        self._lines.append(f" return pixel, event, {self._consent()}")
        exec("\n".join(self._lines), self._globals)  # noqa: S102 -- our own text; names and texts of others only as reprs
        made: Picker = self._globals["pick"]
        return made

    def _const(self, value: Any) -> str:
        name = f"c{len(self._globals)}"
        self._globals[name] = value
        return name

    def _found(self, path: str) -> tuple[str, frozenset[Kind]]:
        found = self._schema.find(path)
        return ("None", frozenset()) if isinstance(found, Missing) else found

    def _where(self, where: Where) -> None:
        code, _ = self._found(where.field)
        wanted = where.one_of if where.one_of is not None else (where.equals,)
        if where.present is not None:
            test = f"({code}) is {'not ' if where.present else ''}None"
        elif all(isinstance(one, str) for one in wanted):
            test = f"({code}) in {self._const(wanted)}"
        else:
            test = f"holds({self._const(where)}, {code})"
        self._lines.append(f" if not ({test}): return {self._const(Skipped('where'))}")

    def _look_up(self, path: str, table: Mapping[str, Any], other: Any, null: Any) -> None:
        """Set ``v`` to what the table has for the value at a path; what is no text of the table's decides the record."""
        code, kinds = self._found(path)
        key = "v" if all(kind.type in ("string", "enum") for kind in kinds) else "as_key(v)"
        self._lines += [
            f" v = {code}",
            f" v = {self._const(dict(table))}.get({key}, {self._const(other)}) if v is not None else {self._const(null)}",
            " if v.__class__ is not str: return v",
        ]

    def _events(self, path: str) -> tuple[Mapping[str, Any], Any, Any]:
        rules = self._rules
        table = {key: _event(event) for key, event in rules.events.items()}
        if "*" in table:
            return table, table["*"], table["*"]
        return (
            table,
            Rejection(Code.INVALID_FIELD, f'event_field "{path}" is not in events', rules.pixel),
            Rejection(Code.MISSING_FIELD, f'event_field "{path}" is null', rules.pixel),
        )

    def _pixels(self, path: str) -> tuple[Mapping[str, Any], Any, Any]:
        return (
            {name: name for name in self._rules.restricted},
            Rejection(Code.INVALID_FIELD, f'pixel_field "{path}" names none of the pixels'),
            Rejection(Code.MISSING_FIELD, f'pixel_field "{path}" is null'),
        )

    def _consent(self) -> str:
        rules = self._rules
        if rules.consent_field is None:
            return "True"
        code, _ = self._found(rules.consent_field)
        self._lines.append(f" consent = consents({code}, {self._const(rules.consent_purposes)})")
        if not rules.strip_without_consent:
            self._lines.append(f" if not consent: return {self._const(Skipped('no_consent'))}")
        return "consent"


def _event(event: EventName | None) -> str | Skipped:
    return Skipped("event") if event is None else event.value
