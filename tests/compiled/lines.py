"""What ``explain`` tells, line by line; and the lines of the routing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stream_capi.events.rules import SourceRules, as_key
from tests.compiled.routing import consents, holds


class Verdict(StrEnum):
    """What became of a field, or of a question of the routing."""

    SENT = "sent"
    ABSENT = "absent"
    DROPPED = "dropped"  # optional and wrong: left out and counted
    FAILS = "fails"  # the event is dead-lettered for it
    WITHHELD = "withheld"  # the profile doesn't allow it, or there is no consent
    PASSED = "passed"  # of the routing
    SKIPS = "skips"  # the event is not meant to be sent


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """One field: where it was looked for, what stood there, which rule applies, what is sent or why nothing is.

    ``path`` is the one of ``paths`` whose value was taken. ``harmless``: ``raw`` is a value of a known list, or a number
    that says nothing of the person, so that it may be shown to anybody.
    """

    target: str
    paths: tuple[str, ...]
    path: str | None
    raw: Any
    rule: str
    result: Any
    verdict: Verdict
    note: str = ""
    harmless: bool = False

    def __repr__(self) -> str:
        return f"Line({self.target}, {self.verdict.value})"


def routing_lines(rules: SourceRules, value_at: Callable[[str], Any]) -> Iterator[Line]:
    """The questions of the routing, up to the one that decides against the record."""
    for line in _questions(rules, value_at):
        yield line
        if line.verdict is not Verdict.PASSED:
            return


def _questions(rules: SourceRules, value_at: Callable[[str], Any]) -> Iterator[Line]:
    for where in rules.where:
        raw = value_at(where.field)
        verdict = Verdict.PASSED if holds(where, raw) else Verdict.SKIPS
        rule = " or ".join(str(one) for one in where.one_of or (where.equals,))
        if where.present is not None:
            rule = "there" if where.present else "null"
        known = where.present is None and verdict is Verdict.PASSED
        yield Line("where", (where.field,), where.field, raw, f"is {rule}", None, verdict, harmless=known)
    if rules.event_field is not None:
        key = as_key(value_at(rules.event_field))
        key = key if key is not None and key in rules.events else "*"
        yield _looked_up("event_field", rules.event_field, value_at, rules.events, key)
    if rules.pixel_field is not None:
        names = {name: name for name in rules.restricted}
        yield _looked_up("pixel_field", rules.pixel_field, value_at, names, as_key(value_at(rules.pixel_field)))
    if rules.consent_field is not None:
        yield _consent(rules, rules.consent_field, value_at(rules.consent_field))


def _looked_up(
    target: str, path: str, value_at: Callable[[str], Any], table: Mapping[str, Any], key: str | None
) -> Line:
    raw = value_at(path)
    rule = "a value in events" if target == "event_field" else "the name of a pixel"
    if key is None or key not in table:
        note = "is null" if raw is None else "is none of those in the settings"
        return Line(target, (path,), path, raw, rule, None, Verdict.FAILS, note)
    found = table[key]
    verdict = Verdict.SKIPS if found is None else Verdict.PASSED
    result = "skip" if found is None else str(found)
    return Line(target, (path,), path, raw, rule, result, verdict, harmless=as_key(raw) == key)


def _consent(rules: SourceRules, path: str, raw: Any) -> Line:
    rule = f"a consent to {', '.join(rules.consent_purposes)}" if rules.consent_purposes else "a consent"
    notes = ["absent means no"] if raw is None else []
    granted = consents(raw, rules.consent_purposes)
    skips = not granted and not rules.strip_without_consent
    if not granted and not skips:
        notes.append("sent without what tells who the person is")
    verdict, result = Verdict.SKIPS if skips else Verdict.PASSED, "yes" if granted else "no"
    harmless = isinstance(raw, bool)
    return Line("consent_field", (path,), path, raw, rule, result, verdict, "; ".join(notes), harmless)
