"""Inputs that once broke something, one per file under ``corpus/TARGET/``: each is tried in every run.

The long profile writes the failing inputs that it finds there: committing such a file makes it a test.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from tests.proof.profile import LONG

_FOLDER = Path(__file__).parent / "corpus"


def kept(target: str) -> list[bytes]:
    """The kept inputs of a target."""
    return [path.read_bytes() for path in sorted((_FOLDER / target).glob("*"))]


@contextlib.contextmanager
def keeping(target: str, data: bytes) -> Iterator[None]:
    """Keep the input if the block raises, in the long profile only."""
    try:
        yield
    except Exception:
        if LONG:
            (_FOLDER / target).mkdir(parents=True, exist_ok=True)
            (_FOLDER / target / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]).write_bytes(data)
        raise
