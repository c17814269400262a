"""Before anything is timed: every contender delivers the same events, byte for byte.

A contender that left out a field or an event would be faster for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.backlog import Backlog
from benchmarks.measure import Plan, watching
from benchmarks.stack import Stack

EVENTS = 2000


def digests(
    stack: Stack, sample: Backlog, plans: Iterable[Plan], log: Path, report: Callable[[str], None]
) -> dict[str, float]:
    """Run each one over the sample. Returns the processor seconds of each: nearly all of them are for its start.

    Raises AssertionError if two differ, or if one delivers an event twice or not at all.
    """
    found: dict[str, str] = {}
    cpu: dict[str, float] = {}
    for plan in plans:
        stack.endpoint.reset(record="hashes")
        with watching(plan, log) as watched:
            deadline = time.monotonic() + 60
            while stack.endpoint.events() < sample.events:
                assert time.monotonic() < deadline, (
                    f"{plan.name} delivered {stack.endpoint.events()} of {sample.events}"
                )
                watched.check()
                time.sleep(0.05)
            cpu[plan.name] = watched.end()
        delivered = stack.endpoint.digest()
        assert delivered["events"] == delivered["different"] == sample.events, f"{plan.name} delivered {delivered}"
        found[plan.name] = delivered["digest"]
        report(f"{plan.name}: {delivered['events']} events, {delivered['digest'][:16]}")
    assert len(set(found.values())) == 1, f"the contenders deliver different bytes: {found}"
    return cpu
