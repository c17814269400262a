"""``stream-capi dry-run``: what would become of a range of the real topics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stream_capi import config
from stream_capi.app import stop_signals
from stream_capi.cli import process
from stream_capi.cli.dry_run_report import Report, print_report, report_as_json
from stream_capi.cli.options import Config, Json
from stream_capi.cli.progress import ProgressBar
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import print_json
from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, ExitCode, StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import moment
from stream_capi.observe import logs
from stream_capi.operations import dry_run
from stream_capi.operations.dry_run import Ranges
from stream_capi.operations.range_job import Progress


def command(
    config_file: Config,
    topic: Annotated[
        str | None, typer.Option(help="The topic of one of the sources; otherwise those of all.", show_default=False)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME|earliest|OFFSET",
            help="The first record; a time without offset is UTC. Otherwise the newest ones are read.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        str, typer.Option("--to", metavar="TIME|latest|OFFSET", help="Where to stop; this record is not included.")
    ] = "latest",
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="With --topic: only this partition; may be given several times.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Offsets at most, shared among the partitions. Without --from: {dry_run.NEWEST:,}.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER.toml", help="Map each record by this file, too, and count what differs.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Map a range of the real topics and send nothing: what would be sent, dead-lettered, skipped, left out, and why.

    Nothing is committed and no group is joined. Stopped with Ctrl-C it prints what it has counted so far.
    """
    settings = config.load(config_file, keys=False)
    other = config.load(compare, keys=False) if compare is not None else None
    if partition and topic is None:
        raise ConfigurationError(["--partition: give --topic, too"])
    topics = _topics(settings, other, topic)
    first = moment("--from", start) if start is not None else None
    last = moment("--to", end)
    ranges = dry_run.plan(KafkaAdmin(settings.kafka), topics, partition or (), first, last, limit)
    logs.configure("error", "console", settings.names | (other.names if other is not None else frozenset()))
    report = Report(settings, str(config_file), other, str(compare or ""), topics, first is None and limit is None)
    asyncio.run(_execute(report, ranges, as_json))


def _topics(settings: Settings, other: Settings | None, topic: str | None) -> list[str]:
    """The topics to be read. Raises ConfigurationError if neither file has a source for the topic that was asked for."""
    if topic is None:
        return list(dict.fromkeys([*settings.topics, *(other.topics if other is not None else ())]))
    if other is None or not other.sources_of(topic):
        sources_of(settings, topic)
    return [topic]


async def _execute(report: Report, ranges: Ranges, as_json: bool) -> None:
    loop = asyncio.get_running_loop()
    logs.install_hooks(loop)
    process.tune_garbage_collector()
    stop = asyncio.Event()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    bar = ProgressBar("mapping", quiet=as_json, counts=_counts)
    try:
        with bar:
            done = await dry_run.run(report.settings, report.other, ranges, bar.show, stop)
        if as_json:
            print_json(report_as_json(report, done), indent=2)
        else:
            print_report(report, done)
        code = ExitCode.FAILED if done.partial else ExitCode.DONE
        if done.error is not None:
            code = ExitCode(process.print_error(done.error))
    except StreamCapiError as error:
        code = ExitCode(process.print_error(error))
    process.at_once(code)


def _counts(progress: Progress) -> str:
    return f"would be sent {progress.delivered:,}, dead-lettered {progress.dead_lettered:,}"
