"""Deliver ranges again with the parts of a member, up to their ends: what ``replay`` and ``redrive`` share.

A job has its own consumer group. The group's offsets are where the next run goes on. Its membership keeps two runs of the
same work apart: after a kill, Kafka waits for the session time-out before the next run can begin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stream_capi import last_resort, limits
from stream_capi.app import App, stop_on_signals
from stream_capi.config import Settings
from stream_capi.errors import CheckFailed, StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.range_policy import Adapt, RangePolicy
from stream_capi.kafka.ranges import Range
from stream_capi.model import TopicPartition
from stream_capi.observe.what_to_do import what_to_do
from stream_capi.pipeline.ports import DeadLetters, Intake
from stream_capi.pipeline.source import Source

_LOOK_SECONDS = 0.1
_FREE_SECONDS = 60.0  # how long a next run waits for that; by the newer protocol the session is the broker's to say


class Progress(NamedTuple):
    """Where a job is. ``total`` and ``done`` are in the job's own units; ``waits`` says what keeps it, if anything does."""

    total: int
    done: int
    delivered: int
    dead_lettered: int
    waits: tuple[str, ...]
    stopping: bool


class Tally(NamedTuple):
    """What became of the records that one run has read."""

    read: int
    delivered: int
    dead_lettered: Mapping[str, int]
    skipped: Mapping[str, int]

    @property
    def holds(self) -> bool:
        """Whether every one of them is accounted for."""
        return self.read == self.delivered + sum(self.dead_lettered.values()) + sum(self.skipped.values())


class RangeJob:
    """Delivers the records of ranges, none of which is empty. ``show`` is called a few times a second."""

    def __init__(
        self,
        ranges: Mapping[TopicPartition, Range],
        rate: float,
        show: Callable[[Progress], None],
        adapt: Adapt | None = None,
    ) -> None:
        self.policy = RangePolicy(ranges, rate, adapt)
        self._ranges = ranges
        self._show = show
        self._left: set[TopicPartition] = set(ranges)
        self._stopped: dict[TopicPartition, str] = {}

    # For the app

    def intake(self, consumer: Intake) -> Intake:
        return consumer

    def sources(self, sources: Mapping[str, Source]) -> Mapping[str, Source]:
        return sources

    def dead_letters(self, writer: DeadLetters) -> DeadLetters:
        return writer

    async def watch(self, app: App) -> None:
        while True:  # also while it stops, which may take its time
            await self.look(app)
            self._show(self.progress(app))
            if self._stopped or not self._left:
                app.stop_asked.set()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self, app: App) -> None:
        """See what is at its end. Called a few times a second, on the event loop."""
        for tp, partition in app.pipeline.partitions.items():
            offsets, end = partition.offsets, self._ranges[tp].end
            if self.policy.reached.get(tp) == offsets.epoch and offsets.position < end:
                offsets.track((), (), end)  # all that was left of the range are gaps
            if partition.committed is not None and partition.committed[0] >= end:
                self._left.discard(tp)
            if partition.stopped:
                self._stopped[tp] = partition.stopped

    # For the command

    def progress(self, app: App) -> Progress:
        """Where it is now, in records of this run."""
        raise NotImplementedError

    def tally(self, app: App) -> Tally:
        """What became of the records of this run."""
        metrics = app.metrics
        return Tally(
            metrics.consumed_counts.total(),
            metrics.delivered_counts.total(),
            _by_last(metrics.dead_letter_counts),
            _by_last(metrics.skipped_counts),
        )

    @property
    def fault(self) -> StreamCapiError | None:
        """Why it can't go on without a person; None where it can."""
        reasons = [f"{tp} is stopped: {reason}. {what_to_do(reason)}" for tp, reason in sorted(self._stopped.items())]
        return StreamCapiError("\n".join(reasons)) if reasons else None


def _by_last(counts: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    """Counts by their last label."""
    found: dict[str, int] = {}
    for labels, count in sorted(counts.items()):
        found[labels[-1]] = found.get(labels[-1], 0) + count
    return found


def waits(app: App) -> tuple[str, ...]:
    """What keeps the line from going on, a sentence each."""
    held = [f"{one.subject} is held: {one.reason}. {what_to_do(one.reason)}" for one in app.health.held()]
    noticed = [f"{one['subject']}: {one['reason']}. {one['what_to_do']}" for one in app.health.notices()]
    return tuple(held + noticed)


async def run(job: RangeJob, settings: Settings, environ: Mapping[str, str]) -> tuple[int, Tally]:
    """Run a job to its end or until a signal. Returns the app's exit code and what became of the records.

    Raises KafkaLost, ConfigurationError, and StreamCapiError where a partition waits for a person.
    """
    limits.probe()
    app = App(settings, environ, job)
    stop_on_signals(app)
    code = await app.run()
    last_resort.disarm()  # what comes now has deadlines of its own
    if job.fault is not None:
        raise job.fault
    return code, job.tally(app)


def settings_for(settings: Settings, group: str, topics: Sequence[str]) -> Settings:
    """The settings of a job: its own group, the sources of these topics, and no static member of the live one."""
    kafka = settings.kafka
    properties = {name: value for name, value in kafka.properties.items() if name != "group.instance.id"}
    return settings.model_copy(
        update={
            "kafka": kafka.model_copy(update={"group_id": group, "properties": properties}),
            "sources": tuple(source for source in settings.sources if source.topic in topics),
        }
    )


def await_alone(admin: KafkaAdmin, group: str, report: Callable[[str], None], seconds: float = _FREE_SECONDS) -> None:
    """Wait until no other run has members in the group. Raises CheckFailed, Unavailable, KafkaLost."""
    deadline = time.monotonic() + seconds
    reported = False
    while members := admin.group_members(group).members:
        names = ", ".join(map(str, members))
        if time.monotonic() > deadline:
            raise CheckFailed(f"this is already being run, by {names} in group {group}: let it end, or stop it")
        if not reported:
            reported = True
            report(f"waiting for {names} in group {group}: Kafka removes a run that was killed within a minute")
        time.sleep(0.5)
