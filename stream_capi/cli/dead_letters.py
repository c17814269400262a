"""``stream-capi dead-letters``: list what could not be delivered, show one in detail, redrive and purge."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from stream_capi import config
from stream_capi.cli import process, purge
from stream_capi.cli.console import Fitting, console
from stream_capi.cli.dead_letter_view import print_dead_letter, rules_shown, shown_dead_letters, topic_shown
from stream_capi.cli.options import Config, Json
from stream_capi.cli.progress import ProgressBar
from stream_capi.cli.selection import since_of
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import print_json
from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, ExitCode, StreamCapiError
from stream_capi.events.rejected_field import most_rejected
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.originals import Originals
from stream_capi.kafka.ranges import shown_time
from stream_capi.kafka.scan import record_at
from stream_capi.model import Code, Record
from stream_capi.observe import logs
from stream_capi.observe.rejected_rules import rule_entries
from stream_capi.operations import redrive
from stream_capi.operations.dead_letters import (
    MOST_OTHERS,
    Picked,
    Redriven,
    StoredDeadLetter,
    dead_letter_of,
    in_order,
    read_dead_letters,
)
from stream_capi.operations.range_job import await_alone
from stream_capi.operations.redrive import Ledger, RedrivePlan

app = typer.Typer(
    name="dead-letters",
    help="List, show, redrive or delete dead letters, the events that could not be delivered.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


_OTHER = ("other", "any")  # the row for all further groups

CodeOption = Annotated[Code | None, typer.Option("--code", help="Only dead letters with this code.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only dead letters of events of this topic.")]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", help="Only dead letters written since then: a time, 36h, 7d or earliest."),
]


@app.command("list")
def list_dead_letters(
    config_file: Config,
    code: CodeOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest N dead letters.")] = None,
    as_json: Json = False,
) -> None:
    """Count the dead letters by topic and code, with the times of the first and the last, and the rule that most failed."""
    settings = config.load(config_file, keys=False)
    picked = picked_by(code, topic, since)
    admin = KafkaAdmin(settings.kafka)
    dead_letters = read_dead_letters(settings, admin, picked.since)
    found = list(in_order(stored for stored in dead_letters.found if picked(stored)))[-limit if limit else 0 :]
    redriven = Redriven(settings, admin, dead_letters._replace(found=found))
    kinds: dict[tuple[str, str], list[StoredDeadLetter]] = defaultdict(list)
    for stored in found:
        kind = stored.kind
        kinds[(topic_shown(kind.topic), kind.code.value) if kind in redriven.asked else _OTHER].append(stored)
    ordered = sorted(kinds.items(), key=lambda kind: (kind[0] == _OTHER, kind[0]))
    rows = [_row(*kind, of_kind, redriven) for kind, of_kind in ordered]
    rules = [rules_shown(of_kind) for _, of_kind in ordered]
    if as_json:
        document = {
            "topic": settings.dead_letter.topic,
            "kinds": [{**row, "rules": rule_entries(failed)} for row, failed in zip(rows, rules, strict=True)],
            "letters": len(found),
            "foreign": dead_letters.foreign,
        }
        print_json(document, indent=2)
        return
    out = console()
    out.print(f"dead letters in {settings.dead_letter.topic}")
    if rows:
        out.print(Fitting(_table(rows)))
    for row, failed in zip(rows, rules, strict=True):
        if any(rule.field for rule in failed):
            out.print(f"{row['topic']}: {most_rejected(failed)}", soft_wrap=True)
    if _OTHER in kinds:
        out.print(
            f"Of topics without a source only {MOST_OTHERS} kinds are listed; whether the rest was redriven is not known."
        )
    out.print(f"{len(found):,} dead letters, {sum(stored in redriven for stored in found):,} of them redriven")
    if dead_letters.foreign:
        out.print(f"{dead_letters.foreign:,} records there are not dead letters of this program; they are left alone")


def _row(topic: str, code: str, of_kind: Sequence[StoredDeadLetter], redriven: Redriven) -> dict[str, Any]:
    return {
        "topic": topic,
        "code": code,
        "letters": len(of_kind),
        "redriven": sum(stored in redriven for stored in of_kind),
        "by_reference": sum(stored.by_reference for stored in of_kind),
        "first": shown_time(min(stored.written for stored in of_kind)),
        "last": shown_time(max(stored.written for stored in of_kind)),
    }


@app.command("show")
def show_dead_letter(
    config_file: Config,
    code: CodeOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="The newest N dead letters.")] = 1,
    partition: Annotated[
        int | None, typer.Option(min=0, help="With --offset: the dead letter's place in the dead-letter topic.")
    ] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="With --partition.")] = None,
    as_json: Json = False,
) -> None:
    """Show dead letters in detail: where the event came from, why it is here, and its mapping by the current settings.

    Personal data is masked.
    """
    if (partition is None) != (offset is None):
        raise typer.BadParameter("--partition and --offset go together")
    settings = config.load(config_file, keys=False)
    found: list[tuple[StoredDeadLetter, Record]]
    if partition is not None and offset is not None:
        record = record_at(settings.kafka, settings.dead_letter.topic, partition, offset)
        stored = dead_letter_of(record)
        if stored is None:
            raise ConfigurationError([f"--offset: that record of {settings.dead_letter.topic} is not a dead letter"])
        found = [(stored, record)]
    else:
        picked = picked_by(code, topic, since)
        dead_letters = read_dead_letters(settings, KafkaAdmin(settings.kafka), picked.since)
        newest = list(in_order(stored for stored in dead_letters.found if picked(stored)))[-limit:]
        originals = Originals(settings.kafka)
        records = originals.read([(stored.at, stored.offset) for stored in newest])
        originals.close()
        found = [(stored, kept) for stored in newest if (kept := records.get((stored.at, stored.offset)))]
    shown, lost = asyncio.run(shown_dead_letters(settings, found))
    if as_json:
        print_json([one.as_json() for one in shown], indent=2)
    elif not shown:
        print("no such dead letter")
    for one in shown if not as_json else ():
        print_dead_letter(one)
    if lost is not None:
        raise lost


@app.command("redrive")
def redrive_dead_letters(
    config_file: Config,
    code: CodeOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the oldest N dead letters.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Events a second at most, 1 or more; 0: no limit.")] = 0,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; otherwise the plan is printed.")] = False,
    as_json: Json = False,
) -> None:
    """Deliver dead letters after all, with the current settings. One that was redriven is not redriven again.

    An event that fails again becomes a new dead letter. After Ctrl-C or a kill, the same command continues with the rest.
    """
    if 0 < rate < 1:
        raise typer.BadParameter("--rate must be 0 or at least 1")
    settings = config.load(config_file, keys=execute)
    if topic is not None:
        sources_of(settings, topic)
    admin = KafkaAdmin(settings.kafka)
    watch = ProgressBar("redriving", quiet=as_json)
    if execute:
        logs.configure("error", "console", settings.names)
        logs.write_behind()
        await_alone(admin, redrive.group_of(settings), watch.print_line)
    dead_letters = read_dead_letters(settings, admin)
    planned = redrive.plan(
        settings, dead_letters, Redriven(settings, admin, dead_letters), picked_by(code, topic, since), limit
    )
    if not execute:
        _print_plan(settings, planned, as_json)
    elif not planned.wanted:
        _print_paused(settings, planned)
        _print_ledger(Ledger(0, redrive.NOTHING, 0), as_json)
    else:
        _print_paused(settings, planned)
        asyncio.run(_execute(settings, admin, planned, rate, watch, as_json))


async def _execute(
    settings: Settings, admin: KafkaAdmin, planned: RedrivePlan, rate: float, watch: ProgressBar, as_json: bool
) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    process.tune_garbage_collector()
    try:
        with watch:
            code, ledger = await redrive.run(settings, os.environ, admin, planned, rate, watch.show)
        _print_ledger(ledger, as_json)
        code = code or (ExitCode.DONE if ledger.holds else ExitCode.FAILED)
    except StreamCapiError as error:
        code = process.print_error(error)
    process.at_once(code)


def picked_by(code: Code | None, topic: str | None, since: str | None) -> Picked:
    return Picked(code, topic, None if since is None else since_of(since))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, cell in rows[0].items():
        table.add_column(heading.replace("_", " "), justify="right" if isinstance(cell, int) else "left")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row.values()))
    return table


def _print_plan(settings: Settings, planned: RedrivePlan, as_json: bool) -> None:
    kinds = Counter(stored.kind for stored in planned.wanted)
    references = Counter(stored.kind for stored in planned.wanted if stored.by_reference)
    rows = [
        {"topic": kind.topic, "code": kind.code.value, "letters": count, "by_reference": references[kind]}
        for kind, count in sorted(kinds.items())
    ]
    without_source = {topic_shown(topic): count for topic, count in planned.without_source.items()}
    if as_json:
        document = {"group": planned.group, "kinds": rows, "letters": len(planned.wanted)}
        print_json({**document, "without_source": without_source, "paused": dict(planned.paused)}, indent=2)
        return
    out = console()
    out.print(f"redrive from {settings.dead_letter.topic} by group {planned.group}")
    if rows:
        out.print(Fitting(_table(rows)))
    out.print(f"{len(planned.wanted):,} dead letters that were not redriven before.")
    _print_paused(settings, planned)
    for topic, count in without_source.items():
        out.print(f"{count:,} dead letters of {topic} are left alone: it is not the topic of one of the sources.")
    if references:
        out.print(
            "A dead letter by reference has no value of its own; its event is read from its topic, if it is still there."
        )
    if planned.wanted:
        out.print(
            "Each is mapped by the current settings and carries its original dedupe_id. One that fails again becomes a "
            "new dead letter.",
            soft_wrap=True,
        )
        out.print("Nothing has been sent: add --execute.")


def _print_paused(settings: Settings, planned: RedrivePlan) -> None:
    for topic, count in planned.paused.items():
        typer.echo(f"{count:,} dead letters of {topic} are left alone: {settings.why_paused(topic)}.", err=True)


def _print_ledger(ledger: Ledger, as_json: bool) -> None:
    tally = ledger.tally
    if as_json:
        document = {
            "letters": ledger.dead_letters,
            "delivered": tally.delivered,
            "dead_lettered": dict(tally.dead_lettered),
            "skipped": dict(tally.skipped),
            "left": ledger.left,
            "holds": ledger.holds,
        }
        print_json(document)
        return
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("dead letters to redrive", f"{ledger.dead_letters:,}")
    table.add_row("delivered", f"{tally.delivered:,}")
    for code, count in tally.dead_lettered.items():
        table.add_row(f"dead-lettered again: {code}", f"{count:,}")
    for reason, count in tally.skipped.items():
        what = "gone: its topic no longer has the event" if reason == "gone" else f"skipped: {reason}"
        table.add_row(what, f"{count:,}")
    table.add_row("left", f"{ledger.left:,}")
    out = console()
    out.print(table)
    if ledger.left:
        out.print("Stopped before the end: the same command goes on with what is left.")
    elif not ledger.holds:
        out.print(
            "The counts don't add up: dead letters were read that have no outcome in this run. Was another run at work?"
        )


app.command("purge")(purge.command)
