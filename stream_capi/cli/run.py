"""``stream-capi run``: the main job."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Annotated

import typer

from stream_capi import config
from stream_capi.app import App, stop_on_signals
from stream_capi.cli import exits
from stream_capi.cli.options import Config
from stream_capi.errors import StreamCapiError
from stream_capi.observe import logs

_GARBAGE = 50_000  # objects made and not freed between two searches for cycles; the default is 700


def command(
    config_file: Config,
    workers: Annotated[int, typer.Option(min=1, help="Processes in the group on this machine.")] = 1,
) -> None:
    """Deliver events until SIGTERM or SIGINT."""
    settings = config.load(config_file)
    if workers > 1:
        raise typer.BadParameter("this version runs one worker; start more members of the group instead")
    logs.configure(settings.log.level, settings.log.format)
    asyncio.run(_run(settings))


async def _run(settings: config.Settings) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    try:
        app = App(settings, os.environ)
        stop_on_signals(app)
        spare_the_collector()
        code = await app.run()
    except StreamCapiError as error:
        code = exits.tell(error)
    exits.at_once(code)


def spare_the_collector() -> None:
    """Search for garbage in cycles seldom, and not in what was imported, which stays for good.

    Neither an event nor a request leaves a cycle behind; by the defaults the search for one took a tenth of all the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)
