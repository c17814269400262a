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

_GARBAGE = 50_000  # objects allocated and not freed between two collections; the default is 700


def tune_garbage_collector() -> None:
    """Run the cyclic garbage collector rarely, and exclude the imported modules, which are never freed.

    Neither an event nor a request leaves a cycle behind; with the default threshold the collector took a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, 10, 10)


def print_error(error: StreamCapiError) -> int:
    """Print what is wrong, a line for each fault, with control characters escaped; returns the exit code."""
    for line in str(error).splitlines():
        print(f"stream-capi: {plain(line)}", file=sys.stderr)
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    return ExitCode.FAILED if isinstance(error, CheckFailed | OutputLost) else ExitCode.LOST


def out_of_resources(error: Exception, started: bool) -> int:
    """Print which limit (before the start also which file) an error comes from; returns the exit code. Others are raised."""
    short = limits.short_of(error) or ("" if started else _of_a_file(error))
    if not short:
        raise error
    print(f"stream-capi: {plain(short)}", file=sys.stderr)
    return ExitCode.LOST if started else ExitCode.USAGE


def _of_a_file(error: Exception) -> str:
    """The file that could not be used, and why; empty if the error names none."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else ""


def at_once(code: int) -> NoReturn:
    """End the process now. All that matters has been closed, with deadlines; a normal exit would wait without one for a
    thread that a frozen broker or a name server blocks.
    """
    code = code or flushed()
    sys.stderr.flush()
    log_writer.finish()
    os._exit(code)


def flushed() -> int:
    """Flush standard output. Returns the exit code for the result."""
    try:
        sys.stdout.flush()
    except OutputLost as error:
        return print_error(error)
    return ExitCode.DONE
