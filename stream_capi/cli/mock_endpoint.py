"""``stream-capi mock-endpoint``: the strict stand-in for the API, for drills."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from stream_capi.cli.options import Json
from stream_capi.cli.text import print_json
from stream_capi.errors import ConfigurationError
from stream_capi.sandbox.fault_script import Script
from stream_capi.sandbox.mock_api import ANY_PIXEL, MockEndpoint

_REFRESH_SECONDS = 0.5
_LINE_SECONDS = 10.0  # between two lines where there is no terminal
_VIOLATIONS = 5  # shown


def command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    key_env: Annotated[
        str, typer.Option(metavar="NAME|any", help="The variable with the key to accept; any: accept every key.")
    ] = "any",
    authorization: Annotated[
        Literal["bearer", "raw", "any"], typer.Option(help="The form that the key must come in.")
    ] = "any",
    script: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Faults to play, in TOML or JSON.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Stand in for the API: validate every request against its document, and play the faults of a script."""
    mock = MockEndpoint(
        host,
        port,
        keys=_keys(key_env),
        authorization=authorization,
        script=Script.load(script) if script else None,
        keep=False,
    )
    asyncio.run(_serve(mock, as_json))


def _keys(variable: str) -> dict[str, str] | None:
    if variable == "any":
        return None
    key = os.environ.get(variable, "").strip()
    if not key:  # the name isn't repeated: people give the key itself in its place
        raise ConfigurationError(["--key-env names a variable that the environment lacks or leaves empty; set it"])
    return {ANY_PIXEL: key}


async def _serve(mock: MockEndpoint, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with mock:
        if as_json:
            print_json({"listening": mock.url})
            await stop.wait()
            print_json(_totals(mock))
        else:
            await _watch(mock, stop)


async def _watch(mock: MockEndpoint, stop: asyncio.Event) -> None:
    """A live table on a terminal, a line now and then elsewhere, and the totals at the end."""
    console = Console()
    console.print(f"listening at {mock.url}, until Ctrl-C", highlight=False)
    if console.is_terminal:
        with Live(_table(mock), console=console, auto_refresh=False, transient=True) as live:
            while not await _stopped(stop, _REFRESH_SECONDS):
                live.update(_table(mock), refresh=True)
    else:
        reported = 0
        while not await _stopped(stop, _LINE_SECONDS):
            if mock.counts.requests != reported:
                reported = mock.counts.requests
                console.print(_line(mock), highlight=False, soft_wrap=True)
    console.print(_table(mock))
    for violation in mock.violations[:_VIOLATIONS]:
        console.print(f"violation: {violation}", markup=False, highlight=False, soft_wrap=True)


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False


def _totals(mock: MockEndpoint) -> dict[str, Any]:
    counts = mock.counts
    return {
        "requests": counts.requests,
        "events_accepted": counts.accepted,
        "events_refused": counts.refused,
        "answers": dict(sorted(counts.statuses.items())),
        "violations": counts.violations,
        "first_violations": mock.violations[:_VIOLATIONS],
    }


def _line(mock: MockEndpoint) -> str:
    answers = ", ".join(f"{status} × {count}" for status, count in sorted(mock.counts.statuses.items()))
    counts = mock.counts
    return f"requests {counts.requests} ({answers}), events accepted {counts.accepted}, refused {counts.refused}"


def _table(mock: MockEndpoint) -> Table:
    table = Table(show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    counts = mock.counts
    table.add_row("requests", f"{counts.requests:,}")
    for status, count in sorted(counts.statuses.items()):
        table.add_row("  without an answer" if status == "none" else f"  answered {status}", f"{count:,}")
    table.add_row("events accepted", f"{counts.accepted:,}")
    table.add_row("events refused", f"{counts.refused:,}")
    table.add_row("violations of the API document", f"{counts.violations:,}")
    return table
