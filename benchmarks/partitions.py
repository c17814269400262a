"""One member with few partitions and with many: each is read, tracked, limited and committed by itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.backlog import Backlog
from benchmarks.measure import Run
from benchmarks.measure import measured as run_of
from benchmarks.plans import program, set_up
from benchmarks.stack import Stack

OF_A_TOPIC = (4, 64)


def measured(stack: Stack, backlogs: Iterable[Backlog], log: Path) -> dict[int, Run]:
    """A run over each backlog, by the number of partitions that the member has of both topics."""
    return {
        len(backlog.topics) * backlog.partitions: run_of(
            stack, program(stack, set_up(stack, backlog), backlog, backlog.events), log
        )
        for backlog in backlogs
    }
