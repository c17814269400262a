"""Readers for TOML blocks of the pages that are no part of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream_capi.operations import cases
from stream_capi.sandbox.fault_script import Script


def read_cases(file: Path) -> None:
    """Raise AssertionError if a file of cases has faults."""
    (found,) = cases.read_cases([file])
    assert found.faults == ()
    assert found.cases


# By a table that such a block has.
READERS: dict[str, Callable[[Path], object]] = {"rules": Script.load, "cases": read_cases}
