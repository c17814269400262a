"""The lines that ``explain`` prints for fields, and those for routing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from stream_capi.config import Where
from stream_capi.events.routing import Question, Routing
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.events.taking import Columns
from stream_capi.model import Rejection, Skipped


class Verdict(StrEnum):
    """The result for a field, or for a question of the routing."""

    SENT = "sent"
    ABSENT = "absent"
    DROPPED = "dropped"  # optional and wrong: left out and counted
    FAILS = "fails"  # the event becomes a dead letter
    WITHHELD = "withheld"  # the profile doesn't allow it, or there is no consent
    PASSED = "passed"  # a question of the routing: the event goes on
    SKIPS = "skips"  # the event is skipped


class PathState(StrEnum):
    """What a path of a field held."""

    TAKEN = "taken"
    NULL = "null"
    EMPTY = "empty"
    UNUSABLE = "not usable"  # the value of another path, or a default, is used in its place
    UNNEEDED = "not needed"  # a path before it has a value
    UNREAD = "not looked at"  # the field is withheld: the profile does not allow it, or there is no consent
    MISSING = "not in this schema"


class PathValue(NamedTuple):
    """One path of a field, and the value that the record has there."""

    path: str
    raw: Any
    state: PathState

    def __repr__(self) -> str:
        return f"PathValue({self.path}, {self.state.value})"


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """One field: where it was looked for, the value found, the rule that applies, what is sent or why nothing is.

    ``path`` is the one of ``paths`` whose value was taken. ``harmless``: ``raw`` is from a known list, or a number that says
    nothing about the person, so it may be shown unmasked. ``completed``: the phone number with its country code, if that was
    added before hashing. ``held``: what each of ``paths`` held.
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
    completed: str | None = None
    held: tuple[PathValue, ...] = ()

    def __repr__(self) -> str:
        return f"Line({self.target}, {self.verdict.value})"


def routing_lines(rules: SourceRules, routing: Routing, columns: Columns) -> Iterator[Line]:
    """The lines of the routing's questions for the first record, up to the one that stops it."""
    wheres = iter(rules.where)
    for question in routing.questions:
        (raw,), (answer,) = question.value(columns, 1), question.answers(columns, 1)
        verdict = {Skipped: Verdict.SKIPS, Rejection: Verdict.FAILS}.get(type(answer), Verdict.PASSED)
        decision = _Decision(question, raw, answer, verdict)
        if question.about == "where":
            yield _where(decision, next(wheres))
        elif question.about == "consent_field":
            yield _consent(decision, rules)
        else:
            yield _looked_up(decision, rules)
        if verdict is not Verdict.PASSED:
            return


class _Decision(NamedTuple):
    """A question with its answer for one record."""

    question: Question
    raw: Any
    answer: Any
    verdict: Verdict

    def line(self, rule: str, result: Any = None, note: str = "", harmless: bool = False) -> Line:
        path = self.question.path
        return Line(self.question.about, (path,), path, self.raw, rule, result, self.verdict, note, harmless)

    def __repr__(self) -> str:
        return f"Decision({self.verdict})"


def _where(decision: _Decision, where: Where) -> Line:
    rule = " or ".join(str(one) for one in where.one_of or (where.equals,))
    if where.present is not None:
        rule = "present" if where.present else "null"
    return decision.line(f"is {rule}", harmless=where.present is None and decision.verdict is Verdict.PASSED)


def _looked_up(decision: _Decision, rules: SourceRules) -> Line:
    of_events = decision.question.about == "event_field"
    rule = "a value in events" if of_events else "the name of a pixel"
    if decision.verdict is Verdict.FAILS:
        return decision.line(rule, note="is null" if decision.raw is None else "is not one of those in the settings")
    result = "skip" if decision.verdict is Verdict.SKIPS else str(decision.answer)
    return decision.line(
        rule, result, harmless=as_key(decision.raw) in (rules.events if of_events else rules.restricted)
    )


def _consent(decision: _Decision, rules: SourceRules) -> Line:
    rule = f"a consent to {', '.join(rules.consent_purposes)}" if rules.consent_purposes else "a consent"
    notes = ["absent means no"] if decision.raw is None else []
    if decision.answer is False:
        notes.append("sent without the fields that identify the person")
    result = "yes" if decision.answer is True else "no"
    return decision.line(rule, result, "; ".join(notes), isinstance(decision.raw, bool))
