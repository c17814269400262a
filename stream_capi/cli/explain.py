"""``stream-capi explain``: how an event becomes a ServerEvent, field by field."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_capi import config
from stream_capi.cli.options import Config, Json
from stream_capi.cli.selection import DEFAULT_SINCE, KEY_HELP, SINCE_HELP, wanted_of
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import plain, print_json
from stream_capi.events.lines import Line, Verdict
from stream_capi.events.value_masking import completed_shown, raw_shown, result_shown
from stream_capi.kafka.scan import latest_records, record_at
from stream_capi.model import Paused, Record, Rejection, Routed, Skipped
from stream_capi.operations.explain import ExplainedRecord, explain_file, explain_records

_STYLES = {
    Verdict.SENT: "green",
    Verdict.PASSED: "green",
    Verdict.DROPPED: "yellow",
    Verdict.FAILS: "bold red",
    Verdict.SKIPS: "yellow",
    Verdict.WITHHELD: "dim",
    Verdict.ABSENT: "dim",
}
_WIDTH = 150  # where the output is no terminal


def command(
    config_file: Config,
    topic: Annotated[str, typer.Option(help="The topic of one of the sources.")],
    partition: Annotated[int | None, typer.Option(min=0, help="With --offset: the record's partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="With --partition: the record's offset.")] = None,
    latest: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="The newest N records of the topic, or of those that are found; then 1."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="One record's value as it is on the wire; or, in a .json file, its fields."),
    ] = None,
    key: Annotated[str | None, typer.Option(help=KEY_HELP)] = None,
    event_id: Annotated[str | None, typer.Option(help="The event_id that the mapping gives the record.")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="FIELD=VALUE", help="A field of the record, by its path, and its value as text."),
    ] = None,
    since: Annotated[str, typer.Option(help=f"With --key, --event-id, --where. {SINCE_HELP}")] = DEFAULT_SINCE,
    show_personal_data: Annotated[bool, typer.Option("--show-personal-data", help="Show values unmasked.")] = False,
    as_json: Json = False,
) -> None:
    """Show how an event becomes a ServerEvent: source path, rule, result or why it fails, field by field."""
    if (partition is None) != (offset is None):
        raise typer.BadParameter("--partition and --offset go together")
    wanted = wanted_of(key, event_id, None, where)
    if sum(given is not None for given in (offset, latest if wanted is None else wanted, file)) != 1:
        raise typer.BadParameter(
            "give one of --partition with --offset, --latest, --key, --event-id, --where and --file; "
            "--latest also goes with --key, --event-id and --where"
        )
    settings = config.load(config_file, keys=False)
    sources = sources_of(settings, topic)
    if wanted is not None:
        from stream_capi.cli.searching import selected  # what else is explained needs nothing of it

        chosen = selected(settings, topic, wanted, since, latest or 1, quiet=as_json)
        explained = asyncio.run(explain_records(settings, sources, chosen))
    elif file is not None:
        explained = asyncio.run(explain_file(settings, sources, file))
    else:
        records: Sequence[Record] = (
            [record_at(settings.kafka, topic, partition, offset)]
            if partition is not None and offset is not None
            else latest_records(settings.kafka, topic, latest or 1)
        )
        explained = asyncio.run(explain_records(settings, sources, records))
    if as_json:
        print_json([explanation_as_json(one, show_personal_data) for one in explained], indent=2)
    elif not explained:
        print(f"{topic} has no records")
    for one in explained if not as_json else ():
        print_explanation(one, show_personal_data)


def _shown(line: Line, personal: bool) -> tuple[Any, Any]:
    return (line.raw, line.result) if personal else (raw_shown(line), result_shown(line))


def explanation_as_json(explained: ExplainedRecord, personal: bool) -> dict[str, Any]:
    """What was explained, in JSON's types; masked unless ``personal``."""
    lines = explained.explanation.lines if explained.explanation else ()
    fields = []
    for line in lines:
        raw, result = _shown(line, personal)
        completed = line.completed if personal else completed_shown(line)
        fields.append(
            {
                "target": line.target,
                "from": line.path,
                "looked_at": list(line.paths),
                "value": raw,
                "rule": line.rule,
                "verdict": line.verdict.value,
                "result": result,
                "note": line.note,
            }
            | ({"completed": completed} if completed is not None else {})
        )
    return {
        "record": explained.place,
        "schema": explained.schema,
        "fields": fields,
        "outcome": _outcome(explained, personal),
    }


def _outcome(explained: ExplainedRecord, personal: bool) -> dict[str, Any]:
    made = explained.outcome
    if isinstance(made, Rejection):
        return {"kind": "dead_letter", "code": made.code.value, "detail": made.detail}
    if isinstance(made, Skipped):
        return {"kind": "skipped", "reason": made.reason}
    assert not isinstance(made, Paused)  # noqa: S101 -- what is explained is the mapping, which a pause doesn't change
    payload = orjson.loads(made.payload if isinstance(made, Routed) else made)
    lane = explained.explanation.lane if explained.explanation else None
    sent = {"kind": "sent", "pixel": lane.pixel if lane else None, "event": payload["name"]}
    return sent | ({"payload": payload} if personal else {})


def print_explanation(explained: ExplainedRecord, personal: bool) -> None:
    """Print what was explained, masked unless ``personal``."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _WIDTH))
    console.print(Text(plain(f"{explained.place}  {explained.schema}"), style="bold"))
    if explained.explanation is not None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("field", "from", "value", "rule", "result"):
            table.add_column(heading, overflow="fold")
        for line in explained.explanation.lines:
            table.add_row(*(Text(plain(cell), style=_STYLES[line.verdict]) for cell in _cells(line, personal)))
        console.print(table)
    outcome = _outcome(explained, personal)
    if outcome["kind"] == "sent":
        console.print(Text(f"sent as {outcome['event']} to pixel {outcome['pixel']}", style="bold green"))
        if personal:
            console.print_json(data=outcome["payload"])
    elif outcome["kind"] == "skipped":
        console.print(Text(f"skipped and counted: {outcome['reason']}", style="bold yellow"))
    else:
        console.print(Text(plain(f"dead letter: {outcome['code']}: {outcome['detail']}"), style="bold red"))
    console.print()


def _cells(line: Line, personal: bool) -> tuple[str, ...]:
    raw, result = _shown(line, personal)
    looked_at = line.path or " or ".join(line.paths)
    value = "" if raw is None and line.path is None else "null" if raw is None else str(raw)
    became = [] if result is None else [str(result)]
    if line.verdict not in (Verdict.SENT, Verdict.PASSED):
        became.append(line.verdict.value)
    if line.completed is not None:
        became.append(f"completed to {line.completed if personal else completed_shown(line)}")
    if line.note:
        became.append(line.note)
    return line.target, looked_at, value, line.rule, ": ".join(became)
