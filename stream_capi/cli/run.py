"""``stream-capi run``: the main job."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import structlog
import typer

from stream_capi import config, limits
from stream_capi.app import App, stop_on_signals
from stream_capi.cli import process
from stream_capi.cli.options import Config
from stream_capi.errors import ConfigurationError, StreamCapiError
from stream_capi.observe import logs
from stream_capi.workers.client_ids import identified
from stream_capi.workers.supervisor import Start, Workers, numbered, received, stop_when_deserted

log = structlog.get_logger("stream_capi")


def command(
    config_file: Config,
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes on this machine.")] = 1,
    worker: Annotated[
        int, typer.Option(hidden=True, help="The number of a worker; set by the one that watches it.")
    ] = 0,
) -> None:
    """Deliver events until SIGTERM, SIGINT or SIGHUP."""
    logs.write_behind()
    start = received() if worker else Start(config.load(config_file, workers=workers), leave_for_good=False)
    logs.configure(start.settings.log.level, start.settings.log.format, start.settings.names)
    if workers > 1:
        asyncio.run(_watch(start.settings, config_file, workers))
    else:
        asyncio.run(_run(start, worker))


async def _run(start: Start, worker: int) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    files = limits.raise_descriptors(start.settings.delivery.max_in_flight)
    if files.fault:
        log.warning("limit of open files is low", limit=files.allowed, reason=files.fault)
    app: App | None = None
    try:
        limits.probe()
        # Without --workers this process counts as worker 1.
        settings = identified(numbered(start.settings, 1), worker or 1)
        app = App(settings, os.environ, leave_for_good=start.leave_for_good, worker=worker)
        stop_on_signals(app)
        if worker:
            stop_when_deserted(app.stop_asked)
        process.tune_garbage_collector()
        code = await app.run()
    except ConfigurationError as error:
        code = process.print_error(_with_all_properties(error, start.settings))
    except StreamCapiError as error:
        code = process.print_error(error)
    except (MemoryError, OSError, RuntimeError) as error:
        code = process.out_of_resources(error, started=app is not None and app.consumer.ended is not None)
    process.at_once(code)


def _with_all_properties(error: ConfigurationError, settings: config.Settings) -> ConfigurationError:
    """The error with all properties that any client refuses: the first client to be created names only its own."""
    from stream_capi.operations.refused import property_faults

    return ConfigurationError(list(dict.fromkeys([*error.faults, *property_faults(settings)])))


async def _watch(settings: config.Settings, config_file: Path, count: int) -> None:
    logs.install_hooks(asyncio.get_running_loop())
    try:
        workers = Workers(settings, config_file, count)
        workers.stop_on_signals()
        code = await workers.run()
    except StreamCapiError as error:
        code = process.print_error(error)
    except (MemoryError, OSError, RuntimeError) as error:
        code = process.out_of_resources(error, started=True)
    process.at_once(code)
