"""``stream-capi status``: lag, members, what is held, and what the oldest events wait for."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from types import FrameType
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_capi import config
from stream_capi.cli.console import console
from stream_capi.cli.options import Config, Json
from stream_capi.cli.text import print_json
from stream_capi.config import Settings
from stream_capi.errors import CheckFailed
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.operations import group_status
from stream_capi.operations.group_status import GroupStatus, MemberAnswer

_EVERY_SECONDS = 2.0


class FailOn(StrEnum):
    """What makes the command fail."""

    HELD = "held"


def command(
    config_file: Config,
    member: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A member's admin server; may be given several times. Otherwise the settings' own.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Print it again every two seconds, until Ctrl-C.")] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit 1 if something is held, or if not every member could be asked."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the group's lag and members, what is held, and why the oldest events wait."""
    if watch and fail_on:
        raise typer.BadParameter("--fail-on looks once; it doesn't go with --watch")
    settings = config.load(config_file, keys=False)
    admin = KafkaAdmin(settings.kafka)
    if not watch:
        seen = group_status.look(settings, admin, member or ())
        _print(settings, seen, as_json)
        if fail_on is FailOn.HELD and (faults := _held_or_unknown(seen)):
            raise CheckFailed("\n".join(faults))
        return
    _watch(settings, admin, member or [], as_json, _interrupted())


def _held_or_unknown(seen: GroupStatus) -> list[str]:
    """What is held, and whether a member could not be asked, since it may hold something, too. Empty if all is well."""
    held = [f"{one['subject']} is held: {one['reason']}" for one in seen.held]
    return [*held, seen.unknown] if seen.unknown else held


def _interrupted() -> threading.Event:
    """An event that Ctrl-C sets. A second Ctrl-C ends the program at once, even while it waits for answers.

    KeyboardInterrupt might be raised inside a library's callback and be lost there; and if the shell lets SIGINT be ignored,
    as for a script's background jobs, it would not be raised at all.
    """
    asked = threading.Event()

    def ask(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        asked.set()

    signal.signal(signal.SIGINT, ask)
    return asked


def _watch(
    settings: Settings, admin: KafkaAdmin, members: list[str], as_json: bool, interrupted: threading.Event
) -> None:
    out = console()
    if as_json or not out.is_terminal:
        while not interrupted.is_set():
            _print(settings, group_status.look(settings, admin, members), as_json, indent=None)
            interrupted.wait(_EVERY_SECONDS)
        return
    with Live(_view(settings, group_status.look(settings, admin, members)), console=out, auto_refresh=False) as live:
        while not interrupted.wait(_EVERY_SECONDS):
            live.update(_view(settings, group_status.look(settings, admin, members)), refresh=True)


def _print(settings: Settings, seen: GroupStatus, as_json: bool, indent: int | None = 2) -> None:
    if as_json:
        print_json(_as_json(settings, seen), indent)
    else:
        console().print(_view(settings, seen))


def _view(settings: Settings, seen: GroupStatus) -> Group:
    lag = sum(one.lag for one in seen.partitions)
    members = len(seen.group.members)
    head = f"group {settings.kafka.group_id}: {seen.group.state}, {members} member{'s' * (members != 1)}, lag {lag:,}"
    parts: list[Any] = [Text(head, style="bold")]
    for held in seen.held:
        why = f"{held['reason']} ({held['detail']})" if held.get("detail") else held["reason"]
        parts.append(Text(f"held: {held['subject']}: {why}. {held['what_to_do']}", style="bold red"))
    for paused in seen.paused:
        parts.append(Text(f"{paused['subject']}: {paused['reason']}. {paused['what_to_do']}", style="cyan"))
    for notice in seen.notices:
        parts.append(Text(f"{notice['subject']}: {notice['reason']}. {notice['what_to_do']}", style="yellow"))
    parts += [_members(seen), _partitions(seen)]
    dead_letters = (
        "is not there"
        if seen.dead_letters is None
        else f"{seen.dead_letters:,}, by code: stream-capi dead-letters list"
    )
    parts.append(Text(f"dead letters in {settings.dead_letter.topic}: {dead_letters}"))
    parts += [Text(line, style="dim") for line in _reached(seen)]
    return Group(*parts)


def _members(seen: GroupStatus) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("member")
    table.add_column("host")
    table.add_column("partitions", overflow="fold")
    for member in seen.group.members:
        topics: dict[str, list[str]] = {}
        for tp in sorted(member.partitions):
            topics.setdefault(tp.topic, []).append(str(tp.partition))
        share = "; ".join(f"{topic}: {', '.join(numbers)}" for topic, numbers in topics.items())
        name = member.instance_id or member.member_id
        table.add_row(name, member.host.removeprefix("/"), share or "none: idle")
    return table


def _partitions(seen: GroupStatus) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("topic")
    for heading in ("partition", "committed", "end", "lag", "oldest"):
        table.add_column(heading, justify="right")
    table.add_column("it waits because", overflow="fold")
    for one in seen.partitions:
        age = "" if one.oldest is None else "no time" if one.oldest.seconds is None else f"{one.oldest.seconds:,.1f} s"
        why = one.oldest.why if one.oldest else f"stopped: {one.stopped}" if one.stopped else ""
        numbers = (str(one.tp.partition), "none" if one.committed is None else str(one.committed), str(one.end))
        style = "bold red" if one.stopped else ""
        table.add_row(one.tp.topic, *numbers, f"{one.lag:,}", age, why, style=style)
    return table


def _reached(seen: GroupStatus) -> list[str]:
    """Which members were asked, and which did not answer, in lines for people."""
    members = len(seen.group.members)
    return unreached(seen) + ([f"asked {members} of {members} members"] if members and not seen.unknown else [])


def unreached(seen: GroupStatus) -> list[str]:
    """Which addresses and workers did not answer, and whether other members were not asked, in lines for people."""
    lines = [f"{one.address}: {one.fault}" for one in seen.answers if one.status is None]
    lines += [f"{one.address}: worker {number} doesn't answer" for one in seen.answers for number in one.silent_workers]
    return [*lines, f"{seen.unknown}; --member HOST:PORT names their admin servers"] if seen.unknown else lines


def _as_json(settings: Settings, seen: GroupStatus) -> dict[str, Any]:
    owned = Counter(one.member.member_id for one in seen.partitions if one.member)
    return {
        "group": settings.kafka.group_id,
        "state": seen.group.state,
        "protocol": seen.group.protocol,
        "lag": sum(one.lag for one in seen.partitions),
        "members": [
            {
                "id": member.member_id,
                "instance": member.instance_id or None,
                "client": member.client_id,
                "host": member.host.removeprefix("/"),
                "partitions": owned[member.member_id],
            }
            for member in seen.group.members
        ],
        "partitions": [
            {
                "topic": one.tp.topic,
                "partition": one.tp.partition,
                "committed": one.committed,
                "end": one.end,
                "lag": one.lag,
                "member": one.member.member_id if one.member else None,
                "stopped": one.stopped or None,
                "paused_by_configuration": one.paused,
                "oldest": one.oldest._asdict() if one.oldest else None,
            }
            for one in seen.partitions
        ],
        "held": seen.held,
        "paused": seen.paused,
        "notices": seen.notices,
        "dead_letters": {"topic": settings.dead_letter.topic, "letters": seen.dead_letters},
        "members_asked": seen.asked,
        "unknown": seen.unknown or None,
        "asked": [_asked(one) for one in seen.answers],
    }


def _asked(answer: MemberAnswer) -> dict[str, Any]:
    """What answered at an address, and what only members know: None if it didn't answer, or has an older version."""
    status: Mapping[str, Any] = answer.status or {}
    return {
        "address": answer.address,
        "answered": answer.status is not None,
        "fault": answer.fault,
        "members": answer.members,
        "silent_workers": answer.silent_workers,
        **{key: status.get(key) for key in ("clients", "lag", "skipped", "left_out")},
    }
