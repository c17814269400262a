"""Runs all contenders in turn over backlogs of one shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import agree
from benchmarks.backlog import Backlogs
from benchmarks.figures import Contest
from benchmarks.measure import measured as run_of
from benchmarks.plans import LIBRARY, NAMES, ORDINARY, plan
from benchmarks.stack import Stack

_SLOW = 5  # the slower contenders' backlog is this many times smaller


def measured(
    stack: Stack,
    backlogs: Backlogs,
    shape: str,
    events: int,
    repeats: int,
    before: Path,
    log: Path,
    report: Callable[[str], None],
) -> Contest:
    """Check that all contenders deliver the same, then time them."""
    sample = backlogs.of(agree.EVENTS, shape=shape)
    contest = Contest(agree.digests(stack, sample, [plan(name, stack, sample, before) for name in NAMES], log, report))
    small, large = backlogs.of(events // _SLOW, shape=shape), backlogs.of(events, shape=shape)
    for repeat in range(repeats):
        # The order is reversed each time, so that none always runs after the same one.
        for name in NAMES[:: -1 if repeat % 2 else 1]:
            backlog = small if name in (ORDINARY, LIBRARY) else large
            run = run_of(stack, plan(name, stack, backlog, before), log)
            contest.runs.setdefault(name, []).append(run)
            took = 1e6 * run.cpu / run.events
            report(f"{shape} {repeat + 1}/{repeats} {name}: {took:.1f} µs/event, {run.per_second:,.0f} events/s")
    return contest
