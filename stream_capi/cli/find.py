"""``stream-capi find``: where one event is."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from stream_capi import config
from stream_capi.cli.explanation import narrow_console
from stream_capi.cli.options import Config, Json
from stream_capi.cli.progress import ProgressBar
from stream_capi.cli.searching import progress_of, scanned_lines
from stream_capi.cli.selection import DEFAULT_SINCE, KEY_HELP, SINCE_HELP, since_of, wanted_of
from stream_capi.cli.sources import sources_of
from stream_capi.cli.status import unreached
from stream_capi.cli.text import plain, print_json
from stream_capi.errors import ExitCode
from stream_capi.events.selecting import Wanted
from stream_capi.events.value_masking import masked
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import shown_time
from stream_capi.operations.event_state import State
from stream_capi.operations.find import FoundEvents, find
from stream_capi.operations.range_job import Progress
from stream_capi.operations.search import Scanned, scope

_STYLES = {
    State.DELIVERED: "green",
    State.DEAD_LETTERED: "bold red",
    State.SKIPPED: "yellow",
    State.OPEN: "cyan",
    State.NOT_RECORDED: "bold yellow",
    State.UNKNOWN: "bold yellow",
}


def command(
    config_file: Config,
    event_id: Annotated[str | None, typer.Option(help="The event_id that the mapping gives the record.")] = None,
    dedupe_id: Annotated[
        str | None, typer.Option(help="The dedupe_id that the event is sent with, the derived one included.")
    ] = None,
    key: Annotated[str | None, typer.Option(help=KEY_HELP)] = None,
    topic: Annotated[str | None, typer.Option(help="Only this topic; otherwise those of all sources.")] = None,
    since: Annotated[str, typer.Option(help=SINCE_HELP)] = DEFAULT_SINCE,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest N that match.")] = 100,
    member: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A member's admin server, asked why an open event waits; may be given several times. Otherwise the "
            "settings' own. What does not answer is named.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show where one event is: delivered, dead-lettered, skipped, or open and why it waits.

    Exit 1 if none is found.
    """
    wanted = wanted_of(key, event_id, dedupe_id, None)
    if wanted is None:
        raise typer.BadParameter("give one of --event-id, --dedupe-id and --key")
    begin = since_of(since)
    settings = config.load(config_file, keys=False)
    if topic is not None:
        sources_of(settings, topic)
    admin = KafkaAdmin(settings.kafka)
    scanned = scope(admin, settings.topics if topic is None else [topic], begin)
    what = {"said": ""}
    with ProgressBar("scanning", as_json, lambda _: what["said"]) as bar:

        def show(now: Scanned) -> None:
            what["said"] = f"{now.records:,} records, {now.matches:,} found"
            bar.show(progress_of(now))

        def show_letters(done: int, whole: int) -> None:
            what["said"] = "dead letters"
            bar.show(Progress(whole, done, 0, 0, (), stopping=False))

        found = asyncio.run(find(settings, admin, wanted, scanned, limit, member or (), show, show_letters))
    if as_json:
        print_json(_as_json(found, scanned, wanted), indent=2)
    else:
        _print(found, scanned, wanted)
    raise typer.Exit(ExitCode.DONE if found.events else ExitCode.FAILED)


def _print(found: FoundEvents, scanned: Scanned, wanted: Wanted) -> None:
    out = narrow_console()
    for match, _, state in found.events:
        head = f"{match.tp}@{match.offset}  {shown_time(match.written)}  key {masked(match.record.key())}"
        out.print(Text(plain(head), style="bold"))
        name = f"{state.state.value.replace('_', ' ')}{', by its key' if match.by_key else ''}"
        out.print(Padding(Text(plain(f"{name}: {state.why}"), style=_STYLES[state.state]), (0, 0, 0, 2)))
    if not found.events:
        out.print(Text("no record was found", style="bold yellow"))
    if scanned.matches > len(found.events):
        out.print(
            f"{scanned.matches:,} records match; the newest {len(found.events):,} are shown, --limit N shows more"
        )
    for line in unreached(found.group) if found.group is not None else ():
        out.print(Text(plain(line), style="yellow"))
    for line in scanned_lines(scanned, wanted):
        out.print(Text(plain(line), style="dim"))
    if not found.events:
        out.print(Text("--since says how far back to look", style="dim"))


def _as_json(found: FoundEvents, scanned: Scanned, wanted: Wanted) -> dict[str, Any]:
    events = []
    for match, schema, state in found.events:
        letter = state.dead_letter
        events.append(
            {
                "topic": match.tp.topic,
                "partition": match.tp.partition,
                "offset": match.offset,
                "produced": shown_time(match.written),
                "key": masked(match.record.key()),
                "schema": schema or None,
                "matched_by": "key" if match.by_key else wanted.kind,
                "state": state.state.value,
                "why": state.why,
                "code": state.code,
                "reason": state.reason,
                "dead_letter": f"{letter.at}@{letter.offset}" if letter else None,
                "redriven": state.redriven,
            }
        )
    partitions = [
        {
            "topic": tp.topic,
            "partition": tp.partition,
            "from": first,
            "to": end,
            "behind_open_transaction": scanned.hidden.get(tp, 0),
        }
        for tp, (first, end) in scanned.ranges.items()
    ]
    return {
        "events": events,
        "asked": [
            {"address": one.address, "answered": one.status is not None, "fault": one.fault}
            for one in (found.group.answers if found.group is not None else ())
        ],
        "unknown": (found.group.unknown or None) if found.group is not None else None,
        "matches": scanned.matches,
        "scanned": {
            "partitions": partitions,
            "offsets": scanned.offsets,
            "records": scanned.records,
            "first": shown_time(scanned.first) if scanned.first is not None else None,
            "last": shown_time(scanned.last) if scanned.last is not None else None,
            "undecoded": dict(scanned.undecoded),
        },
    }
