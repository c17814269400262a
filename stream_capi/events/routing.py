"""Where a record goes: whether it is an event at all, for which pixel, as which event, and whether there is consent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from stream_capi.config import Where
from stream_capi.events.paths import Found, Schema
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.events.taking import Column, Columns
from stream_capi.events.work import Fault
from stream_capi.model import PAUSED, Code, EventName, Rejection, Skipped

_FEW = 4  # for fewer records, looking for equal values doesn't pay
_TEXT = {str, type(None)}


@dataclass(frozen=True, slots=True)
class Question:
    """What one of a record's values decides: its pixel, event or consent, or that it is skipped or rejected.

    ``about`` is the name of the setting; ``is_there``: the schema has the path.
    """

    about: str
    path: str
    is_there: bool
    answer: Callable[[object], object]

    def value(self, columns: Columns, length: int) -> Column:
        """The values that decide, one for each record."""
        return columns[self.path] if self.is_there else [None] * length

    def answers(self, columns: Columns, length: int) -> list[Any]:
        """The answer for each record. Equal texts are answered once."""
        column = self.value(columns, length)
        if length < _FEW or not _TEXT.issuperset(map(type, column)):
            return list(map(self.answer, column))
        known = {value: self.answer(value) for value in dict.fromkeys(column)}
        return [known[value] for value in column]


Way = tuple[str, EventName, bool]  # pixel, event, and whether there is a consent


class Routing:
    """The questions that decide where a source's records go, in order."""

    def __init__(self, rules: SourceRules, schema: Schema) -> None:
        self._rules = rules
        self.questions = [
            Question(about, path, isinstance(schema.find(path), Found), answer)
            for about, path, answer in _questions(rules)
        ]

    @property
    def paths(self) -> set[str]:
        """The columns that the questions read."""
        return {question.path for question in self.questions if question.is_there}

    def ways(self, columns: Columns, length: int) -> tuple[list[Way], dict[int, Fault]]:
        """The way of each record; and the fault of those that are skipped, rejected or paused, by index."""
        faults: dict[int, Fault] = {}
        parts: dict[str, Any] = {}
        for question in self.questions:
            answers = question.answers(columns, length)
            parts[question.about] = answers
            for at, answer in enumerate(answers):
                if answer.__class__ is Skipped or answer.__class__ is Rejection:
                    faults.setdefault(at, answer)
        if self._rules.paused:  # a record of a paused pixel waits, even if it would be skipped
            named = enumerate(parts.get("pixel_field", ()))
            faults.update((at, PAUSED) for at, pixel in named if pixel in self._rules.paused)
        pixels = parts.get("pixel_field", repeat(self._rules.pixel, length))
        events = parts.get("event_field", repeat(self._rules.event, length))
        consents = parts.get("consent_field", repeat(True, length))
        return list(zip(pixels, events, consents, strict=True)), faults


def _questions(rules: SourceRules) -> list[tuple[str, str, Callable[[Any], Any]]]:
    asked: list[tuple[str, str, Callable[[Any], Any]]] = []
    for where in rules.where:
        asked.append(("where", where.field, _where(where)))
    if rules.event_field is not None:
        asked.append(("event_field", rules.event_field, _event(rules, rules.event_field)))
    if rules.pixel_field is not None:
        asked.append(("pixel_field", rules.pixel_field, _pixel(rules.restricted, rules.pixel_field)))
    if rules.consent_field is not None:
        asked.append(("consent_field", rules.consent_field, _consent(rules)))
    return asked


def _where(where: Where) -> Callable[[Any], Any]:
    skipped = Skipped("where")
    return lambda value: None if holds(where, value) else skipped


def _event(rules: SourceRules, path: str) -> Callable[[Any], Any]:
    table: dict[str, EventName | Skipped] = {
        key: Skipped("event") if event is None else event for key, event in rules.events.items()
    }
    other: Any = table.get("*") or Rejection(Code.INVALID_FIELD, f'event_field "{path}" is not in events', rules.pixel)
    null: Any = table.get("*") or Rejection(Code.MISSING_FIELD, f'event_field "{path}" is null', rules.pixel)

    def event(value: Any) -> Any:
        if value is None:
            return null
        key = as_key(value)
        return other if key is None else table.get(key, other)

    return event


def _pixel(known: Mapping[str, bool], path: str) -> Callable[[Any], Any]:
    other = Rejection(Code.INVALID_FIELD, f'pixel_field "{path}" names none of the pixels')
    null = Rejection(Code.MISSING_FIELD, f'pixel_field "{path}" is null')

    def pixel(value: Any) -> Any:
        if value is None:
            return null
        key = as_key(value)
        return key if key in known else other

    return pixel


def _consent(rules: SourceRules) -> Callable[[Any], Any]:
    without: Any = False if rules.strip_without_consent else Skipped("no_consent")
    return lambda value: consents(value, rules.consent_purposes) or without


_LONGEST = 8_192  # characters of a text that may be a consent


def holds(where: Where, value: Any) -> bool:
    """Whether a record's value meets a condition. An int and a float may be equal; ``true`` equals only a boolean."""
    if where.present is not None:
        return (value is not None) is where.present
    wanted = where.one_of if where.one_of is not None else (where.equals,)
    return any(value == one and (value.__class__ is bool) is (one.__class__ is bool) for one in wanted)


def consents(value: Any, purposes: tuple[str, ...]) -> bool:
    """Whether a record's value is a consent: true, or a text that says so. With ``purposes``: an array, a map or a list in
    text that grants all of them. A value that is absent or of another form means no.
    """
    if value.__class__ is str and len(value) > _LONGEST:
        return False
    if not purposes:
        return _granted(value)
    if value.__class__ is str:
        value = str(value).replace(";", ",").replace(" ", ",").split(",")
    if value.__class__ is dict:
        return all(_granted(value.get(purpose)) for purpose in purposes)
    return value.__class__ is list and all(purpose in value for purpose in purposes)


def _granted(value: Any) -> bool:
    return value is True or (
        value.__class__ is str and len(value) <= _LONGEST and str(value).strip().lower() in ("true", "yes", "granted")
    )
