"""A sink that records what the consumer's thread hands over and in which order, and lets a test commit."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, Producer

from stream_capi.config.settings import KafkaSection
from stream_capi.core.held_reason import HeldReason
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.kafka.properties import consumer_properties
from stream_capi.kafka.read_policy import WholeLog
from stream_capi.model import Commit, CommitResult, Committed, Records, TopicPartition

BUDGET = 64 * 1_048_576
# Shorter than the defaults that make tests wait. Only with the classic protocol does the member choose the session.
QUICK: Mapping[str, Any] = {"topic.metadata.refresh.interval.ms": 1000, "reconnect.backoff.max.ms": 500}
CLASSIC: Mapping[str, Any] = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "range": {**CLASSIC, "partition.assignment.strategy": "range"},
    "cooperative-sticky": CLASSIC,
    "consumer": {"group.protocol": "consumer"},
}


class RecordedEvents:
    """Records what the thread reports for the logs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def kafka(self, event: str, **details: object) -> None:
        self.lines.append((event, details))

    def count(self, event: str) -> int:
        return sum(line[0] == event for line in self.lines)


class Member:
    """A member of the group in a test's event loop, and its own sink. It leaves the group when its context ends.

    Every record counts as resolved at once, but the member commits only when told to. A revocation waits until ``drain`` is
    set.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        properties: Mapping[str, Any],
        start: str = "earliest",
        revoke_seconds: float = 10.0,
    ) -> None:
        kafka = KafkaSection(bootstrap_servers=bootstrap, group_id=group, properties={**QUICK, **properties})
        self.reported = RecordedEvents()
        self.ids = KafkaAdmin(kafka)
        self.thread = ConsumerThread(
            consumer_properties(kafka, BUDGET),
            WholeLog(topics, start),
            self.ids.topic_ids,
            self.reported,
            revoke_seconds,
        )
        self.granting = True
        self.most: int | None = None  # most records of the next chunk
        self.chunks: list[int] = []  # number of records of each chunk
        self.metadata = ""
        self.drain = asyncio.Event()
        self.drain.set()
        self.revoking = asyncio.Event()  # a revocation has begun
        self.assignments: dict[TopicPartition, Committed] = {}
        self.every_assignment: list[Committed] = []
        self.positions: dict[TopicPartition, int] = {}
        self.offsets: dict[TopicPartition, list[int]] = defaultdict(list)
        self.values: dict[TopicPartition, list[bytes]] = defaultdict(list)
        self.leader_epochs: dict[TopicPartition, int] = {}  # of the record before each position
        self.strays = 0
        self.results: list[CommitResult] = []
        self.high: dict[TopicPartition, int] = {}
        self.stopped: dict[TopicPartition, HeldReason] = {}
        self.revoked: list[TopicPartition] = []
        self.lost_partitions: list[TopicPartition] = []
        self.topic_ids: dict[str, str] = {}
        self.on_loop = threading.get_ident()

    async def __aenter__(self) -> Self:
        self.ended = self.thread.start(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self.ended.done():
            await self.thread.stop(30)

    # The sink

    def assigned(self, committed: Sequence[Committed], topic_ids: Mapping[str, str]) -> None:
        self._here()
        self.topic_ids.update(topic_ids)
        for at in committed:
            tp = TopicPartition(at.topic, at.partition)
            self.assignments[tp] = at
            self.every_assignment.append(at)
            self.positions[tp] = at.offset
            self.leader_epochs[tp] = at.leader_epoch

    def fetched(self, chunks: Sequence[Records]) -> None:
        self._here()
        self.chunks += [len(chunk.records) for chunk in chunks]
        for chunk in chunks:
            tp = TopicPartition(chunk.topic, chunk.partition)
            at = self.assignments.get(tp)
            if at is None or at.epoch != chunk.epoch:
                self.strays += len(chunk.records)
                continue
            for record in chunk.records:
                offset = record.offset()
                # The tests' topics have no gaps, so a skipped or repeated record is found at once.
                assert offset == self.positions[tp], f"{tp}: {offset} after {self.positions[tp]}"
                self.positions[tp] = offset + 1
                self.offsets[tp].append(offset)
                self.values[tp].append(record.value() or b"")
            self.leader_epochs[tp] = chunk.leader_epochs[-1][1]
        if self.granting:
            self.thread.grant_credit(self.most)

    def committed(self, results: Sequence[CommitResult]) -> None:
        self._here()
        self.results += results

    def watermarks(self, high: Mapping[TopicPartition, int]) -> None:
        self._here()
        self.high.update(high)

    def stop_partition(self, tp: TopicPartition, reason: HeldReason) -> None:
        self._here()
        self.stopped[tp] = reason
        self.thread.pause([tp])

    async def revoke(self, partitions: Sequence[TopicPartition], seconds: float) -> list[Commit]:
        self._here()
        self.revoking.set()
        try:
            async with asyncio.timeout(seconds):
                await self.drain.wait()
        except TimeoutError:
            pass
        commits = [self.commit_of(tp) for tp in partitions if tp in self.assignments]
        self.revoked += partitions
        for tp in partitions:
            self.assignments.pop(tp, None)
        return commits

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._here()
        self.lost_partitions += partitions
        for tp in partitions:
            self.assignments.pop(tp, None)

    def _here(self) -> None:
        assert threading.get_ident() == self.on_loop, "the sink is called on the event loop only"

    # For tests

    def commit_of(self, tp: TopicPartition) -> Commit:
        return Commit(*tp, self.assignments[tp].epoch, self.positions[tp], self.metadata, self.leader_epochs[tp])

    def commit(self) -> None:
        self.thread.commit([self.commit_of(tp) for tp in self.assignments])

    @property
    def read(self) -> int:
        return sum(map(len, self.offsets.values()))


def produce(bootstrap: str, topic: str, partition: int, values: Iterable[bytes]) -> None:
    """Produce to one partition, and wait until the broker has it all."""
    ends: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=lambda error, _: ends.append(error))
    assert producer.flush(30) == 0
    assert not any(ends)


def numbered(count: int, first: int = 0) -> list[bytes]:
    """Values that are numbered in order."""
    return [b"%d" % number for number in range(first, first + count)]
