"""``stream-capi reset``: the live group's committed offsets."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from stream_capi import config
from stream_capi.cli.console import Fitting, console
from stream_capi.cli.options import Config, Json
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import print_json
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import moment
from stream_capi.operations import offset_reset
from stream_capi.operations.offset_reset import Change, ResetPlan

_FORGOTTEN = (
    "The record of events delivered beyond the old offsets is dropped: from the new ones on, each event is sent, with "
    "its original dedupe_id."
)


def command(
    config_file: Config,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME|earliest|latest|OFFSET", help="Where to go on; a time without offset is UTC."
        ),
    ],
    topic: Annotated[str | None, typer.Option(help="The topic of one of the sources; otherwise all of them.")] = None,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="With --topic: only this partition; may be given several times.")
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; otherwise the plan is printed.")] = False,
    as_json: Json = False,
) -> None:
    """Set where the live group goes on. Refused while the group has members: stop them first."""
    if partition and topic is None:
        raise typer.BadParameter("--partition needs --topic")
    settings = config.load(config_file, keys=False)
    topics = [sources_of(settings, topic)[0].topic] if topic else list(settings.topics)
    admin = KafkaAdmin(settings.kafka)
    planned = offset_reset.plan(admin, settings.kafka, topics, partition or (), moment("--to", to))
    if execute:
        offset_reset.execute(admin, planned)
    if as_json:
        print_json(_as_json(planned, execute), indent=2)
    else:
        _print(planned, to, execute)


def _effect(change: Change) -> str:
    if change.out_of_bounds:
        return f"the commit is out of the topic's bounds, {change.first} to {change.end}"
    if change.passed:
        return f"{change.passed:,} are never sent"
    return f"{change.again:,} are sent again" if change.again else "no change"


def _print(planned: ResetPlan, to: str, done: bool) -> None:
    out = console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("topic")
    for heading in ("partition", "committed", "to", "lag then"):
        table.add_column(heading, justify="right")
    table.add_column("effect")
    for change in planned.changes:
        committed = "none" if change.committed is None else str(change.committed)
        numbers = (str(change.tp.partition), committed, str(change.to), f"{change.left:,}")
        table.add_row(change.tp.topic, *numbers, _effect(change))
    out.print(f"reset of group {planned.group} to {moment('--to', to)}")
    out.print(Fitting(table))
    again, passed = (sum(getattr(change, name) for change in planned.changes) for name in ("again", "passed"))
    out.print(f"{again:,} offsets are read again, {passed:,} are passed over. {_FORGOTTEN}", soft_wrap=True)
    if done:
        out.print("Done. Start the members.")
        return
    if planned.members:
        names = ", ".join(map(str, planned.members))
        out.print(f"The group can't be reset while it has members: stop {names} first.", soft_wrap=True)
        if planned.waiting:
            out.print(f"{planned.waiting}.", soft_wrap=True)
    out.print("Nothing has been changed: add --execute.")


def _as_json(planned: ResetPlan, done: bool) -> dict[str, object]:
    return {
        "group": planned.group,
        "partitions": [
            {
                "topic": change.tp.topic,
                "partition": change.tp.partition,
                "first": change.first,
                "end": change.end,
                "committed": change.committed,
                "to": change.to,
                "again": change.again,
                "passed": change.passed,
                "lag": change.left,
            }
            for change in planned.changes
        ],
        "members": [str(member) for member in planned.members],
        "static_members": [member.instance_id for member in planned.static],
        "session_seconds": planned.session_seconds,
        "done": done,
    }
