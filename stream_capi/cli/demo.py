"""``stream-capi demo``: the whole pipeline on this machine, with a live view."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Annotated, cast

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_capi.cli.options import Json
from stream_capi.cli.text import print_json
from stream_capi.errors import ExitCode
from stream_capi.observe import logs
from stream_capi.sandbox.demo import Demo, DemoLedger, DemoProgress

_LINE_SECONDS = 2.0  # between two lines where there is no terminal


def command(
    events: Annotated[int, typer.Option(min=1, help="How many events to produce.")] = 5000,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Keep running afterwards, with the status page.")
    ] = False,
    admin_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the status page; 0: any.")] = 0,
    as_json: Json = False,
) -> None:
    """Broker, generator, endpoint and pipeline on this machine; ends with a ledger of every event."""
    logs.write_behind()
    view = View(events, keep_running, quiet=as_json)
    with suppress(asyncio.CancelledError):
        asyncio.run(_watch(Demo(events, view.show, admin_port), view, keep_running))
    if view.ledger is None:
        print("stopped before the end: there is no ledger")
        raise typer.Exit(ExitCode.FAILED)
    if as_json:
        print_json({**view.ledger._asdict(), "holds": view.ledger.holds})
    raise typer.Exit(ExitCode.DONE if view.ledger.holds else ExitCode.FAILED)


async def _watch(demo: Demo, view: View, keep_running: bool) -> None:
    loop = asyncio.get_running_loop()
    logs.install_hooks(loop)
    loop.add_signal_handler(signal.SIGINT, cast("asyncio.Task[None]", asyncio.current_task()).cancel)
    with view:
        await demo.run(keep_running, view.settle)


class View:
    """The live table on a terminal, a line now and then elsewhere; the ledger at the end."""

    def __init__(self, events: int, keep_running: bool, quiet: bool) -> None:
        self.ledger: DemoLedger | None = None
        self._events = events
        self._keep_running = keep_running
        self._console = Console(quiet=quiet)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, auto_refresh=False)
        self._reported_at = 0.0
        self._last = (0.0, 0)
        self._rate = 0.0
        self._status_page = ""

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, progress: DemoProgress) -> None:
        """Update the view."""
        self._status_page = progress.status_page
        before, delivered = self._last
        if progress.seconds - before >= 1:
            self._rate = (progress.delivered - delivered) / (progress.seconds - before)
            self._last = progress.seconds, progress.delivered
        if self._console.is_terminal:
            self._live.update(self._table(progress), refresh=True)
        elif progress.seconds - self._reported_at >= _LINE_SECONDS:
            self._reported_at = progress.seconds
            self._console.print(
                f"{progress.seconds:5.1f} s  produced {progress.produced}, delivered {progress.delivered}, "
                f"dead-lettered {progress.dead_lettered}, in flight {progress.in_flight}"
            )

    def _table(self, progress: DemoProgress) -> Group:
        table = Table.grid(padding=(0, 2))
        answers = ", ".join(f"{status} × {count}" for status, count in sorted(progress.answers.items()))
        rows = (
            ("produced", f"{progress.produced:,} of {self._events:,}"),
            ("delivered", f"{progress.delivered:,}   {self._rate:,.0f} a second"),
            ("dead-lettered", f"{progress.dead_lettered:,}"),
            ("answers", answers or "none yet"),
            ("in flight", f"{progress.in_flight} of {progress.in_flight_limit} requests"),
            ("in memory", f"{progress.buffered_bytes / 1024:,.0f} KiB of events"),
            ("status page", progress.status_page),
        )
        for name, text in rows:
            table.add_row(Text(name, style="dim"), text)
        done = progress.delivered + progress.dead_lettered
        return Group(ProgressBar(total=self._events, completed=min(done, self._events), width=60), table)

    def settle(self, ledger: DemoLedger) -> None:
        """Print what became of every event."""
        self.ledger = ledger
        table = Table(title="ledger", title_justify="left", show_header=False)
        table.add_column(justify="left")
        table.add_column(justify="right")
        table.add_row("produced, acknowledged by the broker", f"{ledger.produced:,}")
        table.add_row("delivered, as the endpoint counts", f"{ledger.delivered:,}")
        for code, count in sorted(ledger.dead_lettered.items()):
            table.add_row(f"dead-lettered: {code}", f"{count:,}")
        table.add_row("not committed", f"{ledger.uncommitted:,}")
        table.add_row("delivered more than once", f"{ledger.delivered_twice:,}")
        self._live.stop()
        self._console.print(table)
        dead = sum(ledger.dead_lettered.values())
        sign = "=" if ledger.holds else "≠"
        self._console.print(
            f"produced {ledger.produced} {sign} delivered {ledger.delivered} + dead-lettered {dead}, "
            f"in {ledger.seconds:.1f} s"
        )
        if self._keep_running:
            self._console.print(f"still running: {self._status_page} (Ctrl-C ends it)")
