"""How a command's process runs and ends: garbage collection, exit codes, errors without a traceback (contract, section 2)."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from stream_capi import limits
from stream_capi.cli.text import plain
from stream_capi.errors import CheckFailed, ConfigurationError, ExitCode, OutputLost, StreamCapiError
from stream_capi.observe import log_writer

_GARBAGE = 50_000  # objects made and not freed between two searches for cycles; the default is 700


def tune_garbage_collector() -> None:
    """Search for garbage in cycles seldom, and not in what was imported, which stays for good.

    Neither an event nor a request leaves a cycle behind; by the defaults the search for one took a tenth of all the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)


def print_error(error: StreamCapiError) -> int:
    """Print what is wrong, a line for each fault; returns the exit code. It may name a file that somebody else named."""
    for line in str(error).splitlines():
        print(f"stream-capi: {plain(line)}", file=sys.stderr)
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    return ExitCode.FAILED if isinstance(error, CheckFailed | OutputLost) else ExitCode.LOST


def out_of_resources(error: Exception, started: bool) -> int:
    """Say which limit an error comes from, at the start also which file; the exit code. Any other is raised again."""
    short = limits.short_of(error) or ("" if started else _of_a_file(error))
    if not short:
        raise error
    print(f"stream-capi: {plain(short)}", file=sys.stderr)
    return ExitCode.LOST if started else ExitCode.USAGE


def _of_a_file(error: Exception) -> str:
    """The file that the system did not let this process have, and why; empty where the error names none."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else ""


def at_once(code: int) -> NoReturn:
    """End the process now. All that matters has been closed, with deadlines; an orderly exit would wait without one for a
    thread that a frozen broker or a name server holds.
    """
    code = code or flushed()
    sys.stderr.flush()
    log_writer.finish()
    os._exit(code)


def flushed() -> int:
    """Write what was printed; returns the exit code that its outcome asks for."""
    try:
        sys.stdout.flush()
    except OutputLost as error:
        return print_error(error)
    return ExitCode.DONE
