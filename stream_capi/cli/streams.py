"""Prepares standard output and error for the commands: always open, safe in any encoding, with errors for people."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

from stream_capi.errors import OutputLost


class _StandardOutput(io.TextIOWrapper):
    """Standard output. If it can't be written, the command ends with an error; with an empty one if the reader has gone."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _lost(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _lost(error) from None


class _Errors(io.TextIOWrapper):
    """Standard error. If it can't be written, the work goes on."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def prepare() -> None:
    """Give the process all three standard streams.

    If one is closed from the start, its descriptor would be reused by a connection, and a library's messages would be
    written into that. A character that the encoding lacks is written as its escape. Streams that were replaced before (by
    a test, say) are kept.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = _prepared(sys.stdout, sys.__stdout__, _StandardOutput)
    sys.stderr = _prepared(sys.stderr, sys.__stderr__, _Errors)


def _prepared(stream: TextIO | None, original: TextIO | None, kind: type[io.TextIOWrapper]) -> TextIO:
    if stream is None:
        return open(os.devnull, "w")
    if stream is not original or not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, lines = stream.encoding, stream.line_buffering
    return kind(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=lines)


def _lost(error: OSError) -> OutputLost:
    """The error to raise. Discards all further output, since the interpreter's own flush at exit would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return OutputLost("" if error.errno == errno.EPIPE else f"the output can't be written: {error.strerror}")
