"""A member with more and more partitions, sources and pixels: its memory, start, rebalances and processor time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.growth.events import Events, make, produce
from benchmarks.growth.member import Member, new_group, running
from benchmarks.stack import Stack

IDLE_SECONDS = 30.0
LATENCY = 0.1  # seconds, of the endpoint under load: so that the budget for open events is used up
_EVENTS = 100_000
_RUN = 20  # records of the backlog that a partition gets in a row
_SETTLE_SECONDS = 4.0  # from the last commit until idle: by then the client's first statistics and queries are over
_LOOKS = 10


class Case(NamedTuple):
    """Partitions of all sources together, sources, pixels."""

    partitions: int = 100
    sources: int = 1
    pixels: int = 1

    @property
    def topics(self) -> dict[str, int]:
        """A topic for each source, with its partitions."""
        share = self.partitions // self.sources
        return {f"growth-{self.partitions}-{self.sources}-{number}": share for number in range(self.sources)}


BASE = Case()
PARTITIONS = (Case(1), BASE, Case(1000))
SOURCES = (BASE, Case(sources=10), Case(sources=50))
PIXELS = (BASE, Case(pixels=50))


class Row(NamedTuple):
    """The figures of one case: bytes resident, seconds of wall-clock time and of processor time."""

    resident: int
    start_seconds: float  # until a record of each partition is delivered and committed
    start_cpu: float
    rebalance_seconds: float  # from the second member's start until both have their share
    rebalance_cpu: float  # of both
    idle_cpu: float  # in a minute
    idle_client_cpu: float  # of it, in the client library's threads
    event_cpu: float  # for each event of a backlog
    metrics_cpu: float  # for each answer
    metrics_bytes: int
    status_cpu: float
    status_bytes: int


def measured(stack: Stack, events: Events, case: Case, folder: Path) -> Row:
    """Measure one case, on topics of its own."""
    topics, group = case.topics, new_group()
    for topic, partitions in topics.items():
        make(stack.broker, topic, partitions)
    try:
        return _of(stack, events, case, group, folder)
    finally:
        stack.broker.admin.delete_topics(list(topics))


def _of(stack: Stack, events: Events, case: Case, group: str, folder: Path) -> Row:
    topics, sent = case.topics, max(case.partitions, case.pixels)

    def all_done() -> bool:
        return (
            stack.endpoint.events() >= sent
            and sum(offset for topic in topics for offset, _ in stack.broker.committed(group, topic).values()) >= sent
        )

    produce(stack.broker, events, topics, sent, case.pixels)
    stack.endpoint.reset()
    with running(stack, group, topics, case.pixels, folder, "first") as member:
        member.until(all_done, "the first event of each partition")
        start_seconds, start_cpu = time.monotonic() - member.begun, member.cpu()
        stack.endpoint.reset(latency=LATENCY)
        before, sent = member.cpu(), _EVENTS
        produce(stack.broker, events, topics, sent, case.pixels, run=_RUN)
        member.until(lambda: stack.endpoint.events() >= sent, "a backlog")
        event_cpu = (member.cpu() - before) / sent
        stack.endpoint.reset()
        time.sleep(_SETTLE_SECONDS)
        resident = member.resident()
        idle, client = _idle(member)
        metrics, status = (_page(member, path, idle) for path in ("/metrics", "/status"))
        rebalance = _rebalance(stack, case, group, member, folder)
    return Row(resident, start_seconds, start_cpu, *rebalance, 60 * idle, 60 * client, event_cpu, *metrics, *status)


def _idle(member: Member) -> tuple[float, float]:
    """Processor seconds in a second without events: of the whole process, and of the client library's threads."""
    begun, cpu, client = time.monotonic(), member.cpu(), member.client_cpu()
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - begun
    return (member.cpu() - cpu) / seconds, (member.client_cpu() - client) / seconds


def _page(member: Member, path: str, idle: float) -> tuple[float, int]:
    """Processor seconds for one answer, and its bytes."""
    begun, before, size = time.monotonic(), member.cpu(), 0
    for _ in range(_LOOKS):
        size = len(member.get(path))
    cpu = member.cpu() - before - idle * (time.monotonic() - begun)
    return max(0.0, cpu) / _LOOKS, size


def _rebalance(stack: Stack, case: Case, group: str, first: Member, folder: Path) -> tuple[float, float]:
    """A second member joins: wall-clock seconds and both members' processor seconds until both have their share."""
    before = first.cpu()
    shares = {case.partitions // 2, case.partitions - case.partitions // 2}

    with running(stack, group, case.topics, case.pixels, folder, "second") as second:

        def both_have_theirs() -> bool:
            theirs = first.partitions, second.partitions
            if case.partitions == 1:
                return first.partitions == 1 and second.idles
            return None not in theirs and set(theirs) <= shares and sum(one or 0 for one in theirs) == case.partitions

        second.until(both_have_theirs, "a share for each of two members")
        return time.monotonic() - second.begun, first.cpu() - before + second.cpu()
