"""What reads a block of TOML on the pages that is no part of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream_capi.operations import cases
from stream_capi.sandbox.fault_script import Script


def read_cases(file: Path) -> None:
    """Raise AssertionError where a file of cases is wrong."""
    (found,) = cases.read_cases([file])
    assert found.faults == ()
    assert found.cases


# By the table that such a block has.
READERS: dict[str, Callable[[Path], object]] = {"rules": Script.load, "cases": read_cases}
