"""``stream-capi replay``: a range of a topic, delivered again."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from stream_capi import config
from stream_capi.cli import process
from stream_capi.cli.console import Fitting, console
from stream_capi.cli.options import Config, Json
from stream_capi.cli.progress import ProgressBar
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import print_json
from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, ExitCode, StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import moment, shown_time, total
from stream_capi.kafka.scan import spans
from stream_capi.observe import logs
from stream_capi.operations import range_replay
from stream_capi.operations.range_job import await_alone
from stream_capi.operations.range_replay import ReplayLedger, ReplayPlan

_DEDUPE = (
    "Each event carries its original dedupe_id, by which the API drops what it already has. How long the API "
    "remembers ids is not known: replay only what was not delivered as it should have been."
)


def command(
    config_file: Config,
    topic: Annotated[str, typer.Option(help="The topic of one of the sources.")],
    start: Annotated[
        str,
        typer.Option("--from", metavar="TIME|earliest|OFFSET", help="The first event; a time without offset is UTC."),
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME|latest|OFFSET", help="Where to stop; this record is not included.")
    ] = "latest",
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition; may be given several times.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Events a second at most, 1 or more; 0: no limit.")] = 0,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; otherwise the plan is printed.")] = False,
    afresh: Annotated[bool, typer.Option("--afresh", help="Begin again, if this range was replayed before.")] = False,
    as_json: Json = False,
) -> None:
    """Deliver a range again in a group of its own: the live group's offsets stay where they are.

    After Ctrl-C or a kill, the same command continues the range.
    """
    if 0 < rate < 1:
        raise typer.BadParameter("--rate must be 0 or at least 1")
    settings = config.load(config_file, keys=execute)
    sources_of(settings, topic)
    if why := settings.why_paused(topic):
        raise ConfigurationError([f"{why}: nothing of {topic} is replayed; set paused = false first"])
    admin = KafkaAdmin(settings.kafka)
    planned = range_replay.plan(
        settings, admin, topic, partition or (), moment("--from", start), moment("--to", end), afresh
    )
    if not execute:
        _print_plan(settings, planned, as_json)
        return
    watch = ProgressBar(f"replaying {topic}", quiet=as_json)
    logs.configure("error", "console", settings.names)
    logs.write_behind()
    await_alone(admin, planned.group, watch.print_line)
    if not planned.begun:
        range_replay.begin(admin, planned)
    if not planned.left:
        _print_ledger(
            planned, ReplayLedger(total(planned.ranges), total(planned.ranges), range_replay.NOTHING, 0, 0), as_json
        )
        return
    asyncio.run(_execute(settings, admin, planned, rate, watch, as_json))


async def _execute(
    settings: Settings, admin: KafkaAdmin, planned: ReplayPlan, rate: float, watch: ProgressBar, as_json: bool
) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    process.tune_garbage_collector()
    try:
        with watch:
            code, tally = await range_replay.run(settings, os.environ, planned, rate, watch.show)
        ledger = await asyncio.to_thread(range_replay.ledger, admin, planned, tally)
        _print_ledger(planned, ledger, as_json)
        code = code or (ExitCode.DONE if ledger.holds else ExitCode.FAILED)
    except StreamCapiError as error:
        code = process.print_error(error)
    process.at_once(code)


def _print_plan(settings: Settings, planned: ReplayPlan, as_json: bool) -> None:
    of_time = spans(settings.kafka, planned.ranges)
    if as_json:
        print_json(_plan_as_json(planned, of_time), indent=2)
        return
    out = console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("partition", justify="right")
    for heading in ("from", "to", "offsets", *(["done"] if planned.begun else [])):
        table.add_column(heading, justify="right")
    table.add_column("first record")
    table.add_column("last record")
    for tp, (first, end) in planned.ranges.items():
        times = map(shown_time, of_time[tp]) if tp in of_time else ("none", "")
        done = [f"{planned.at[tp] - first:,}"] if planned.begun else []
        table.add_row(str(tp.partition), str(first), str(end), f"{end - first:,}", *done, *times)
    out.print(f"replay of {planned.topic} by group {planned.group}")
    out.print(Fitting(table))
    offsets, left = total(planned.ranges), total(planned.left)
    if planned.begun:
        what = f"{left:,} of {offsets:,} offsets are left; --execute goes on" if left else "all of it has been replayed"
        out.print(f"This range was begun before: {what}, --afresh begins again.")
    else:
        out.print(f"{offsets:,} offsets in all; compaction and transactions may have left fewer events than that.")
    out.print(f"The offsets of group {settings.kafka.group_id} stay where they are. {_DEDUPE}", soft_wrap=True)
    if left:
        out.print("Nothing has been sent: add --execute.")


def _plan_as_json(planned: ReplayPlan, of_time: Any) -> dict[str, Any]:
    partitions = [
        {
            "partition": tp.partition,
            "from": first,
            "to": end,
            "offsets": end - first,
            "done": planned.at[tp] - first,
            "first_record": shown_time(of_time[tp][0]) if tp in of_time else None,
            "last_record": shown_time(of_time[tp][1]) if tp in of_time else None,
        }
        for tp, (first, end) in planned.ranges.items()
    ]
    return {
        "topic": planned.topic,
        "group": planned.group,
        "partitions": partitions,
        "offsets": total(planned.ranges),
        "left": total(planned.left),
        "begun": planned.begun,
    }


def _print_ledger(planned: ReplayPlan, ledger: ReplayLedger, as_json: bool) -> None:
    tally = ledger.tally
    skipped = {name: n for name, n in tally.skipped.items() if name != "outcome_known"}
    before = ledger.before + tally.skipped.get("outcome_known", 0)
    if as_json:
        document = {
            "topic": planned.topic,
            "group": planned.group,
            "offsets": ledger.offsets,
            "before": before,
            "delivered": tally.delivered,
            "dead_lettered": dict(tally.dead_lettered),
            "skipped": skipped,
            "without_record": ledger.without_record,
            "left": ledger.left,
            "holds": ledger.holds,
        }
        print_json(document)
        return
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("offsets in the range", f"{ledger.offsets:,}")
    table.add_row("done by a run before", f"{before:,}")
    table.add_row("delivered", f"{tally.delivered:,}")
    for code, count in tally.dead_lettered.items():
        table.add_row(f"dead-lettered: {code}", f"{count:,}")
    for reason, count in skipped.items():
        table.add_row(f"skipped: {reason}", f"{count:,}")
    if not ledger.left:
        table.add_row("no record there", f"{ledger.without_record:,}")
    table.add_row("left", f"{ledger.left:,}")
    out = console()
    out.print(f"ledger of {planned.group}")
    out.print(table)
    if ledger.left:
        out.print("Stopped before the end: the same command goes on where it stopped.")
    elif not ledger.holds:
        out.print(
            "The counts don't add up: records were read that have no outcome in this run. Was another run at work?"
        )
