"""All contenders over backlogs of one shape, in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import agree
from benchmarks.backlog import Backlogs
from benchmarks.figures import Contest
from benchmarks.measure import measured as run_of
from benchmarks.plans import LIBRARY, NAMES, ORDINARY, plan
from benchmarks.stack import Stack

_SLOW = 5  # how many times smaller the backlog is that the slower contenders are given


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
    """First they agree on what they deliver, then they are timed."""
    sample = backlogs.of(agree.EVENTS, shape=shape)
    contest = Contest(agree.digests(stack, sample, [plan(name, stack, sample, before) for name in NAMES], log, report))
    small, large = backlogs.of(events // _SLOW, shape=shape), backlogs.of(events, shape=shape)
    for repeat in range(repeats):
        # There and back again, so that none has the same one before it each time.
        for name in NAMES[:: -1 if repeat % 2 else 1]:
            backlog = small if name in (ORDINARY, LIBRARY) else large
            run = run_of(stack, plan(name, stack, backlog, before), log)
            contest.runs.setdefault(name, []).append(run)
            took = 1e6 * run.cpu / run.events
            report(f"{shape} {repeat + 1}/{repeats} {name}: {took:.1f} µs/event, {run.per_second:,.0f} events/s")
    return contest
