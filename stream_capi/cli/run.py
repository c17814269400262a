"""``stream-capi run``: the main job."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from stream_capi import config
from stream_capi.app import App, stop_on_signals
from stream_capi.cli import exits
from stream_capi.cli.options import Config
from stream_capi.errors import StreamCapiError
from stream_capi.observe import logs


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
        code = await app.run()
    except StreamCapiError as error:
        code = exits.tell(error)
    exits.at_once(code)
