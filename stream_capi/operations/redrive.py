"""Redrive dead letters: send their events through the pipeline again (contract, section 2).

The pipeline tracks a dead letter by its offset in the dead-letter topic. For the mapping, for an id that is derived from a
place, and for a new dead letter it is the event at its source. Its outcome: delivered, skipped by a rule of its source, or a
new dead letter at the end of the topic.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from stream_capi.app import App
from stream_capi.config import Settings
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.errors import StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.originals import Originals, Place
from stream_capi.kafka.ranges import Range
from stream_capi.model import Commit, CommitResult, DeadLetter, Record, TopicPartition, place_of
from stream_capi.operations import range_job
from stream_capi.operations.dead_letters import (
    MOST_OTHERS,
    Picked,
    Redriven,
    StoredDeadLetter,
    StoredDeadLetters,
    first,
)
from stream_capi.operations.range_job import Progress, RangeJob, Tally
from stream_capi.operations.redrive_source import DeadLetterSource, Event
from stream_capi.pipeline.ports import DeadLetters, Intake
from stream_capi.pipeline.source import Source

log = structlog.get_logger("stream_capi")

NOTHING = Tally(0, 0, {}, {})  # where no dead letter was left
_COMMIT_MS = 200  # what was not kept before a kill is sent again, so little of it


class RedrivePlan(NamedTuple):
    """Which dead letters to redrive. ``without_source`` counts those whose topic has no source, by topic.

    ``paused`` counts those whose source or pixel is paused by configuration.
    """

    group: str
    redriven: Redriven
    wanted: Sequence[StoredDeadLetter]
    without_source: Mapping[str, int]
    paused: Mapping[str, int]


def group_of(settings: Settings) -> str:
    """The group that a redrive runs in. Outcomes are kept in other groups, named after this one."""
    return f"{settings.kafka.group_id}.redrive"


def plan(
    settings: Settings, known: StoredDeadLetters, redriven: Redriven, picked: Picked, limit: int | None
) -> RedrivePlan:
    """Pick the dead letters that were not redriven yet, the oldest first."""
    topics = {source.topic for source in settings.sources}
    left = [stored for stored in known.found if picked(stored) and stored not in redriven]
    paused = Counter(stored.kind.topic for stored in left if settings.has_paused(stored.kind.topic))
    left = [stored for stored in left if stored.kind.topic not in paused]
    strange = Counter(stored.kind.topic for stored in left if stored.kind.topic not in topics)
    wanted = first((stored for stored in left if stored.kind.topic in topics), limit)
    without_source = dict(strange.most_common(MOST_OTHERS))
    if rest := strange.total() - sum(without_source.values()):
        without_source["other-topics"] = rest
    return RedrivePlan(group_of(settings), redriven, wanted, without_source, paused)


class _DeadLetterCommits:
    """Stands in for the consumer's commits: each dead letter is committed by itself, not how far the topic was read."""

    def __init__(self, consumer: Intake) -> None:
        self.pause = consumer.pause
        self.resume = consumer.resume
        self.grant_credit = consumer.grant_credit
        self.asked: Sequence[Commit] = ()  # the last commits that were asked for, until they are answered

    def commit(self, commits: Sequence[Commit]) -> None:
        self.asked = commits


class _RepeatedDeadLetters:
    """Writes dead letters of events that failed again, with their source's place and the attempts of all runs."""

    def __init__(self, writer: DeadLetters) -> None:
        self._writer = writer

    async def write(self, dead_letter: DeadLetter) -> None:
        event = dead_letter.record
        assert isinstance(event, Event)  # noqa: S101 -- nothing else comes from this intake
        attempts = event.dead_letter.attempts + max(1, dead_letter.attempts)
        by_reference = event.dead_letter.by_reference
        await self._writer.write(
            DeadLetter(event.original, dead_letter.code, dead_letter.detail, attempts, by_reference)
        )


class Redrive(RangeJob):
    """The dead letters of a plan on their way."""

    def __init__(self, settings: Settings, planned: RedrivePlan, rate: float, show: Callable[[Progress], None]) -> None:
        self._settings = settings
        self._redriven = planned.redriven
        self._wanted = {(stored.at, stored.offset): stored for stored in planned.wanted}
        self._open: dict[TopicPartition, list[StoredDeadLetter]] = defaultdict(list)
        for stored in sorted(planned.wanted, key=lambda one: (one.at, one.offset)):
            self._open[stored.at].append(stored)
        self._originals = Originals(settings.kafka)
        self._reading = asyncio.Lock()
        self._trackers: dict[TopicPartition, PartitionOffsets] = {}
        ranges = {tp: Range(of_one[0].offset, of_one[-1].offset + 1) for tp, of_one in self._open.items()}
        super().__init__(ranges, rate, show, self._event_of)

    @property
    def starts(self) -> dict[TopicPartition, int]:
        """Where reading begins."""
        return {tp: of_one.start for tp, of_one in self._ranges.items()}

    @property
    def left(self) -> int:
        """How many dead letters have no outcome yet, or none that is kept."""
        return sum(map(len, self._open.values()))

    # For the app

    def intake(self, consumer: Intake) -> Intake:
        self._commits = _DeadLetterCommits(consumer)
        return self._commits

    def sources(self, sources: Mapping[str, Source]) -> Mapping[str, Source]:
        topic = self._settings.dead_letter.topic
        dead_letters = {(tp.partition, offset): stored for (tp, offset), stored in self._wanted.items()}
        return {
            topic: DeadLetterSource(topic, sources, dead_letters, self._settings.batch.window_ms / 1000, self._read)
        }

    def dead_letters(self, writer: DeadLetters) -> DeadLetters:
        return _RepeatedDeadLetters(writer)

    def _event_of(self, record: Record) -> Record | None:
        """On the consumer's thread: dead letters that are not wanted are passed over."""
        stored = self._wanted.get((place_of(record), record.offset() or 0))
        if stored is None:
            return None
        return Event(record, b"" if stored.by_reference else record.value(), stored)

    async def _read(self, places: Sequence[Place]) -> Mapping[Place, Record]:
        async with self._reading:
            return await asyncio.to_thread(self._originals.read, places)

    async def close(self) -> None:
        """End the client that has read the events of dead letters by reference."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.to_thread(self._originals.close)

    async def look(self, app: App) -> None:
        await super().look(app)
        self._trackers |= {tp: partition.offsets for tp, partition in app.pipeline.partitions.items()}
        if self._commits.asked:
            error = await self.keep()
            asked, self._commits.asked = self._commits.asked, ()
            app.pipeline.committed([CommitResult(commit, error) for commit in asked])

    async def keep(self) -> str | None:
        """Commit the outcomes that there are. Returns why that failed, or None."""
        for tp, tracker in self._trackers.items():
            settled = [one for one in self._open[tp] if _is_settled(tracker, one.offset)]
            if settled:
                for stored in settled:
                    self._redriven.add(stored)
                self._open[tp] = [one for one in self._open[tp] if not _is_settled(tracker, one.offset)]
        try:
            await asyncio.to_thread(self._redriven.keep)
        except StreamCapiError as error:
            log.warning("the offsets of redriven dead letters can't be committed; trying again", reason=str(error))
            return "not_kept"
        return None

    def progress(self, app: App) -> Progress:
        """Where it is now, in dead letters."""
        tally = self.tally(app)
        dead, total = sum(tally.dead_lettered.values()), len(self._wanted)
        done = min(total, tally.delivered + dead + sum(tally.skipped.values()))
        return Progress(total, done, tally.delivered, dead, range_job.waits(app), app.stop_asked.is_set())


def _is_settled(tracker: PartitionOffsets, offset: int) -> bool:
    return tracker.start <= offset < tracker.position and not tracker.is_open(offset)


class Ledger(NamedTuple):
    """What became of the dead letters that were wanted."""

    dead_letters: int
    tally: Tally
    left: int

    @property
    def holds(self) -> bool:
        """Whether each of them has an outcome, and all of those are kept."""
        return self.left == 0 and self.tally.holds and self.tally.read == self.dead_letters


async def run(
    settings: Settings,
    environ: Mapping[str, str],
    admin: KafkaAdmin,
    planned: RedrivePlan,
    rate: float,
    show: Callable[[Progress], None],
) -> tuple[int, Ledger]:
    """Redrive the dead letters of a plan, which must have some. Returns the app's exit code and the ledger.

    Raises CheckFailed while another run is at it, Unavailable, KafkaLost, ConfigurationError.
    """
    work = Redrive(settings, planned, rate, show)
    admin.reset(planned.group, work.starts)
    try:
        code, tally = await range_job.run(work, _settings_for(settings, planned), environ)
    finally:
        await work.close()
    if error := await work.keep():  # the last outcomes came in while it stopped
        log.error("the last redriven dead letters were not committed, and will be redriven again", reason=error)
    return code, Ledger(len(planned.wanted), tally, work.left)


def _settings_for(settings: Settings, planned: RedrivePlan) -> Settings:
    """Settings without the ratio guard: events that fail again are dead letters already, so holding them gains nothing."""
    own = range_job.settings_for(settings, planned.group, sorted({stored.kind.topic for stored in planned.wanted}))
    splits = max(settings.delivery.max_split_requests, 2 * settings.batch.max_events)
    commit_ms = min(settings.kafka.commit_interval_ms, _COMMIT_MS)
    return own.model_copy(
        update={
            "kafka": own.kafka.model_copy(update={"commit_interval_ms": commit_ms}),
            "dead_letter": own.dead_letter.model_copy(update={"max_ratio": 1.0}),
            "sources": tuple(source.model_copy(update={"max_ratio": None}) for source in own.sources),
            "delivery": own.delivery.model_copy(update={"max_split_requests": splits}),
        }
    )
