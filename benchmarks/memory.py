"""Resident memory under the worst load: a large backlog and a slow endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.backlog import Backlog
from benchmarks.measure import watching
from benchmarks.plans import program, set_up
from benchmarks.stack import Stack

_LATENCY = 0.25  # seconds


class Memory(NamedTuple):
    """Megabytes resident: at the peak, halfway, and at the end, when ``lag`` events were left."""

    peak: float
    halfway: float
    end: float
    lag: int


AIMS = {8: 200, 128: 300}  # megabytes, by the partitions of a member


def measured(stack: Stack, backlogs: Iterable[Backlog], seconds: float, log: Path) -> dict[int, Memory]:
    """Run over each backlog for this time with a slow endpoint; by the partitions that the member has of both topics."""
    return {len(backlog.topics) * backlog.partitions: _of(stack, backlog, seconds, log) for backlog in backlogs}


def _of(stack: Stack, backlog: Backlog, seconds: float, log: Path) -> Memory:
    stack.endpoint.reset(latency=_LATENCY)
    readings: list[int] = []
    with watching(program(stack, set_up(stack, backlog), backlog, backlog.events), log) as watched:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.25)
            readings.append(watched.resident())
        peak = watched.peak()
        lag = backlog.events - stack.endpoint.events()
    return Memory(peak / 1e6, readings[len(readings) // 2] / 1e6, readings[-1] / 1e6, lag)
