"""One member of few partitions and of many: each is read, tracked, bounded and committed by itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.backlog import Backlog
from benchmarks.measure import Run
from benchmarks.measure import measured as run_of
from benchmarks.plans import PROGRAM, plan
from benchmarks.stack import Stack

OF_A_TOPIC = (4, 64)
EVENTS = 400_000


def measured(stack: Stack, backlogs: Iterable[Backlog], log: Path) -> dict[int, Run]:
    """A run over each backlog, by the number of partitions that the member has of both topics."""
    return {
        len(backlog.topics) * backlog.partitions: run_of(stack, plan(PROGRAM, stack, backlog), log)
        for backlog in backlogs
    }
