"""Reads a file that a person named, with limits on its size and on waiting, whatever kind of file it is.

A pipe may be given (``--config <(envsubst < template)``). Without the limits a pipe whose writer stays silent, an endless
device or a huge file would block the program or exhaust its memory.
"""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

MAX_BYTES = 32 << 20
_SILENCE_SECONDS = 10.0
_PIECE = 1 << 20


def content(path: Path | str, most: int = MAX_BYTES, silence: float = _SILENCE_SECONDS) -> bytes:
    """The bytes of a file. Raises OSError, always with a ``strerror``, if it can't be read or has more than ``most``."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL, or a surrogate that no file name has
        raise OSError(errno.EINVAL, "this can't be the name of a file") from error
    try:
        found = bytearray()
        while piece := _piece(opened, silence):
            found += piece
            if len(found) > most:
                raise OSError(errno.EFBIG, f"has more than {most} bytes")
        return bytes(found)
    finally:
        os.close(opened)


def _piece(opened: int, silence: float) -> bytes:
    """The next bytes; empty at the end."""
    while True:
        try:
            return os.read(opened, _PIECE)
        except BlockingIOError:
            if not select.select([opened], [], [], silence)[0]:
                raise OSError(errno.ETIMEDOUT, f"returned no data within {silence:g} s") from None
