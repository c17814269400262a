"""``stream-capi dead-letters purge``: deleting old dead letters, plan first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from stream_capi import config
from stream_capi.cli import process
from stream_capi.cli.console import console
from stream_capi.cli.options import Config, Json
from stream_capi.cli.progress import ProgressBar
from stream_capi.cli.selection import time_or_span
from stream_capi.cli.text import print_json
from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, ExitCode, StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import shown_time
from stream_capi.model import TopicPartition
from stream_capi.operations import dead_letter_purge, redrive
from stream_capi.operations.dead_letter_purge import PartitionPurge, Purged, PurgePlan
from stream_capi.operations.range_job import await_alone
from stream_capi.pipeline.suppression_list import SuppressionList

_MOST_LINES = 20
Done = Mapping[TopicPartition, int | StreamCapiError]


def command(
    config_file: Config,
    before: Annotated[
        str | None,
        typer.Option(
            "--before",
            metavar="TIME",
            help="Only dead letters written before this: a time, or 36h, 30d ago. Needed unless --suppressed is given.",
            show_default=False,
        ),
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; otherwise the plan is printed.")] = False,
    also_open: Annotated[
        bool, typer.Option("--also-open", help="Delete dead letters that were not redriven, and others' records, too.")
    ] = False,
    suppressed: Annotated[
        bool,
        typer.Option("--suppressed", help="Only as far as the last dead letter of the people in suppress.file."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete old dead letters. Kafka deletes from the beginning of a partition up to an offset, and no single record.

    A dead letter that was not redriven keeps everything after it, unless --also-open. Exit 1 if any that should go is left.
    """
    settings = config.load(config_file, keys=False)
    purged = _purged(settings, before, also_open, suppressed)
    admin, topic = KafkaAdmin(settings.kafka), settings.dead_letter.topic
    bar = ProgressBar("reading", quiet=as_json, counts=lambda now: f"{now.done:,} offsets")
    if execute:
        dead_letter_purge.check_right(admin, topic)
        await_alone(admin, redrive.group_of(settings), bar.print_line)
    with bar:
        planned = asyncio.run(dead_letter_purge.plan(settings, admin, purged, bar.show))
    done = dead_letter_purge.execute(settings, admin, planned) if execute else None
    if as_json:
        print_json(_as_json(planned, done), indent=2)
    else:
        _print(planned, done)
    if done is None:
        _warn_of_right(admin, topic)
        return
    codes = [process.print_error(error) for error in done.values() if isinstance(error, StreamCapiError)]
    raise typer.Exit(max([*codes, ExitCode.FAILED if planned.left else ExitCode.DONE]))


def _purged(settings: Settings, before: str | None, also_open: bool, suppressed: bool) -> Purged:
    """What was asked for. Raises ConfigurationError."""
    if before is None and not suppressed:
        raise typer.BadParameter("--before TIME is needed, unless --suppressed is given")
    at = None if before is None else time_or_span("--before", before)
    if at is not None and at > time.time() * 1000:
        raise ConfigurationError([f"--before: {shown_time(at)} lies in the future"])
    if not suppressed:
        return Purged(at, also_open)
    if settings.suppress.file is None:
        raise ConfigurationError(["--suppressed: there is no suppress.file"])
    return Purged(at, also_open, SuppressionList(settings.suppress.file))


def _warn_of_right(admin: KafkaAdmin, topic: str) -> None:
    try:
        dead_letter_purge.check_right(admin, topic)
    except StreamCapiError as error:
        typer.echo(f"--execute would end with: {error}", err=True)


def _print(planned: PurgePlan, done: Done | None) -> None:
    out = console()
    whose = "dead letters of people on the list" if planned.purged.people is not None else "dead letters"
    since = planned.purged.before
    of_when = "" if since is None else f" written before {shown_time(since)}"
    out.print(f"purge of {planned.topic}, {planned.retention}: {whose}{of_when}")
    out.print(_table(planned))
    for line in _lines(planned):
        out.print(line, soft_wrap=True)
    going = [one for one in planned.partitions if one.new_beginning > one.beginning]
    if done is None:
        out.print("Nothing has been deleted: add --execute." if going else "Nothing would be deleted.")
        return
    deleted = [one for one in going if isinstance(done[one.tp], int)]
    foreign = sum(one.going.foreign for one in deleted)
    others = f" and {foreign:,} records of others" if foreign else ""
    out.print(f"Deleted {sum(one.going.letters for one in deleted):,} dead letters{others}.")


def _table(planned: PurgePlan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ["partition", "beginning", "old before", "letters", "redriven", "open", "others'"]
    if planned.purged.people is not None:
        headings.append("on the list")
    for heading in [*headings, "new beginning", "go", "stay"]:
        table.add_column(heading, justify="right")
    table.add_column("by code, of those that go", overflow="fold")
    for one in planned.partitions:
        both = (one.going, one.staying)
        numbers = [sum(getattr(counts, name) for counts in both) for name in ("letters", "redriven", "open", "foreign")]
        if planned.purged.people is not None:
            numbers.append(sum(counts.suppressed for counts in both))
        codes = ", ".join(f"{code} {count:,}" for code, count in sorted(one.going.codes.items()))
        table.add_row(
            *(str(number) for number in (one.tp.partition, one.beginning, one.older)),
            *(f"{number:,}" for number in numbers),
            str(one.new_beginning),
            *(f"{counts.records:,}" for counts in both),
            codes,
        )
    return table


def _lines(planned: PurgePlan) -> Iterator[str]:
    kept = [one for one in planned.partitions if one.first_kept is not None and one.left]
    for one in kept[:_MOST_LINES]:
        why = "is newer" if one.first_kept == one.older else "was not redriven, or is not a dead letter"
        yield f"{one.tp}@{one.first_kept} {why}: it stays, and so does everything after it."
    if len(kept) > _MOST_LINES:
        yield f"The same applies to {len(kept) - _MOST_LINES:,} more partitions."
    if kept:
        yield "Kafka deletes from the beginning only. Redrive what is open first; --also-open deletes it undelivered."
    never = sum(one.going.open for one in planned.partitions)
    if planned.purged.also_open and never:
        yield f"{never:,} of those that go were not redriven: they are never delivered."
    if planned.purged.people is not None:
        yield from _lines_of_people(planned)


def _lines_of_people(planned: PurgePlan) -> Iterator[str]:
    going = sum(one.going.suppressed for one in planned.partitions)
    others = sum(one.going.letters for one in planned.partitions) - going
    yield f"{going:,} dead letters of people on the list go, and {others:,} of others that lie before them."
    places = [
        f"{one.tp}@{offset}" for one in planned.partitions for offset in one.places if offset >= one.new_beginning
    ]
    if planned.left:
        more = ", …" if planned.left > min(len(places), _MOST_LINES) else ""
        until = planned.gone_at_latest
        when = (
            "it is not known when they are deleted"
            if until is None
            else f"the topic's retention deletes them by {shown_time(int(until))}"
        )
        yield f"{planned.left:,} stay: {', '.join(places[:_MOST_LINES])}{more}; {when}."
    if unseen := planned.unseen.total():
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(planned.unseen.items()) if count)
        yield f"{unseen:,} dead letters can't be assigned to a person: {reasons}."


def _as_json(planned: PurgePlan, done: Done | None) -> dict[str, Any]:
    until = planned.gone_at_latest
    return {
        "topic": planned.topic,
        "before": None if planned.purged.before is None else shown_time(planned.purged.before),
        "retention": planned.retention.state,
        "retention_seconds": planned.retention.seconds,
        "also_open": planned.purged.also_open,
        "suppressed": planned.purged.people is not None,
        "partitions": [_partition_as_json(one, done) for one in planned.partitions],
        "unseen": {reason: count for reason, count in sorted(planned.unseen.items()) if count},
        "left": planned.left,
        "left_gone_at_latest": None if until is None else shown_time(int(until)),
        "executed": done is not None,
    }


def _partition_as_json(one: PartitionPurge, done: Done | None) -> dict[str, Any]:
    result = (done or {}).get(one.tp)
    return {
        "partition": one.tp.partition,
        "beginning": one.beginning,
        "old_before": one.older,
        "new_beginning": one.new_beginning,
        "first_kept": one.first_kept,
        "go": _counts_as_json(one.going),
        "stay": _counts_as_json(one.staying),
        "suppressed_places": one.places,
        "beginning_now": result if isinstance(result, int) else None,
    }


def _counts_as_json(counts: dead_letter_purge.LetterCounts) -> dict[str, Any]:
    return {
        "letters": counts.letters,
        "by_code": dict(sorted(counts.codes.items())),
        "redriven": counts.redriven,
        "open": counts.open,
        "suppressed": counts.suppressed,
        "foreign": counts.foreign,
    }
