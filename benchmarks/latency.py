"""The time from producing to answering, at a steady load: an event carries the time of its production for the endpoint."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.backlog import Backlog, Writer
from benchmarks.machine import busy_seconds
from benchmarks.measure import watching
from benchmarks.plans import program, set_up
from benchmarks.stack import Stack
from benchmarks.templates import Templates, names_of, varint_of

_STEP_SECONDS = 0.005
_SETTLE_SECONDS = 3.0  # of load that isn't counted, while the program starts
_PATIENCE = 60.0


class Latency(NamedTuple):
    """Milliseconds from an event's own time to its 200."""

    per_second: float
    events: int
    p50: float
    p99: float
    most: float
    busy: float  # the machine's processors that were busy, on average: of the program, the broker, the endpoint, this process


def measured(stack: Stack, templates: Templates, rate: float, seconds: float, log: Path) -> Latency:
    """Produce at this rate for this time, and measure how old each event was when it was answered."""
    backlog = Backlog(f"paced-leads-{time.time_ns()}", f"paced-views-{time.time_ns()}", 0)
    for topic in backlog.topics.values():
        stack.broker.create_topic(topic, 4)
    stack.endpoint.reset(record="ages")
    with watching(program(stack, set_up(stack, backlog), backlog, 0), log):
        writer = Writer(stack, templates, backlog, linger_ms=1)
        _pace(writer, rate, _SETTLE_SECONDS)
        writer.flush()
        produced = int(rate * _SETTLE_SECONDS)
        _await(stack, produced)
        stack.endpoint.reset(record="ages")
        begun, spent = time.monotonic(), busy_seconds()
        produced = _pace(writer, rate, seconds)
        writer.flush()
        _await(stack, produced)
        busy = (busy_seconds() - spent) / (time.monotonic() - begun)
        ages = sorted(stack.endpoint.ages())
    return Latency(rate, len(ages), ages[len(ages) // 2], ages[len(ages) * 99 // 100], ages[-1], busy)


def _pace(writer: Writer, rate: float, seconds: float) -> int:
    names = names_of(int(rate * seconds))
    begun, produced = time.monotonic(), 0
    while produced < int(rate * seconds):
        due = min(int((time.monotonic() - begun) * rate) + 1, int(rate * seconds))
        writer.produce(islice(names, due - produced), varint_of(int(time.time() * 1000)))
        produced = due
        time.sleep(_STEP_SECONDS)
    return produced


def _await(stack: Stack, events: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while stack.endpoint.events() < events:
        assert time.monotonic() < deadline, f"{stack.endpoint.events()} of {events} events were delivered"
        time.sleep(0.05)
