"""More members on one machine: the rate of one, of two in a group, and of two workers of one command.

The endpoint is slow, so that the requests in flight limit each member, and not the two cores, on which the broker and the
endpoint run, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.backlog import Backlog
from benchmarks.measure import Plan, watching
from benchmarks.plans import program, set_up
from benchmarks.stack import Stack

LATENCY = 0.5  # seconds
_SETTLE_SECONDS = 12.0  # for the start, the group's rebalances, and the rise of the adaptive limits
_SECONDS = 8.0


def measured(stack: Stack, backlog: Backlog, log: Path) -> dict[str, float]:
    """Events a second of each set-up."""
    return {
        "one member": _rate(stack, [_member(stack, backlog)], log),
        "two members": _rate(stack, _two(stack, backlog), log),
        "--workers 2": _rate(stack, [_workers(stack, backlog)], log),
    }


def _member(stack: Stack, backlog: Backlog) -> Plan:
    return program(stack, set_up(stack, backlog), backlog, backlog.events)


def _two(stack: Stack, backlog: Backlog) -> list[Plan]:
    setup = set_up(stack, backlog)
    return [program(stack, setup, backlog, backlog.events, name=f"member-{number}") for number in (1, 2)]


def _workers(stack: Stack, backlog: Backlog) -> Plan:
    plan = _member(stack, backlog)
    return plan._replace(command=[*plan.command, "--workers", "2"])


def _rate(stack: Stack, plans: Sequence[Plan], log: Path) -> float:
    stack.endpoint.reset(latency=LATENCY)
    with ExitStack() as running:
        for plan in plans:
            running.enter_context(watching(plan, log))
        time.sleep(_SETTLE_SECONDS)
        before, begun = stack.endpoint.events(), time.monotonic()
        time.sleep(_SECONDS)
        return (stack.endpoint.events() - before) / (time.monotonic() - begun)
