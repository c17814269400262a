"""``stream-capi send-one``: one real event, to see whether key and pixel work."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from stream_capi import config
from stream_capi.applovin import ERROR_HEADERS
from stream_capi.cli import process
from stream_capi.cli.explanation import event_of, narrow_console, print_event
from stream_capi.cli.options import Config, Json
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import plain, print_json
from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, ExitCode
from stream_capi.kafka.scan import record_at
from stream_capi.observe.masking import scrub
from stream_capi.operations.explain import ExplainedRecord, explain_file, explain_records
from stream_capi.operations.single_send import OneEvent, Reply, event_to_send, send

_AGAIN = "Nothing was committed: the group has sent this event or will send it, with the same dedupe_id."
_LIVE = "The API has no sandbox: it counts this event as a real one, and that can't be undone."
_FROM_FILE = (
    "This record comes from a file. If it is made up, the live pixel counts a person and an event that never existed."
)


def command(
    config_file: Config,
    topic: Annotated[str, typer.Option(help="The topic of one of the sources.")],
    partition: Annotated[int | None, typer.Option(min=0, help="With --offset: the record's partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="With --partition: the record's offset.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="One record's value as it is on the wire; or, in a .json file, its fields."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send it without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Send one real event, after showing it, and print the answer and what it means.

    The API has no sandbox, so only a real event tests key and pixel. Nothing is committed, no group is joined.
    Exit 0 only if the API accepted the event.
    """
    if (partition is None) != (offset is None):
        raise typer.BadParameter("--partition and --offset go together")
    if (offset is None) == (file is None):
        raise typer.BadParameter("give either --partition with --offset, or --file")
    if not yes and (as_json or not (os.isatty(0) and os.isatty(1))):
        why = "--json asks nothing" if as_json else "there is no terminal to ask on"
        raise typer.BadParameter(f"{why}: add --yes to send the event without a question")
    settings = config.load(config_file)
    explained = _explained(settings, topic, partition, offset, file)
    event = event_to_send(explained, from_file=file is not None)
    if not as_json:
        _show(settings, explained, event, file is not None)
    if not yes and not typer.confirm("Send it?", default=False):
        print("Nothing was sent.")
        raise typer.Exit(ExitCode.FAILED)
    sys.stdout.flush()  # raises if the event can't be shown: then it isn't sent
    asyncio.run(_send(settings, explained, event, file is not None, as_json))


def _explained(
    settings: Settings, topic: str, partition: int | None, offset: int | None, file: Path | None
) -> ExplainedRecord:
    sources = sources_of(settings, topic)
    if why := settings.why_paused(topic):
        raise ConfigurationError([f"{why}: nothing of {topic} is sent; set paused = false first"])
    if file is not None:
        (explained,) = asyncio.run(explain_file(settings, sources, file))
    else:
        record = record_at(settings.kafka, topic, partition or 0, offset or 0)
        (explained,) = asyncio.run(explain_records(settings, sources, [record]))
    return explained


def _show(settings: Settings, explained: ExplainedRecord, event: OneEvent, from_file: bool) -> None:
    out = narrow_console()
    out.print(Text(plain(f"{explained.place}  {explained.schema}"), style="bold"))
    print_event(out, event_of(explained, personal=False))
    out.print(Text(plain(f"goes to pixel {event.lane.pixel} at {scrub(settings.endpoint.url)}, as it is, not masked.")))
    out.print(Text(_LIVE, style="bold yellow"))
    if from_file:
        out.print(Text(_FROM_FILE, style="bold red"))


async def _send(
    settings: Settings, explained: ExplainedRecord, event: OneEvent, from_file: bool, as_json: bool
) -> None:
    """Send, print and end the process at once: a normal exit would wait for a name server that doesn't answer."""
    replies = await send(settings, os.environ, event)
    if as_json:
        print_json(_as_json(explained, event, replies), indent=2)
    else:
        _print_replies(replies, from_file)
    process.at_once(ExitCode.DONE if replies[-1].is_delivered else ExitCode.FAILED)


def _print_replies(replies: list[Reply], from_file: bool) -> None:
    out = narrow_console()
    for reply in replies:
        style = "bold green" if reply.is_delivered else "bold red"
        answered = reply.answer.status or f"no answer ({reply.answer.fault})"
        form = "as bearer" if reply.form == "bearer" else "alone"
        out.print(Text(f"{answered} after {reply.answer.seconds:.2f} s, the key sent {form}", style=style))
        for name, text in _words(reply).items():
            out.print(Text(plain(f"  {name}: {text}")))
        out.print(Text(plain(f"{reply.kind}: {reply.meaning}")))
    if not from_file:
        out.print(_AGAIN)


def _words(reply: Reply) -> dict[str, str]:
    """What the API says in an answer: the headers that explain it, by name, and the body."""
    words = zip(ERROR_HEADERS, reply.words, strict=True)
    return {name: text for name, text in (*words, ("body", reply.body)) if text}


def _as_json(explained: ExplainedRecord, event: OneEvent, replies: list[Reply]) -> dict[str, Any]:
    last = replies[-1]
    return {
        "record": explained.place,
        "schema": explained.schema,
        "pixel": event.lane.pixel,
        "event": event_of(explained, personal=False),
        "requests": [
            {
                "authorization": reply.form,
                "status": reply.answer.status,
                "fault": reply.answer.fault,
                "seconds": round(reply.answer.seconds, 3),
                "error_code": reply.words.code or None,
                "error_message": reply.words.message or None,
                "trace_id": reply.words.trace_id or None,
                "body": reply.body or None,
                "class": reply.kind,
                "meaning": reply.meaning,
            }
            for reply in replies
        ],
        "delivered": last.is_delivered,
    }
