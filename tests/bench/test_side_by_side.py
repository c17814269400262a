"""The program and an earlier version in turn: each runs its own code on the same events; differences are detected."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import side_by_side
from benchmarks.contenders.shapes import SHAPES
from benchmarks.stack import ROOT

EVENTS = 5000  # with a thousand, a run of 8 ms, the ratio is 1.4 now and then on a busy machine
TWICE = """
_once = TopicSource.transform

def _twice(self, *arguments):
    _once(self, *arguments)
    return _once(self, *arguments)

TopicSource.transform = _twice
"""
OTHERWISE = """
_right = TopicSource.transform

def _otherwise(self, *arguments):
    return [payload.replace(b"web", b"app") for payload in _right(self, *arguments)]

TopicSource.transform = _otherwise
"""


def earlier(folder: Path, change: str) -> Path:
    """A copy of the program with code added at the end of pipeline/source.py."""
    shutil.copytree(ROOT / "schemas", folder / "schemas")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stream_capi", folder / "stream_capi", ignore=ignored)
    with (folder / "stream_capi" / "pipeline" / "source.py").open("a") as file:
        file.write(change)
    return folder


@pytest.mark.repeat
@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_program_that_does_the_work_twice_takes_about_twice_the_time(tmp_path: Path, shape: str) -> None:
    works = [("payloads", side_by_side.RUN), ("intake", 20)]
    found = side_by_side.measured(shape, earlier(tmp_path, TWICE), works, rounds=1, events=EVENTS)
    assert 1.5 < found["payloads", side_by_side.RUN].speed.median < 2.7
    assert found["intake", 20].cost.median < 0.9


@pytest.mark.repeat
@pytest.mark.slow
def test_events_that_become_other_payloads_are_not_timed(tmp_path: Path) -> None:
    before = earlier(tmp_path, OTHERWISE)
    with (
        pytest.raises(AssertionError, match="aren't those of the commit before"),
        side_by_side.sides("shipped", before, EVENTS),
    ):
        pass
