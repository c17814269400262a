"""The commands, one module each. A module parses options, calls other packages for the work, and prints the result.

A command's module is imported only when that command is run: the libraries behind it take a second to import, and most of
them are used by a single command.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from stream_capi import __version__
from stream_capi.cli import process, streams
from stream_capi.errors import ExitCode, StreamCapiError
from stream_capi.observe import log_writer, logs


class Command(NamedTuple):
    """A command before it is imported: its module here, and the line that ``--help`` prints for it."""

    module: str
    summary: str


COMMANDS = {
    "demo": Command(
        "demo", "Broker, generator, endpoint and pipeline on this machine; ends with a ledger of every event."
    ),
    "run": Command("run", "Deliver events until SIGTERM, SIGINT or SIGHUP."),
    "check": Command(
        "check",
        "Check configuration, brokers, topics, registry, mappings and endpoint, without sending an event.",
    ),
    "config-schema": Command("config_schema", "Print the JSON Schema of the configuration file, for editors and CI."),
    "explain": Command(
        "explain",
        "Show how an event becomes a ServerEvent: source path, rule, result or why it fails, field by field.",
    ),
    "test": Command(
        "test",
        "Test the configuration: map the records of your cases, and compare with the events you expect. Needs no broker.",
    ),
    "dry-run": Command(
        "dry_run",
        "Map a range of the real topics and send nothing: what would be sent, dead-lettered, skipped, left out, and why.",
    ),
    "send-one": Command(
        "send_one",
        "Send one real event, after showing it, and print the answer and what it means.",
    ),
    "find": Command(
        "find",
        "Show where one event is: delivered, dead-lettered, skipped, or open and why it waits.",
    ),
    "init": Command(
        "init",
        "Ask the registry for a topic's schema and write a commented configuration with the best guess of its mapping.",
    ),
    "replay": Command(
        "replay",
        "Deliver a range again in a group of its own: the live group's offsets stay where they are.",
    ),
    "reset": Command(
        "reset", "Set where the live group goes on. Refused while the group has members: stop them first."
    ),
    "dead-letters": Command(
        "dead_letters",
        "List, show, redrive or delete dead letters, the events that could not be delivered.",
    ),
    "status": Command(
        "status",
        "Show the group's lag and members, what is held, and why the oldest events wait.",
    ),
    "mock-endpoint": Command(
        "mock_endpoint",
        "Stand in for the API: validate every request against its document, and play the faults of a script.",
    ),
    "produce-samples": Command("produce_samples", "Produce sample lead and page-view events of the shipped contract."),
}


class _Summaries(TyperGroup):
    """The group of all commands, each with no more than its summary. ``Any`` stands for classes that typer keeps private."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Make a command that can't run, for the help."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].summary)


class Commands(_Summaries):
    """The group of all commands. Its help prints their summaries without importing them."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help of commands that have no more than their summaries."""
        _Summaries(**_options_of(self)).format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete names for a shell, with their summaries. It waits at each key press, so no command is imported."""
        summaries = _Summaries(**_options_of(self))
        with summaries.make_context(ctx.info_name, [], resilient_parsing=True) as its:
            return summaries.shell_complete(its, incomplete)


def _options_of(group: TyperGroup) -> dict[str, Any]:
    return {"name": group.name, "help": group.help, "params": group.params, "rich_markup_mode": group.rich_markup_mode}


def load(name: str) -> Any:
    """Import a command's module and build the command."""
    module = import_module(f"stream_capi.cli.{COMMANDS[name].module}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        group.command(name)(module.command)
    return get_command(group)


app = typer.Typer(
    name="stream-capi",
    cls=Commands,
    help="Bring lead and page-view events from Kafka to the AppLovin (Axon) Conversion API, with nothing lost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # it would print the frames' locals, and with them personal data
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"stream-capi {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def _heed_signals() -> None:
    """Let SIGINT end the process at once, until a command sets its own handler; ignore SIGUSR1 and SIGUSR2.

    The handler doesn't raise: an exception inside a callback of the interpreter, as imports use, would be lost. If SIGINT
    was ignored when the program was started, it stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, lambda *_: os._exit(ExitCode.INTERRUPTED))
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # their default would end the process without a drain
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """The console script. An error that is meant for a person is printed without a traceback and sets the exit code."""
    streams.prepare()
    logs.configure("error", "console")  # until a command's settings say otherwise
    logs.install_hooks()
    _heed_signals()
    try:
        # Not ``app()``: it would replace our exception hook by typer's, which prints the texts of an error and its cause.
        get_command(app)()
    except SystemExit as ended:
        code = process.flushed()
        raise SystemExit(ended.code or code) from None
    except StreamCapiError as error:
        sys.exit(process.print_error(error))
    except (MemoryError, OSError, RuntimeError) as error:
        sys.exit(process.out_of_resources(error, started=False))
    finally:
        log_writer.finish()
