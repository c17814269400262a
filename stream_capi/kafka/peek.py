"""Single records, looked at without a trace: no group is joined, no offset is committed."""

from __future__ import annotations

from confluent_kafka import Message

from stream_capi.config.settings import Kafka
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import Range
from stream_capi.kafka.scan import scan
from stream_capi.model import TopicPartition


def record_at(kafka: Kafka, topic: str, partition: int, offset: int) -> Message:
    """The record at an offset. Raises ConfigurationError where there is none, Unavailable, KafkaLost."""
    admin, tp = KafkaAdmin(kafka), TopicPartition(topic, partition)
    count = len(admin.partitions([topic]))
    if partition >= count:
        raise ConfigurationError([f"--partition: {topic} has partitions 0 to {count - 1}"])
    first, end = admin.beginning_offsets([topic])[tp], admin.end_offsets([topic])[tp]
    if not first <= offset < end:
        there = f"has the offsets {first} to {end - 1}" if first < end else "is empty"
        raise ConfigurationError([f"--offset: {tp} {there}"])
    found = list(scan(kafka, {tp: Range(offset, end)}, each=1))
    if not found or found[0].offset() != offset:
        later = f"; the next one is {found[0].offset()}" if found else ""
        raise ConfigurationError([f"--offset: {tp} has no record there, compacted or a transaction's mark{later}"])
    return found[0]


def latest_records(kafka: Kafka, topic: str, count: int) -> list[Message]:
    """The newest records of a topic by their timestamps, oldest first. Raises Unavailable, KafkaLost."""
    admin = KafkaAdmin(kafka)
    first, end = admin.beginning_offsets([topic]), admin.end_offsets([topic])
    found = list(scan(kafka, {tp: Range(max(first[tp], at - count), at) for tp, at in end.items()}))
    return sorted(found, key=lambda message: (message.timestamp()[1], message.partition(), message.offset()))[-count:]
