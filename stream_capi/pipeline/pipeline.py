"""The one loop between Kafka and the endpoint: what is read, what is decided, what may be committed.

Its edges are in ``ports``. Kafka's side calls ``assigned``, ``fetched``, ``revoke``, ``lost`` and ``committed``, all
on the event loop's thread; the pipeline answers through ``Intake``. Every event takes one of three ways to its terminal
outcome: delivered, written to the dead letters, or skipped on purpose and counted. Whatever has none stays open in its
partition's ``PartitionOffsets``, and no commit passes it.

Over 400 lines: taking in, pausing, writing dead letters and hand-overs all read and change the same partitions, and call one
another. What has a state of its own is beside it: ``partition``, ``quarantine``, ``lookups``, ``delivery``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import add
from typing import Any

from stream_capi.avro.framing import Run, SchemaKey, Unframed
from stream_capi.core.batch import ENVELOPE_BYTES, Batch
from stream_capi.core.offset_metadata import decode_outcomes, topic_id_of
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.remembered import Remembered, united
from stream_capi.errors import StreamCapiError
from stream_capi.model import (
    Answer,
    Code,
    Columns,
    Commit,
    CommitResult,
    Committed,
    DeadLetter,
    Lane,
    Record,
    Records,
    Rejection,
    Routed,
    Skipped,
    TopicPartition,
    Transformed,
    internal_error,
)
from stream_capi.pipeline.delivery import Clock, Delivery
from stream_capi.pipeline.delivery_rules import DeliveryRules
from stream_capi.pipeline.lookups import Lookups
from stream_capi.pipeline.partition import Partition, Waiting
from stream_capi.pipeline.ports import DeadLetters, Intake, Observer
from stream_capi.pipeline.rejected import Quarantine
from stream_capi.pipeline.source import Codec, Source
from stream_capi.record_headers import header_bytes

_LOG_APPEND_TIME = 2  # the type of a timestamp that the broker gave
_METADATA_TOO_LARGE = "OFFSET_METADATA_TOO_LARGE"  # the client's name of the broker's answer


class Pipeline:
    """Reads, maps, delivers and says what may be committed."""

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
        self._rules = rules
        self._intake = intake
        self._dead_letters = dead_letters
        self._observer = observer
        self._clock = clock
        self.budget = max_buffered_bytes  # for open events
        self._remembered = Remembered()
        self.quarantine = Quarantine(
            sources, rules.max_dead_letter_ratio, self.clocks, clock.now, observer, self._write, self._map_again
        )
        self._waiting: dict[tuple[str, SchemaKey], list[Waiting]] = {}
        self._lookups = Lookups(self._start, self._on_schema, observer, clock.random)
        self._commit_under_way = False
        self._credits = 0  # for chunks taken in, not granted yet: more is ready than can be sent soon
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
            if (
                topic_id and topic_id_of(at.metadata) == topic_id
            ):  # else the offset is not one that a member has committed
                resolved_before = united(resolved_before, self._remembered.recall(*tp, topic_id, at.offset))
            self._remembered.forget(*tp)
            offsets = PartitionOffsets(at.topic, at.partition, at.epoch, at.offset, resolved_before, at.leader_epoch)
            self.partitions[tp] = partition = Partition(tp, self._sources[at.topic], offsets, topic_id)
            if at.metadata and topic_id_of(at.metadata) not in ("", topic_id) and topic_id:
                self.stop_partition(tp, "topic_made_anew")
            partition.committed = (at.offset, at.metadata) if at.was_committed else None

    def fetched(self, chunks: Sequence[Records]) -> None:
        """Take in what was fetched. A chunk of an assignment that has ended is passed over: its next owner reads it."""
        for chunk in chunks:
            partition = self.partitions.get(TopicPartition(chunk.topic, chunk.partition))
            if partition is None or partition.offsets.epoch != chunk.epoch or partition.stopped or self.stopping:
                continue
            try:
                self._take(partition, chunk)
            except Exception:
                self._observer.chunk_failed(partition.tp, chunk.columns.offsets[0], chunk.columns.offsets[-1])
                raise
            self._regulate(partition)
        self._credits += 1
        self._grant_credits()

    def _take(self, partition: Partition, chunk: Records) -> None:
        topic, offsets = partition.tp.topic, partition.offsets
        columns, values = chunk.columns, chunk.values
        self._observer.consumed(topic, len(values))
        kind, stamped = columns.records[-1].timestamp()
        if kind == _LOG_APPEND_TIME:
            self.clocks.brokers_stamped(stamped)
        end = columns.offsets[-1] + 1
        if offsets.resolved_before:
            known = map(offsets.was_resolved_before, columns.offsets, chunk.each_leader_epoch())
            kept = [at for at, is_known in enumerate(known) if not is_known]
            columns, values = self._keep(kept, columns, values, topic, "outcome_known")
        if not all(values):  # an empty value stays: it is no tombstone
            kept = [at for at, value in enumerate(values) if value is not None]
            columns, values = self._keep(kept, columns, values, topic, "tombstone")
        whole: list[bytes] = values  # type: ignore[assignment]  # those that are None are gone
        sizes = list(map(len, whole))
        if headers := header_bytes(columns.records):
            sizes = list(map(add, sizes, headers))
        offsets.track(columns.offsets, sizes, end, chunk.leader_epochs)
        if whole:
            self._map(partition, columns, whole)

    def _keep(
        self, kept: Sequence[int], columns: Columns, values: list[bytes | None], topic: str, reason: str
    ) -> tuple[Columns, list[bytes | None]]:
        """What is at these indexes; the rest is skipped for ``reason``."""
        if len(kept) < len(values):
            self._observer.skipped(topic, reason, len(values) - len(kept))
            return columns.pick(kept), [values[at] for at in kept]
        return columns, values

    def _map(self, partition: Partition, columns: Columns, values: Sequence[bytes]) -> None:
        source = partition.source
        for run in source.frame(columns.records, values):
            if isinstance(run, Unframed):
                self._route(partition, columns.cut(run.index, run.index + 1), [run.rejection])
                continue
            of_run = columns.cut(run.start, run.start + len(run.payloads))
            key = (source.topic, run.key)
            codec = source.codec(run.key) if key not in self._waiting else None
            if codec is None:
                self._wait_for_schema(partition, run, of_run)
            else:
                self._transform(partition, codec, run, of_run)

    def _map_again(self, partition: Partition, records: list[Record]) -> None:
        self._map(partition, Columns.of(records), [record.value() or b"" for record in records])

    def _transform(self, partition: Partition, codec: Codec | Rejection, run: Run, columns: Columns) -> None:
        if isinstance(codec, Rejection):
            self._route(partition, columns, [codec] * len(columns.records))
            return
        now_ms, known = self.clocks.event_now()
        mapped = partition.source.transform(codec, run.payloads, partition.tp.partition, columns.offsets, now_ms)
        if not known:
            self._by_their_own_time(partition, codec, run, columns, mapped, now_ms)
        self._route(partition, columns, mapped)

    def _by_their_own_time(
        self, partition: Partition, codec: Codec, run: Run, columns: Columns, mapped: list[Transformed], now_ms: int
    ) -> None:
        """The endpoint has told no time yet: in the future is what is ahead of the local clock and of its record's time."""
        for at, result in enumerate(mapped):
            written = columns.timestamps[at]
            if isinstance(result, Rejection) and result.code is Code.IN_FUTURE and written > now_ms:
                (mapped[at],) = partition.source.transform(
                    codec, [run.payloads[at]], partition.tp.partition, [columns.offsets[at]], written
                )

    # From what was mapped to lanes, dead letters and skips

    def _route(self, partition: Partition, columns: Columns, mapped: Sequence[Transformed]) -> None:
        source = partition.source
        if source.lane is not None and set(map(type, mapped)) == {bytes}:
            payloads: Sequence[bytes] = mapped  # type: ignore[assignment]  # just shown by the line above
            if max(map(len, payloads)) + ENVELOPE_BYTES + 1 <= self._rules.max_bytes:
                self.quarantine.passed(source.topic, len(payloads))
                self.delivery.add(source.lane, payloads, columns, partition.offsets, source.window)
                return
        rejected: list[tuple[Record, Rejection]] = []
        lanes: dict[Lane, tuple[list[bytes], list[int]]] = {}
        for at, (record, result) in enumerate(zip(columns.records, mapped, strict=True)):
            if isinstance(result, Skipped):
                self._observer.skipped(source.topic, result.reason, 1)
                partition.offsets.resolve(columns.offsets[at])
                continue
            if isinstance(result, Rejection):
                rejected.append((record, result))
                continue
            lane, payload = (result.lane, result.payload) if isinstance(result, Routed) else (source.lane, result)
            if len(payload) + ENVELOPE_BYTES + 1 > self._rules.max_bytes:
                rejected.append((record, Rejection(Code.TOO_LARGE, "the event alone is larger than batch.max_bytes")))
                continue
            assert lane is not None  # noqa: S101 -- bytes come only from a source with one lane
            of_lane, places = lanes.setdefault(lane, ([], []))
            of_lane.append(payload)
            places.append(at)
        for lane, (of_lane, places) in lanes.items():
            self.quarantine.passed(source.topic, len(of_lane))
            self.delivery.add(lane, of_lane, columns.pick(places), partition.offsets, source.window)
        if rejected:
            self._report_internal(partition, rejected)
            letters = [DeadLetter(record, rejection.code, rejection.detail) for record, rejection in rejected]
            self.quarantine.reject(partition, letters)

    def _report_internal(self, partition: Partition, rejected: Iterable[tuple[Record, Rejection]]) -> None:
        """Report the first of the faults that nobody foresaw; each has its dead letter."""
        for record, rejection in rejected:
            if rejection.code is Code.INTERNAL_ERROR:
                self._observer.internal_error(partition.tp, record.offset() or 0, rejection.detail)
                return

    def _on_delivered(self, batch: Batch) -> None:
        self._observer.delivered(batch.lane, batch.timestamps, int(self._clock.epoch() * 1000))
        for owner in batch.assignments:
            if len(batch.assignments) == 1:
                owner.resolve_all(batch.offsets)
            else:
                owner.resolve_all(at for at, of in zip(batch.offsets, batch.owners, strict=True) if of is owner)
            if partition := self.partitions.get(TopicPartition(owner.topic, owner.partition)):
                self._regulate(partition)
        self._grant_credits()

    def _on_refused(self, batch: Batch, reason: str) -> None:
        """Events that the API refused one by one."""
        for owner, record in zip(batch.owners, batch.records, strict=True):
            partition = self.partitions.get(TopicPartition(owner.topic, owner.partition))
            if partition is not None and partition.offsets is owner:
                detail = f"the API answered {reason} to this event alone"
                self._write(partition, [DeadLetter(record, Code.REFUSED, detail, batch.attempts)])

    def _write(self, partition: Partition, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            task = self._start(self._write_one(partition, letter))
            partition.letters[task] = letter
            task.add_done_callback(partition.letters.pop)

    async def _write_one(self, partition: Partition, letter: DeadLetter) -> None:
        try:
            await self._dead_letters.write(letter)
        except (MemoryError, StreamCapiError):
            raise
        except Exception as error:  # a record that can't be written as it came is written by reference
            why = internal_error(error)
            self._report_internal(partition, [(letter.record, why)])
            letter = DeadLetter(letter.record, why.code, why.detail, letter.attempts, place_only=True)
            await self._dead_letters.write(letter)
        partition.offsets.resolve(letter.record.offset() or 0)
        self._observer.dead_lettered(partition.tp.topic, letter.code.value)
        self._regulate(partition)

    # Schemas that aren't known yet

    def _wait_for_schema(self, partition: Partition, run: Run, columns: Columns) -> None:
        key = (partition.source.topic, run.key)
        if key not in self._waiting:
            self._waiting[key] = []
            self._lookups.want(partition.source, run.key)
        self._waiting[key].append(Waiting(partition, run, columns))
        partition.waiting_runs += 1

    def _on_schema(self, source: Source, key: SchemaKey, codec: Codec | Rejection) -> None:
        """There is an answer: go on with the runs that waited for it."""
        for partition, run, columns in self._waiting.pop((source.topic, key), ()):
            partition.waiting_runs -= 1
            if not partition.offsets.fenced:
                self._transform(partition, codec, run, columns)
                self._regulate(partition)

    # Flow: who may be read from

    def regulate(self) -> None:
        """Pause and resume every partition as its memory and its lane ask for. To be called a few times a second."""
        for of, offset in self.clocks.news():
            self._observer.clock_differs(of, offset)
        self.quarantine.review()
        in_use = self.buffered_bytes  # once for all: for each of a thousand partitions it would be a million additions
        for partition in self.partitions.values():
            self._regulate(partition, in_use)
        # Whatever the lanes that are read for look like: a slow one fills the memory that it may have then,
        # its partitions are paused, and it is waited for no more.
        self._grant_credits(at_least=1)

    def _grant_credits(self, at_least: int = 0) -> None:
        """Let the next chunks come, but not before what is ready can be sent soon.

        Were they taken as fast as they come, every partition would be read until its memory is full and paused, which
        throws away what was prefetched, again and again; and each event would wait where no cache holds it any more. What
        is ready bridges the milliseconds until the next chunk comes, in which few of the slots can fall free.
        """
        enough = max(2, self._rules.max_in_flight // 4)
        while self._credits and (at_least > 0 or self._ready_batches() < enough):
            at_least -= 1
            self._credits -= 1
            self._intake.grant_credit(self._most())

    def _most(self) -> int | None:
        """How many records the next chunk may have: no more than a share holds, while nothing but shares is left.

        A partition is paused only behind a chunk. Of a hundred partitions each could bring one as large as the client
        likes, and together they would be many times the budget.
        """
        in_use = self.buffered_bytes
        if in_use < self.budget // 2:
            return None
        events = sum(partition.offsets.unresolved for partition in self.partitions.values())
        return max(1, self._share() * events // in_use)

    def _ready_batches(self) -> int:
        """Batches that wait for a slot, of the lanes that are read for."""
        lanes = {partition.source.lane for partition in self.partitions.values() if not partition.paused}
        lines = self.delivery.lanes.values()
        return sum(len(line.ready) for line in lines if line.lane in lanes or None in lanes)

    def _regulate(self, partition: Partition, in_use: int | None = None) -> None:
        """Pause and resume, as the memory in use and the partition's lane ask for."""
        if self.partitions.get(partition.tp) is not partition:
            return
        pause = bool(partition.stopped) or self._is_full(partition, in_use) or self._lane_rests(partition)
        if pause != partition.paused:
            partition.paused = pause
            (self._intake.pause if pause else self._intake.resume)([partition.tp])

    def _is_full(self, partition: Partition, in_use: int | None) -> bool:
        """Whether the partition is to take no more memory, of which ``in_use`` bytes are taken; None: to be asked.

        Half of the budget is for whoever comes first: were it all in shares, a member of many partitions would pause each
        one after every chunk. The other half is in shares, which nobody else can take: one partition that stands still
        may fill the first, and leaves the others theirs. The gaps between the marks of pausing and of resuming are there
        because each pause throws away what was prefetched.
        """
        common, share = self.budget // 2, self._share()
        if partition.paused:
            common, share = common * 3 // 4, share // 2
        return partition.buffered_bytes >= share and (self.buffered_bytes if in_use is None else in_use) >= common

    def _share(self) -> int:
        """A partition's share of the half of the budget that is in shares, in bytes."""
        return max(self.budget // 2 // len(self.partitions), 1)

    def _lane_rests(self, partition: Partition) -> bool:
        """Whether all that this partition brings would only wait for a held pixel, which has something to probe with."""
        lane = partition.source.lane
        line = self.delivery.lanes.get(lane) if lane else None
        return line is not None and line.held and line.has_probe

    def stop_partition(self, tp: TopicPartition, reason: str) -> None:
        """This partition can't go on without a person: nothing more is read from it or committed for it."""
        partition = self.partitions.get(tp)
        if partition is not None and not partition.stopped:
            partition.stopped = reason
            self._observer.partition_stopped(tp, reason)
            self._regulate(partition)

    def watermarks(self, high: Mapping[TopicPartition, int]) -> None:
        """The partitions' high watermarks, as last fetched."""
        for tp, offset in high.items():
            if partition := self.partitions.get(tp):
                partition.high = offset

    # Commits and hand-overs

    def commit(self) -> None:
        """Commit what has moved, one commit under way at a time, so that none can overtake another."""
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
            metadata = offsets.outcomes_beyond(partition.metadata_limit, partition.topic_id)
            if not partition.stopped and partition.committed != (offsets.watermark, metadata):
                commit = Commit(*partition.tp, offsets.epoch, offsets.watermark, metadata, offsets.leader_epoch)
                commits.append(commit)
        return commits

    def committed(self, results: Sequence[CommitResult]) -> None:
        """How the commit under way ended. What failed is committed again with the next one."""
        self._commit_under_way = False
        for commit, error in results:
            self._observer.commit("ok" if error is None else error)
            if error in (None, "fenced"):  # a fenced one is the business of another owner
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
            for task in partition.letters:  # the next owner writes them; these might wait for a topic without end
                task.cancel()
        self._fence(leaving)

    def _fence(self, leaving: Sequence[Partition]) -> None:
        for partition in leaving:
            partition.offsets.fenced = True
        self.delivery.forget_fenced()
        self._forget_fenced()

    def _forget_fenced(self) -> None:
        """Otherwise each hand-over would leave its share here, while the registry is down or a source is held."""
        for (topic, key), waiting in list(self._waiting.items()):
            if live := [one for one in waiting if not one.partition.offsets.fenced]:
                self._waiting[topic, key] = live
            else:
                del self._waiting[topic, key]
                self._lookups.forget(self._sources[topic], key)
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
        letters = [task for partition in leaving for task in partition.letters]
        if letters:
            await asyncio.wait(letters, timeout=max(0.0, deadline - self._clock.now()))
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
        return sum(partition.buffered_bytes for partition in self.partitions.values())

    # For whoever looks in from outside

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
        """When each source's hold for too many rejected events began."""
        return self.quarantine.since

    @property
    def waiting_schemas(self) -> Counter[str]:
        """How many schemas each topic waits for."""
        return Counter(topic for topic, _ in self._waiting)

    def source(self, topic: str) -> Source:
        """The source of a topic."""
        return self._sources[topic]

    @property
    def without_schema(self) -> Iterator[Waiting]:
        """The runs whose schema isn't known yet."""
        return chain.from_iterable(self._waiting.values())
