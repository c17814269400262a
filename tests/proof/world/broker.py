"""The simulated broker: logs, committed offsets and owners of partitions. Every commit is checked when it arrives."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.core.offset_metadata import METADATA_LIMIT, Ranges, decode_outcomes, topic_id_of
from stream_capi.model import TopicPartition
from tests.proof.world.events import NOTHING_TO_DO, Event, ModelRecord

if TYPE_CHECKING:
    from tests.proof.world.ledger import Ledger


class Log:
    """One partition's log, as long as its topic exists. There are gaps between offsets, as in real logs."""

    def __init__(self, topic_id: str) -> None:
        self.topic_id = topic_id
        self.records: list[ModelRecord] = []
        self.low = 0
        self.end = 0

    def append(self, record: ModelRecord, gap: int) -> None:
        self.records.append(record)
        self.end = record.event.offset + 1 + gap

    def read(self, position: int, count: int) -> list[ModelRecord]:
        first = bisect_left(self.records, position, key=lambda record: record.event.offset)
        return self.records[first : first + count]

    def drop_before(self, offset: int) -> None:
        """Delete the records before an offset, as retention does."""
        self.low = max(self.low, offset)


class Broker:
    """The group's coordinator and the leaders of all partitions."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.ids: dict[str, str] = {}
        self.logs: dict[TopicPartition, Log] = {}
        self.store: dict[TopicPartition, tuple[int, str]] = {}
        self.owners: dict[TopicPartition, Any] = {}
        self.commit_fault: int | None = None  # a KafkaError code with which every commit fails
        self.silent = False  # commits are stored but never answered
        # Where reading started in a partition without a committed offset: what retention deleted before that is not lost.
        self.begun: dict[TopicPartition, int] = {}
        # Partitions whose committed offset is of the former log: an owner that reads it has to stop.
        self.tainted: set[TopicPartition] = set()
        self.commits = 0

    def make_topic(self, topic: str, topic_id: str, partitions: int) -> None:
        """Create or recreate a topic: a new id, empty logs, and no committed offsets."""
        self.ids[topic] = topic_id
        for number in range(partitions):
            tp = TopicPartition(topic, number)
            self.logs[tp] = Log(topic_id)
            self.store.pop(tp, None)
            self.begun.pop(tp, None)
            self.tainted.discard(tp)

    def place(self, tp: TopicPartition) -> tuple[int, str]:
        """Where a new owner of the partition starts to read, and the committed metadata."""
        if tp not in self.store:
            self.begun[tp] = self.logs[tp].low
        return self.store.get(tp, (self.logs[tp].low, ""))

    def append(self, tp: TopicPartition, kind: str, schema: str, gap: int, time_ms: int) -> Event:
        log = self.logs[tp]
        event = Event(tp.topic, log.topic_id, tp.partition, log.end, kind, schema)
        log.append(ModelRecord(event, time_ms), gap)
        return event

    # Commits: the promise is checked here

    def commit(self, member: Any, offsets: list[ClientPartition]) -> KafkaError | None:
        """Store a commit as a broker does, from any current member. Assert that the member owns the partition."""
        if member.evicted:
            return KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
        if self.commit_fault is not None:
            return KafkaError(self.commit_fault)
        for at in offsets:
            self._take(member, TopicPartition(at.topic, at.partition), at.offset, at.metadata or "")
        return None

    def _take(self, member: Any, tp: TopicPartition, offset: int, metadata: str) -> None:
        self.commits += 1
        log = self.logs[tp]
        owner = self.owners.get(tp)
        assert owner is member, f"{tp}: {member} commits {offset}, but it belongs to {owner}"
        assert len(metadata.encode()) <= METADATA_LIMIT, f"{tp}: {len(metadata)} bytes of metadata"
        if topic_id_of(metadata) != log.topic_id:
            # The member doesn't know yet that the topic was recreated. The broker stores the commit nevertheless, but no
            # member may go on from it until an operator has reset it (``tainted``).
            self.tainted.add(tp)
            self.store[tp] = (offset, metadata)
            return
        assert tp not in self.tainted, f"{tp}: {member} goes on from the offset of another log"
        before = self.store.get(tp, (self.begun.get(tp, 0), ""))[0]
        assert offset >= before, f"{tp}: {member} goes back from {before} to {offset}"
        settled = decode_outcomes(metadata, offset, log.topic_id)
        self._nothing_is_passed(tp, log, before, offset, settled)
        self.store[tp] = (offset, metadata)

    def _nothing_is_passed(self, tp: TopicPartition, log: Log, before: int, offset: int, settled: Ranges) -> None:
        for first, last in ((before, offset), *((of.first, of.last) for of in settled)):
            for record in log.read(first, last - first):
                event = record.event
                if event.offset >= last:
                    break
                done = event.kind in NOTHING_TO_DO or self.ledger.has_outcome(event)
                assert done, f"{tp}: a commit of {offset} claims the open event {event.id} at {event.offset}"

    @property
    def lag(self) -> int:
        """How many records the group has not committed."""
        return sum(len(log.read(self.store.get(tp, (log.low, ""))[0], 10**9)) for tp, log in self.logs.items())
