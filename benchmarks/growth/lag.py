"""A member with a lag of millions: do its memory, its start or its stop depend on how large the lag is?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.growth.cases import LATENCY
from benchmarks.growth.events import Lag
from benchmarks.growth.member import new_group, running
from benchmarks.stack import Stack

PARTITIONS = 8
RECORDS = (1_000_000, 10_000_000)
_SECONDS = 30.0


class Row(NamedTuple):
    """Wall-clock seconds, bytes resident, and processor seconds."""

    first_commit: float
    peak: int
    end: int
    event_cpu: float
    left: int  # records still to go when it was stopped
    stop_seconds: float


def measured(stack: Stack, lag: Lag, folder: Path) -> Row:
    """Work off the lag with a slow endpoint for half a minute, then stop the member."""
    stack.endpoint.reset(latency=LATENCY)
    group, topics = new_group(), {lag.topic: PARTITIONS}
    with running(stack, group, topics, 1, folder, "first") as member:
        member.until(lambda: bool(stack.broker.committed(group, lag.topic)), "the first commit")
        first_commit, before, begun = time.monotonic() - member.begun, member.cpu(), stack.endpoint.events()
        time.sleep(_SECONDS)
        events, cpu = stack.endpoint.events() - begun, member.cpu() - before
        peak, end = member.peak(), member.resident()
        stopped = time.monotonic()
        member.end()
        return Row(first_commit, peak, end, cpu / events, lag.records - begun - events, time.monotonic() - stopped)
