"""The pipeline between Kafka and the endpoint: assignment, commits and hand-overs.

Its edges are in ``ports``. Kafka's side calls ``assigned``, ``fetched``, ``revoke``, ``lost`` and ``committed``, all on the
event loop's thread; the pipeline answers through ``Intake``. Every event has one of three terminal outcomes: delivered,
dead-lettered, or skipped on purpose and counted. An event without one stays open in its partition's ``PartitionOffsets``, and
no commit passes it.

The steps of an event are in the modules beside this one: ``mapper``, ``delivery``, ``rejected``, ``dead_letter_tasks``.
``backpressure`` decides which partitions are read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from stream_capi.core.batch import Batch
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.offset_metadata import decode_outcomes, resolved_since, topic_id_of
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.remembered import Remembered, united
from stream_capi.model import (
    Answer,
    Code,
    Commit,
    CommitResult,
    Committed,
    DeadLetter,
    Lane,
    Record,
    Records,
    TopicPartition,
)
from stream_capi.pipeline.backpressure import Backpressure
from stream_capi.pipeline.dead_letter_tasks import DeadLetterTasks
from stream_capi.pipeline.delivery import Clock, Delivery
from stream_capi.pipeline.delivery_rules import DeliveryRules
from stream_capi.pipeline.mapper import Mapper
from stream_capi.pipeline.partition import Partition, Waiting
from stream_capi.pipeline.ports import DeadLetters, Intake, Observer
from stream_capi.pipeline.rejected import Quarantine
from stream_capi.pipeline.source import Source

_METADATA_TOO_LARGE = "OFFSET_METADATA_TOO_LARGE"  # the client's name of the broker's answer


class Pipeline:
    """Reads, maps and delivers events, and decides what may be committed."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        lanes: Iterable[Lane],
        rules: DeliveryRules,
        post: Callable[[Batch], Awaitable[Answer]],
        intake: Intake,
        dead_letters: DeadLetters,
        observer: Observer,
        clock: Clock,
        max_buffered_bytes: int,
    ) -> None:
        self.delivery = Delivery(rules, lanes, post, self._on_delivered, self._on_refused, observer, clock)
        self.clocks = self.delivery.clocks
        self.partitions: dict[TopicPartition, Partition] = {}
        self.stopping = False
        self._last_commits: dict[TopicPartition, Commit] = {}  # of a stop, until the broker has confirmed them
        self._sources = sources
        self._intake = intake
        self._observer = observer
        self._clock = clock
        self._remembered = Remembered()
        budget, in_flight = max_buffered_bytes, rules.max_in_flight
        self.backpressure = Backpressure(self.partitions, self.delivery, intake, budget, in_flight)
        regulate = self.backpressure.regulate
        self._dead_letters = DeadLetterTasks(dead_letters, observer, self._start, regulate)
        write, ratio = self._dead_letters.write, rules.max_dead_letter_ratio
        self.quarantine = Quarantine(ratio, self.clocks, clock.now, observer, write, self._map_again)
        self._mapper = Mapper(self.delivery, self.quarantine, observer, clock, rules.max_bytes, self._start, regulate)
        self._commit_under_way = False
        self._blocked: set[TopicPartition] = set()  # by events that are paused, as reported
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Run until cancelled. An exception out of here is a bug: nothing under way is committed."""
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self.delivery.run())
            await asyncio.get_running_loop().create_future()

    def _start(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None  # noqa: S101 -- records come only while the pipeline runs
        return self._group.create_task(what)

    # Kafka's side: assignment and records

    def assigned(self, committed: Sequence[Committed], topic_ids: Mapping[str, str]) -> None:
        """Partitions were assigned; ``topic_ids`` are those that the broker gives."""
        for at in committed:
            tp = TopicPartition(at.topic, at.partition)
            topic_id = topic_ids.get(at.topic, "")
            resolved_before = decode_outcomes(at.metadata, at.offset, topic_id)
            if topic_id and topic_id_of(at.metadata) == topic_id:  # otherwise no member has committed this offset
                resolved_before = united(resolved_before, self._remembered.recall(*tp, topic_id, at.offset))
            self._remembered.forget(*tp)
            since = resolved_since(at.metadata, at.offset, topic_id)
            since = at.offset if since is None else since  # another tool has set the offset, or it was never committed
            offsets = PartitionOffsets(
                at.topic, at.partition, at.epoch, at.offset, resolved_before, at.leader_epoch, since
            )
            self.partitions[tp] = partition = Partition(tp, self._sources[at.topic], offsets, topic_id)
            if at.metadata and topic_id_of(at.metadata) not in ("", topic_id) and topic_id:
                self.stop_partition(tp, HeldReason.TOPIC_RECREATED)
            partition.committed = (at.offset, at.metadata) if at.was_committed else None
            if partition.source.paused:
                self.backpressure.regulate(partition)
        self.backpressure.count_all()

    def fetched(self, chunks: Sequence[Records]) -> None:
        """Take in what was fetched. A chunk of an assignment that has ended is passed over: its next owner reads it."""
        for chunk in chunks:
            partition = self.partitions.get(TopicPartition(chunk.topic, chunk.partition))
            if partition is None or partition.offsets.epoch != chunk.epoch or partition.stopped or self.stopping:
                continue
            if partition.source.paused:  # fetched before the pause took effect; it is read again after the pause
                continue
            try:
                self._mapper.take(partition, chunk)
            except Exception:
                self._observer.chunk_failed(partition.tp, chunk.columns.offsets[0], chunk.columns.offsets[-1])
                raise
            self.backpressure.regulate(partition)
        self.backpressure.chunks_taken()

    def _map_again(self, partition: Partition, records: list[Record]) -> None:
        self._mapper.map_again(partition, records)

    # Outcomes

    def _on_delivered(self, batch: Batch) -> None:
        self._observer.delivered(batch.lane, batch.timestamps, int(self._clock.epoch() * 1000))
        for owner, offsets in batch.offsets_by_owner():
            owner.resolve_all(offsets)
            if partition := self.partitions.get(TopicPartition(owner.topic, owner.partition)):
                self.backpressure.regulate(partition)
        self.backpressure.grant_credits()

    def _on_refused(self, batch: Batch, reason: str) -> None:
        """Events that the API refused one by one."""
        for owner, record in zip(batch.owners, batch.records, strict=True):
            partition = self.partitions.get(TopicPartition(owner.topic, owner.partition))
            if partition is not None and partition.offsets is owner:
                said = f"; {batch.said}" if batch.said else ""
                detail = f"the API answered {reason} to this event alone{said}"
                self._dead_letters.write(partition, [DeadLetter(record, Code.REFUSED, detail, batch.attempts)])

    def regulate(self) -> None:
        """Pause and resume partitions by the memory in use and the state of their lanes. Call it a few times a second."""
        for of, offset in self.clocks.news():
            self._observer.clock_differs(of, offset)
        self.quarantine.review()
        self.backpressure.regulate_all()
        self._report_blocked()

    def _report_blocked(self) -> None:
        blocked = {tp for tp, partition in self.partitions.items() if partition.is_blocked_by_pause}
        for tp in sorted(blocked - self._blocked):
            self._observer.pause_blocks(tp)
        self._blocked = blocked

    def stop_partition(self, tp: TopicPartition, reason: HeldReason) -> None:
        """Stop a partition until a person acts: nothing more is read from it or committed for it."""
        partition = self.partitions.get(tp)
        if partition is not None and not partition.stopped:
            partition.stopped = reason
            self._observer.partition_stopped(tp, reason)
            self.backpressure.regulate(partition)

    def watermarks(self, high: Mapping[TopicPartition, int]) -> None:
        """The partitions' high watermarks, as last fetched."""
        for tp, offset in high.items():
            if partition := self.partitions.get(tp):
                partition.high = offset

    # Commits and hand-overs

    def commit(self) -> None:
        """Commit the partitions that have moved, one commit at a time, so that none can overtake another."""
        if self._commit_under_way:
            return
        commits = self._commits(self.partitions.values())
        if commits:
            self._commit_under_way = True
            self._intake.commit(commits)

    def _commits(self, partitions: Iterable[Partition]) -> list[Commit]:
        commits = []
        for partition in partitions:
            offsets = partition.offsets
            # Unless one of these has changed, nothing has.
            state = offsets.position, offsets.unresolved, partition.committed
            if partition.stopped or partition.nothing_to_commit_at == state:
                continue
            metadata = offsets.outcomes_beyond(partition.metadata_limit, partition.topic_id)
            if partition.committed == (offsets.watermark, metadata):
                partition.nothing_to_commit_at = state
            else:
                commit = Commit(*partition.tp, offsets.epoch, offsets.watermark, metadata, offsets.leader_epoch)
                commits.append(commit)
        return commits

    def committed(self, results: Sequence[CommitResult]) -> None:
        """The commit under way has ended. Partitions that failed are committed again with the next one."""
        self._commit_under_way = False
        for commit, error in results:
            self._observer.commit("ok" if error is None else error)
            if error in (None, "fenced"):  # a fenced one has another owner
                self._last_commits.pop(TopicPartition(commit.topic, commit.partition), None)
            partition = self.partitions.get(TopicPartition(commit.topic, commit.partition))
            if error is None and partition is not None and partition.offsets.epoch == commit.epoch:
                partition.committed = (commit.offset, commit.metadata)
                partition.offsets.forget_epochs(commit.offset)
            elif error == _METADATA_TOO_LARGE and partition is not None:
                # This broker takes less than the default (offset.metadata.max.bytes). Repeated as it is, the commit would
                # fail for as long as the outcomes beyond the watermark are many.
                partition.metadata_limit = len(commit.metadata) // 2

    async def revoke(self, partitions: Sequence[TopicPartition], seconds: float) -> list[Commit]:
        """Await what is in flight of these partitions, then say what to commit.

        Fenced first: what has not been sent is for the next owner to send, however much of it was read ahead, and the whole
        group waits until this ends. Late results resolve objects that nobody commits from any more.
        """
        leaving = [self.partitions[tp] for tp in partitions if tp in self.partitions]
        self._fence(leaving)
        # After a shutdown's drain only what went out at its end is left to wait for; the rest of the time is the commit's.
        await self._drain(leaving, self._clock.now() + (seconds / 2 if self.stopping else seconds))
        commits = self._commits(leaving)
        self.lost(partitions)
        return commits

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """The partitions may have another owner already: fence them, commit nothing."""
        leaving = [partition for tp in partitions if (partition := self.partitions.pop(tp, None))]
        if self.stopping:
            self._last_commits |= {TopicPartition(*commit[:2]): commit for commit in self._commits(leaving)}
        for partition in leaving:
            if not partition.stopped:
                self._remembered.keep(partition.offsets, partition.topic_id, partition.acknowledged)
            for task in partition.dead_letters:  # the next owner writes them; these might wait for a topic without end
                task.cancel()
        self.backpressure.count_all()
        self._fence(leaving)

    def _fence(self, leaving: Sequence[Partition]) -> None:
        for partition in leaving:
            partition.offsets.fenced = True
        # Otherwise each hand-over would leave its share of the memory, while the registry is down or a source is held.
        self.delivery.forget_fenced()
        self._mapper.forget_fenced()
        self.quarantine.forget_fenced()

    async def drain(self, seconds: float) -> bool:
        """Before the end: send the open batches that may go now, and await what is in flight. False where some was cut off.

        What was read ahead and what waits for a slot, a backoff or a held pixel is the next owner's: a stop under a lag of
        millions takes as long as one under none.
        """
        self.stopping = True
        partitions, deadline = list(self.partitions.values()), self._clock.now() + seconds
        self.delivery.send_open()
        self._fence(partitions)
        return await self._drain(partitions, deadline)

    async def _drain(self, leaving: Sequence[Partition], deadline: float) -> bool:
        """Await requests and dead letters under way. False where a request was not answered in time."""
        owners = {partition.offsets for partition in leaving}
        whole = await self.delivery.drain(lambda batch: not owners.isdisjoint(batch.assignments), deadline)
        dead_letters = [task for partition in leaving for task in partition.dead_letters]
        if dead_letters:
            await asyncio.wait(dead_letters, timeout=max(0.0, deadline - self._clock.now()))
        return whole

    @property
    def unconfirmed(self) -> list[Commit]:
        """The commits that a stop still owes: the broker has not confirmed them, or they could not be sent."""
        return [*self._last_commits.values(), *self._commits(self.partitions.values())]

    @property
    def unresolved(self) -> int:
        """Events that were read and have no outcome yet."""
        return sum(partition.offsets.unresolved for partition in self.partitions.values())

    @property
    def buffered_bytes(self) -> int:
        """What the open events of all partitions keep in memory, in bytes."""
        return self.backpressure.buffered_bytes

    # For status and metrics

    @property
    def clock(self) -> Clock:
        """The clock that its moments are of."""
        return self._clock

    @property
    def quarantined(self) -> Iterator[tuple[Partition, DeadLetter]]:
        """The rejected events that wait because there are too many of them."""
        return iter(self.quarantine)

    @property
    def quarantined_since(self) -> Mapping[str, float]:
        """When each source's hold for too many rejected events began, by its name."""
        return self.quarantine.since

    @property
    def waiting_schemas(self) -> Counter[str]:
        """How many schemas each topic waits for."""
        return self._mapper.waiting_schemas

    def source(self, topic: str) -> Source:
        """The source of a topic."""
        return self._sources[topic]

    @property
    def without_schema(self) -> Iterator[Waiting]:
        """The runs whose schema isn't known yet."""
        return self._mapper.without_schema
