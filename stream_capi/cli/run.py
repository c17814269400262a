"""``stream-capi run``: the main job."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stream_capi import config
from stream_capi.app import App, stop_on_signals
from stream_capi.cli import exits
from stream_capi.cli.options import Config
from stream_capi.errors import StreamCapiError
from stream_capi.observe import logs
from stream_capi.workers import Workers, of_worker, stop_when_deserted

_GARBAGE = 50_000  # objects made and not freed between two searches for cycles; the default is 700
_SWITCH_SECONDS = 0.05  # until a thread that waits for the interpreter takes it; the default is 0.005
_M_ARENA_MAX = -8  # of mallopt(3)


def command(
    config_file: Config,
    workers: Annotated[int, typer.Option(min=1, help="Processes in the group on this machine.")] = 1,
    worker: Annotated[
        int, typer.Option(hidden=True, help="The number of a worker; set by the one that watches it.")
    ] = 0,
    worker_port: Annotated[int, typer.Option(hidden=True, help="Its admin port.")] = 0,
) -> None:
    """Deliver events until SIGTERM or SIGINT."""
    settings = config.load(config_file)
    logs.configure(settings.log.level, settings.log.format)
    if worker:
        settings = of_worker(settings, worker, worker_port)
    asyncio.run(_watch(settings, config_file, workers) if workers > 1 else _run(settings, deserted=bool(worker)))


async def _run(settings: config.Settings, deserted: bool) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    try:
        app = App(settings, os.environ)
        stop_on_signals(app)
        if deserted:
            stop_when_deserted(app.stop_asked)
        suit_the_interpreter()
        code = await app.run()
    except StreamCapiError as error:
        code = exits.tell(error)
    exits.at_once(code)


async def _watch(settings: config.Settings, config_file: Path, count: int) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    try:
        workers = Workers(settings, config_file, count)
        workers.stop_on_signals()
        code = await workers.run()
    except StreamCapiError as error:
        code = exits.tell(error)
    exits.at_once(code)


def suit_the_interpreter() -> None:
    """Suit the interpreter to many events. To be called before the consumer's thread begins."""
    _spare_the_caches()
    _spare_the_collector()


def _spare_the_caches() -> None:
    """Let what one thread leaves in the processor's caches serve the other.

    The consumer's thread makes the records and the loop's uses them up. By the defaults the one takes the interpreter from
    the other in the midst of a chunk, and each allocates from an arena of its own, into which the other frees: memory that
    was just in use is not the next to be used.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it; the others have no arenas to count
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def _spare_the_collector() -> None:
    """Search for garbage in cycles seldom, and not in what was imported, which stays for good.

    Neither an event nor a request leaves a cycle behind; by the defaults the search for one took a tenth of all the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)
