"""The simulated broker as a group with several members has it: who owns a partition, and topics that are made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.core.offset_metadata import topic_id_of
from stream_capi.model import TopicPartition
from tests.proof.world.events import NOTHING_TO_DO, Event, ModelRecord
from tests.simulated_broker import Log, SimulatedBroker

if TYPE_CHECKING:
    from tests.proof.world.ledger import Ledger


class Coordinator(SimulatedBroker):
    """The group's coordinator and the leaders of all partitions."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(lambda record: record.event.kind in NOTHING_TO_DO or ledger.has_outcome(record.event))
        self.ids: dict[str, str] = {}
        self.owners: dict[TopicPartition, Any] = {}
        self.commit_fault: int | None = None  # a KafkaError code with which every commit fails
        self.silent = False  # commits are stored but never answered
        # Partitions whose committed offset is of the former log: an owner that reads it has to stop.
        self.tainted: set[TopicPartition] = set()

    def make_topic(self, topic: str, topic_id: str, partitions: int) -> None:
        """Create or recreate a topic: a new id, empty logs, and no committed offsets."""
        self.ids[topic] = topic_id
        for number in range(partitions):
            tp = TopicPartition(topic, number)
            self.logs[tp] = Log(topic_id)
            self.store.pop(tp, None)
            self.begun.pop(tp, None)
            self.tainted.discard(tp)

    def append(self, tp: TopicPartition, kind: str, schema: str, gap: int, time_ms: int) -> Event:
        log = self.logs[tp]
        event = Event(tp.topic, log.topic_id, tp.partition, log.end, kind, schema)
        log.append(ModelRecord(event, time_ms), gap)
        return event

    def commit(self, member: Any, offsets: list[ClientPartition]) -> KafkaError | None:
        """Store a commit as a broker does, from any current member. Assert that the member owns the partition."""
        if member.evicted:
            return KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
        if self.commit_fault is not None:
            return KafkaError(self.commit_fault)
        for at in offsets:
            owner = self.owners.get(TopicPartition(at.topic, at.partition))
            assert owner is member, f"{at}: {member} commits it, but it belongs to {owner}"
            self.take(at)
        return None

    def check(self, tp: TopicPartition, offset: int, metadata: str) -> None:
        if topic_id_of(metadata) != self.logs[tp].topic_id:
            # The member doesn't know yet that the topic was recreated. The broker stores the commit nevertheless, but no
            # member may go on from it until an operator has reset it (``tainted``).
            self.tainted.add(tp)
            return
        assert tp not in self.tainted, f"{tp}: its owner goes on from the offset of another log"
        super().check(tp, offset, metadata)
