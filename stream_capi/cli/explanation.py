"""How an event becomes a ServerEvent, as ``explain``, ``send-one`` and ``dead-letters show`` print it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from stream_capi.cli.text import plain
from stream_capi.events.lines import Line, PathState, PathValue, Verdict
from stream_capi.events.value_masking import completed_shown, held_shown, masked_event, raw_shown, result_shown
from stream_capi.model import Paused, Rejection, Routed, Skipped
from stream_capi.operations.explain import ExplainedRecord

_STYLES = {
    Verdict.SENT: "green",
    Verdict.PASSED: "green",
    Verdict.DROPPED: "yellow",
    Verdict.FAILS: "bold red",
    Verdict.SKIPS: "yellow",
    Verdict.WITHHELD: "dim",
    Verdict.ABSENT: "dim",
}
_WIDTH = 80  # if the output is no terminal and COLUMNS is not set
_NAME, _VERDICT, _INDENT = 27, 8, 4  # widths in a field's first line; indent of the lines below it
_LEAST = 16  # columns for a text, however narrow the terminal
_NOTHING_THERE = (PathState.MISSING, PathState.UNREAD)


def narrow_console() -> Console:
    """A console of the terminal's width; of 80 columns if the output goes to a file and COLUMNS is not set."""
    made = Console(highlight=False, markup=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return Console(highlight=False, markup=False, width=_WIDTH)


def is_sent(explained: ExplainedRecord) -> bool:
    """Whether the event would be sent."""
    return isinstance(explained.outcome, bytes | Routed)


def event_of(explained: ExplainedRecord, personal: bool) -> dict[str, Any]:
    """The ServerEvent of an event that would be sent; masked unless ``personal``."""
    made = explained.outcome
    assert isinstance(made, bytes | Routed)  # noqa: S101 -- asked only of such an event
    event: dict[str, Any] = orjson.loads(made.payload if isinstance(made, Routed) else made)
    return event if personal else masked_event(event)


def explanation_as_json(explained: ExplainedRecord, personal: bool) -> dict[str, Any]:
    """The explanation as JSON types; masked unless ``personal``."""
    lines = explained.explanation.lines if explained.explanation else ()
    return {
        "record": explained.place,
        "schema": explained.schema,
        "fields": [_line_as_json(line, personal) for line in lines],
        "outcome": outcome_as_json(explained, personal),
    }


def _line_as_json(line: Line, personal: bool) -> dict[str, Any]:
    fields = {
        "target": line.target,
        "from": line.path,
        "looked_at": list(line.paths),
        "held": [
            {"path": one.path, "value": _held(line, one, personal), "state": one.state.value} for one in line.held
        ],
        "value": _raw(line, personal),
        "rule": line.rule,
        "verdict": line.verdict.value,
        "result": _result(line, personal),
        "note": line.note,
    }
    completed = line.completed if personal else completed_shown(line)
    return fields if completed is None else fields | {"completed": completed}


def outcome_as_json(explained: ExplainedRecord, personal: bool) -> dict[str, Any]:
    """What becomes of the event, as JSON types; the ServerEvent masked unless ``personal``."""
    made = explained.outcome
    if isinstance(made, Rejection):
        return {"kind": "dead_letter", "code": made.code.value, "detail": made.detail}
    if isinstance(made, Skipped):
        return {"kind": "skipped", "reason": made.reason}
    assert not isinstance(made, Paused)  # noqa: S101 -- what is explained is the mapping, which a pause doesn't change
    event = event_of(explained, personal)
    lane = explained.explanation.lane if explained.explanation else None
    return {"kind": "sent", "pixel": lane.pixel if lane else None, "event": event["name"], "payload": event}


def _as_json(value: Any) -> Any:
    return format(value, "f") if isinstance(value, Decimal) else value


def _raw(line: Line, personal: bool) -> Any:
    return _as_json(line.raw if personal else raw_shown(line))


def _held(line: Line, held: PathValue, personal: bool) -> Any:
    return _as_json(held.raw if personal else held_shown(line, held))


def _result(line: Line, personal: bool) -> Any:
    return _as_json(line.result if personal else result_shown(line))


def print_explanation(explained: ExplainedRecord, personal: bool) -> None:
    """Print what was explained, masked unless ``personal``."""
    out = narrow_console()
    out.print(Text(plain(f"{explained.place}  {explained.schema}"), style="bold"))
    for line in explained.explanation.lines if explained.explanation else ():
        _print_line(out, line, personal)
    print_outcome(out, explained, personal)
    out.print()


def _print_line(out: Console, line: Line, personal: bool) -> None:
    """Print a field: its name, what becomes of it, and the result or reason; below it what each path held, and the rule."""
    style = _STYLES[line.verdict]
    result = _result(line, personal)
    is_told = result is None and bool(line.note) and line.verdict is not Verdict.ABSENT
    shown = _text(result) if result is not None else plain(line.note) if is_told else ""
    head = f"{line.target:<{_NAME}} "
    _print_hanging(out, head, Text.assemble((f"{line.verdict.value:<{_VERDICT}} {shown}".rstrip(), style)), len(head))
    for detail in _details(line, personal, with_note=not is_told):
        _print_hanging(out, " " * _INDENT, Text(detail, style="dim"), _INDENT)


def _print_hanging(out: Console, head: str, text: Text, indent: int) -> None:
    """Print a text after a head, further lines indented. Lines have no trailing spaces, so that the text can be copied."""
    for at, part in enumerate(text.wrap(out, max(_LEAST, out.width - indent))):
        part.rstrip()
        out.print(Text(head if at == 0 else " " * indent) + part)


def _details(line: Line, personal: bool, with_note: bool) -> Iterator[str]:
    for one in line.held:
        if one.state in _NOTHING_THERE:
            yield plain(f"{one.path}: {one.state.value}")
            continue
        said = len(line.held) > 1 or one.state is not PathState.TAKEN
        state = f"  ({one.state.value})" if said and one.state is not PathState.NULL else ""
        yield f"{plain(one.path)} = {_text(_held(line, one, personal))}{state}"
    if line.path is None and line.raw is not None:
        yield f"{'default' if line.held else 'constant'} = {_text(_raw(line, personal))}"
    if line.completed is not None:
        yield f"completed to {_text(line.completed if personal else completed_shown(line))}"
    if line.verdict not in (Verdict.ABSENT, Verdict.WITHHELD):
        yield plain(f"rule: {line.rule}")
    if with_note and line.note and not (line.verdict is Verdict.ABSENT and line.held):
        yield plain(line.note)


def _text(value: Any) -> str:
    """A value on one line, as people write it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return plain(str(_as_json(value)))


def print_outcome(out: Console, explained: ExplainedRecord, personal: bool) -> None:
    """Print what becomes of the event, and the ServerEvent itself if it is sent."""
    outcome = outcome_as_json(explained, personal)
    if outcome["kind"] == "skipped":
        out.print(Text(f"skipped and counted: {outcome['reason']}", style="bold yellow"))
    elif outcome["kind"] == "dead_letter":
        out.print(Text(plain(f"dead letter: {outcome['code']}: {outcome['detail']}"), style="bold red"))
    else:
        masked = "" if personal else ", personal data masked here"
        out.print(Text(f"sent as {outcome['event']} to pixel {outcome['pixel']}{masked}:", style="bold green"))
        print_event(out, outcome["payload"], whole=personal)


def print_event(out: Console, event: dict[str, Any], whole: bool = False) -> None:
    """Print a ServerEvent as JSON. With ``whole`` no line is folded, since a break inside a text would change the event."""
    for line in json.dumps(event, indent=2, ensure_ascii=False).split("\n"):
        out.print(Text(plain(line)), soft_wrap=whole)
