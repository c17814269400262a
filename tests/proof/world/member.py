"""One member of the group: the real pipeline, with a coroutine that simulates the consumer's thread.

It follows the thread's rules: commands are executed in order between two fetches, at most a few chunks wait to be mapped,
a pause drops what was prefetched, and during a revocation the thread does nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.core.batch import Batch
from stream_capi.core.flow import Backoff, Gate
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.offset_metadata import Ranges, decode_outcomes
from stream_capi.kafka.commits import Commits
from stream_capi.model import Answer, Code, Commit, CommitResult, Committed, DeadLetter, Records, TopicPartition
from stream_capi.pipeline.delivery import Clock
from stream_capi.pipeline.delivery_rules import DeliveryRules
from stream_capi.pipeline.pipeline import Pipeline
from tests.proof.world.events import MAX_BYTES, Event, ModelSource
from tests.proof.world.simulated_endpoint import MAX_EVENTS

if TYPE_CHECKING:
    from tests.proof.world.world import World

CHUNK = 25
BUDGET = 200_000  # bytes, for about 170 events
MAX_IN_FLIGHT = 5
MAX_SPLIT_REQUESTS = 12  # too few if every event of a full batch is refused, enough for one with some poison
PROBE_SECONDS = 30.0
_MAX_CHUNKS_AHEAD = 3
EPOCH_SECONDS = 1_800_000_000.0


class Member:
    """A process of the program, from its start to its end or crash."""

    def __init__(self, world: World, name: str, seed: int) -> None:
        self.world = world
        self.name = name
        self.rng = Random(seed)
        self.evicted = False  # the group has removed it, but it may not know yet
        self.stopped = False
        self.in_flight = 0
        self.probed: dict[str, float] = {}  # by pixel: when it was last probed while held
        self.pauses: dict[str, tuple[float, float]] = {}  # by pixel: start and end of its pause
        # The whole batch in which each event was last sent, before any split.
        self._sent_in: dict[str, Batch] = {}
        loop = asyncio.get_running_loop()
        clock = Clock(loop.time, lambda: EPOCH_SECONDS + loop.time(), self.rng.random)
        sources: dict[str, Any] = {
            topic: ModelSource(topic, lane, world.registry, asyncio.sleep) for topic, lane in world.lanes.items()
        }
        rules = DeliveryRules(
            max_events=MAX_EVENTS,
            max_bytes=MAX_BYTES,
            max_in_flight=MAX_IN_FLIGHT,
            backoff=Backoff(0.5, 60.0),
            max_split_requests=MAX_SPLIT_REQUESTS,
            probe_seconds=PROBE_SECONDS,
            max_dead_letter_ratio=0.5,
        )
        self.pipeline = Pipeline(
            sources, world.lanes.values(), rules, self._post, self, self, _Watcher(self), clock, BUDGET
        )
        # The consumer's thread
        self.owned: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.settled: dict[TopicPartition, set[int]] = {}
        self.most_share: dict[TopicPartition, int] = {}
        self._epoch = 0
        self._known_epoch = 0
        self._commands: deque[Callable[[], None]] = deque()
        self._chunks_ahead = 0
        self._most = CHUNK
        self._resting = False
        self._revoking = False
        self._call_soon = loop.call_soon
        self._client: Any = _Client(self)
        self._commits = Commits(self._owns, lambda results: self._call(self.pipeline.committed, results), loop.time)
        self.tasks = [
            loop.create_task(self.pipeline.run()),
            loop.create_task(self._poll()),
            loop.create_task(self._watch_topics()),
        ]

    def __repr__(self) -> str:
        return self.name

    @property
    def serving(self) -> bool:
        """Whether it is a member of the group."""
        return not self.stopped and not self.evicted

    # What the pipeline talks to

    async def _post(self, batch: Batch) -> Answer:
        self.in_flight += 1
        assert self.in_flight <= MAX_IN_FLIGHT, f"{self.name}: {self.in_flight} requests at once"
        self._pause_is_kept(batch.lane.pixel)
        self._is_no_probe_too_many(batch.lane.pixel)
        if batch.split is None:
            self._sent_in |= {record.event.id: batch for record in batch.records}  # type: ignore[attr-defined]
        try:
            answer = await self.world.endpoint.post(batch.lane.pixel, batch.body())
        finally:
            self.in_flight -= 1
        if answer.retry_after is not None:
            now = asyncio.get_running_loop().time()
            asked = self.pauses.get(batch.lane.pixel, (now, now))
            self.pauses[batch.lane.pixel] = min(asked[0], now), max(asked[1], now + float(answer.retry_after))
        return answer

    def _pause_is_kept(self, pixel: str) -> None:
        """Assert that no request of a pixel is sent before the end of the pause that the API asked for."""
        now = asyncio.get_running_loop().time()
        asked_at, until = self.pauses.get(pixel, (now, 0.0))
        assert now >= until or now == asked_at, (
            f"{self.name}: {pixel} was to wait until {until:.1f}, and sends at {now:.1f}"
        )
        if now >= until:
            self.pauses.pop(pixel, None)

    def _is_no_probe_too_many(self, pixel: str) -> None:
        """Assert that a held pixel gets at most one request per probe interval."""
        now, gate = asyncio.get_running_loop().time(), self.pipeline.delivery.pixel_gates[pixel]
        if gate.held and now > gate.since:  # a request at the moment of the hold counts as before it
            before = self.probed.get(pixel, gate.since)
            before = before if before < 0 else max(before, gate.since)  # below 0: a changed key, which is tried at once
            assert now >= before + PROBE_SECONDS - 0.001, (
                f"{self.name}: {pixel} is held, and probed at {before} and {now}"
            )
            self.probed[pixel] = now

    def _is_judged_whole(self, event: Event) -> None:
        """Assert that a refused event is dead-lettered only once all of its batch are decided: so the fault is its own."""
        batch = self._sent_in[event.id]
        for owner, record in zip(batch.owners, batch.records, strict=True):
            other: Event = record.event  # type: ignore[attr-defined]
            ledger = self.world.ledger
            decided = owner.fenced or other.id in ledger.answered or other.id in ledger.refused_alone
            assert decided, f"{event.id} is dead-lettered while {other.id} of its batch is not decided"

    async def write(self, dead_letter: DeadLetter) -> None:
        """Write to the dead-letter topic. A cancelled write may succeed nevertheless."""
        event: Event = dead_letter.record.event  # type: ignore[attr-defined]  # every record of this world has one
        if dead_letter.code is Code.REFUSED:
            self._is_judged_whole(event)
        try:
            await self.world.dead_letters_open.wait()
            await asyncio.sleep(self.rng.uniform(0.0, self.world.dead_letter_seconds))
        except asyncio.CancelledError:
            if self.rng.random() < 0.2:
                self.world.ledger.wrote(event, dead_letter.code)
            raise
        self.world.ledger.wrote(event, dead_letter.code)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        known = self._known_epoch
        self._commands.append(lambda: self.paused.update(self._meant(partitions, known)))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        known = self._known_epoch
        self._commands.append(lambda: self._resume(self._meant(partitions, known)))

    def commit(self, commits: Sequence[Commit]) -> None:
        self._commands.append(lambda: self._commits.send(self._client, commits))

    def grant_credit(self, most: int | None) -> None:
        self._chunks_ahead -= 1
        self._most = min(CHUNK, most or CHUNK)

    # The consumer's thread

    def _meant(self, partitions: Sequence[TopicPartition], known: int) -> list[TopicPartition]:
        return [tp for tp in partitions if self.owned.get(tp, known + 1) <= known]

    def _resume(self, partitions: Sequence[TopicPartition]) -> None:
        if not self._resting:
            self.paused.difference_update(partitions)

    def _owns(self, commit: Commit) -> bool:
        return self.owned.get(TopicPartition(commit.topic, commit.partition)) == commit.epoch

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        self._call_soon(self._serve, function, args)

    def _serve(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.stopped:
            return
        try:
            function(*args)
        except Exception as error:
            self.world.faults.append(error)

    async def _poll(self) -> None:
        """Execute commands, fetch, regulate and commit; less often while idle, to keep a simulated day cheap."""
        pace, committed_at = 0.1, 0.0
        while True:
            await asyncio.sleep(pace * self.rng.uniform(0.5, 1.0))
            if self._revoking:
                continue
            busy = bool(self._commands)
            while self._commands:
                self._commands.popleft()()
            self._commits.expire(self._client)
            busy |= self._chunks_ahead < _MAX_CHUNKS_AHEAD and self._fetch()
            self.pipeline.regulate()
            now = asyncio.get_running_loop().time()
            if now - committed_at >= 1.0:
                committed_at = now
                self.pipeline.commit()
            pace = 0.1 if busy else min(pace * 1.5, 3.0)

    def _fetch(self) -> bool:
        chunks: list[Records] = []
        for tp, position in list(self.positions.items()):
            if tp in self.paused:
                continue
            log = self.world.broker.logs[tp]
            if not log.low <= position <= log.end:
                self.paused.add(tp)
                self._call(self.pipeline.stop_partition, tp, HeldReason.OFFSET_OUT_OF_RANGE)
                continue
            records: list[Any] = log.read(position, self.rng.randint(1, self._most))
            if records:
                self.positions[tp] = records[-1].offset() + 1
                for record in records:
                    if record.offset() not in self.settled[tp]:
                        self.world.ledger.handed[record.event.id] += 1
                chunks.append(Records(*tp, self.owned[tp], records))
        if chunks:
            self._chunks_ahead += 1
            self._call(self.pipeline.fetched, chunks)
        return bool(chunks)

    def answer_later(self, error: KafkaError | None, offsets: list[ClientPartition]) -> None:
        """Answer a commit with a later fetch."""
        seconds = self.rng.uniform(0.01, 0.5)
        asyncio.get_running_loop().call_later(seconds, self._answer, error, offsets)

    def _answer(self, error: KafkaError | None, offsets: list[ClientPartition]) -> None:
        self._commands.append(lambda: self._commits.answered(self._client, error, offsets))

    async def _watch_topics(self) -> None:
        """Stop the partitions of a topic whose id has changed, as the program does."""
        while True:
            await asyncio.sleep(5.0)
            for tp, partition in list(self.pipeline.partitions.items()):
                if partition.topic_id != self.world.broker.ids[tp.topic]:
                    self.pipeline.stop_partition(tp, HeldReason.TOPIC_RECREATED)

    # Called by the coordinator

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """The group assigns these partitions to this member."""
        if not partitions:
            return
        self._epoch += 1
        committed: list[Committed] = []
        stopped: list[TopicPartition] = []
        topic_ids = {}
        for tp in partitions:
            log = self.world.broker.logs[tp]
            offset, metadata = self.world.broker.place(tp)
            committed.append(Committed(*tp, self._epoch, offset, metadata, tp in self.world.broker.store))
            topic_ids[tp.topic] = log.topic_id
            self.settled[tp] = _numbers(decode_outcomes(metadata, offset, log.topic_id))
            self.owned[tp], self.positions[tp] = self._epoch, offset
            self.paused.discard(tp)
            self.most_share.pop(tp, None)
            if not log.low <= offset <= log.end:
                stopped.append(tp)
                self.paused.add(tp)
        self._call(self._take_assignment, self._epoch, committed, topic_ids)
        for tp in stopped:
            self._call(self.pipeline.stop_partition, tp, HeldReason.OFFSET_OUT_OF_RANGE)

    def _take_assignment(self, epoch: int, committed: Sequence[Committed], topic_ids: dict[str, str]) -> None:
        self._known_epoch = epoch
        self.pipeline.assigned(committed, topic_ids)

    async def revoked(self, leaving: Sequence[TopicPartition], seconds: float) -> None:
        """The group revokes these partitions, and waits until the member has given them up."""
        if not leaving:
            return
        self._revoking = True
        try:
            commits = await self.pipeline.revoke(leaving, seconds)
            if self.stopped:
                return
            self._commit_within(commits)
        finally:
            self._revoking = False
            self._disown(leaving)

    def _commit_within(self, commits: Sequence[Commit]) -> None:
        """Commit within a revocation, synchronously, as in the client's callback."""
        owned = [commit for commit in commits if self._owns(commit)]
        offsets = [ClientPartition(c.topic, c.partition, c.offset, metadata=c.metadata) for c in owned]
        error = self.world.broker.commit(self, offsets)
        results = [CommitResult(commit, None if error is None else error.name()) for commit in owned]
        self._call(self.pipeline.committed, results)

    def lost(self) -> None:
        """The member learns that the group has removed it."""
        leaving = list(self.owned)
        self._disown(leaving)
        self._call(self.pipeline.lost, leaving)

    def _disown(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self.owned.pop(tp, None)
            self.positions.pop(tp, None)
            self.paused.discard(tp)

    async def stop(self, seconds: float) -> bool:
        """Stop as on SIGTERM: stop reading, drain, and give up all partitions. True if nothing was cut off."""
        self._resting = True
        self.paused.update(self.owned)
        whole = await self.pipeline.drain(seconds * 0.7)
        await self.revoked(list(self.owned), seconds * 0.3)
        self.kill()
        return whole

    def kill(self) -> None:
        """Stop as on SIGKILL. The endpoint still processes what was sent."""
        self.stopped = True
        for task in self.tasks:
            task.cancel()


class _Client:
    """The Kafka client, as ``Commits`` uses it."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def commit(self, *, offsets: list[ClientPartition], asynchronous: bool) -> None:
        assert asynchronous, "nothing here may wait for the broker"
        broker = self._member.world.broker
        error = broker.commit(self._member, offsets)
        if not broker.silent:
            self._member.answer_later(error, offsets)


class _Watcher:
    """The pipeline's observer: counts its reports by name."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self._member.world.reports.update([f"{name} {args[-1]}" if name in _REPORTED else name])

    def gate_changed(self, subject: str, gate: Gate) -> None:
        self._member.world.reports[f"{gate.state.value} {gate.reason}".strip()] += 1


_REPORTED = ("partition_stopped", "intake_held", "hold_over", "commit")


def _numbers(ranges: Ranges) -> set[int]:
    return {offset for first, last, _ in ranges for offset in range(first, last)}
