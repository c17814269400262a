"""The commands. Each has a file of its own: it parses, calls and prints; what it does is done elsewhere."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer
from typer.main import get_command

from stream_capi import __version__
from stream_capi.cli import (
    check,
    dead_letters,
    demo,
    explain,
    init,
    mock_endpoint,
    process,
    produce_samples,
    replay,
    reset,
    run,
    status,
    streams,
)
from stream_capi.errors import StreamCapiError
from stream_capi.observe import log_writer, logs

app = typer.Typer(
    name="stream-capi",
    help="Bring lead and page-view events from Kafka to the AppLovin (Axon) Conversion API, with nothing lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would print the frames' locals, and with them personal data
)
app.command("demo")(demo.command)
app.command("run")(run.command)
app.command("check")(check.command)
app.command("explain")(explain.command)
app.command("init")(init.command)
app.command("replay")(replay.command)
app.command("reset")(reset.command)
app.add_typer(dead_letters.app)
app.command("status")(status.command)
app.command("mock-endpoint")(mock_endpoint.command)
app.command("produce-samples")(produce_samples.command)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"stream-capi {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None: ...


def _heed_signals() -> None:
    """Take SIGINT back from ``__main__`` as the exception that commands expect; SIGUSR1 and SIGUSR2 mean nothing here.

    What was ignored when the program was started stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # their default would end the process without a drain
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """The console script. An error that is meant for a person ends in its text and its code, without a traceback."""
    streams.prepare()
    logs.configure("error", "console")  # until a command's settings say otherwise
    logs.install_hooks()
    _heed_signals()
    try:
        # Called itself, the app would put a hook of its own over ours, which prints an error's text and its cause's.
        get_command(app)()
    except SystemExit as ended:
        code = process.flushed()
        raise SystemExit(ended.code or code) from None
    except StreamCapiError as error:
        sys.exit(process.tell(error))
    except (MemoryError, OSError, RuntimeError) as error:
        sys.exit(process.out_of_resources(error, started=False))
    except KeyboardInterrupt:
        sys.exit(process.INTERRUPTED)
    finally:
        log_writer.finish()
