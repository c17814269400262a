"""Single records, looked at without a trace: no group is joined, no offset is committed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.config.settings import Kafka
from stream_capi.errors import ConfigurationError, KafkaLost, Unavailable
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.faults import error_of
from stream_capi.kafka.properties import consumer_properties
from stream_capi.model import TopicPartition

_SECONDS = 15.0
_BUFFERED_BYTES = 8 << 20
_OF_A_MEMBER = ("group.instance.id", "group.protocol", "partition.assignment.strategy")


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
    found = _read(kafka, {tp: offset}, {tp: end}, 1)
    if not found or found[0].offset() != offset:
        later = f"; the next one is {found[0].offset()}" if found else ""
        raise ConfigurationError([f"--offset: {tp} has no record there, compacted or a transaction's mark{later}"])
    return found[0]


def latest_records(kafka: Kafka, topic: str, count: int) -> list[Message]:
    """The newest records of a topic by their timestamps, oldest first. Raises Unavailable, KafkaLost."""
    admin = KafkaAdmin(kafka)
    first, end = admin.beginning_offsets([topic]), admin.end_offsets([topic])
    starts = {tp: max(first[tp], at - count) for tp, at in end.items() if at > first[tp]}
    found = _read(kafka, starts, {tp: end[tp] for tp in starts}, None) if starts else []
    return sorted(found, key=lambda message: (message.timestamp()[1], message.partition(), message.offset()))[-count:]


def _read(
    kafka: Kafka, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], most: int | None
) -> list[Message]:
    """Read from the starts up to the ends, ``most`` records at most."""
    consumer = Consumer(_properties(kafka))
    left = set(starts)
    found: list[Message] = []
    deadline = time.monotonic() + _SECONDS
    try:
        consumer.assign([ClientPartition(*tp, offset) for tp, offset in starts.items()])
        while left and (most is None or len(found) < most):
            if time.monotonic() > deadline:
                raise Unavailable(f"kafka: {kafka.bootstrap_servers} gave no records within {_SECONDS:g} s")
            for message in consumer.consume(100, 0.2):
                tp = TopicPartition(message.topic() or "", message.partition() or 0)
                if _is_end(message):
                    left.discard(tp)
                elif (message.offset() or 0) < ends[tp]:
                    found.append(message)
                if (message.offset() or 0) >= ends[tp] - 1:
                    left.discard(tp)
    except KafkaException as error:
        raise KafkaLost(f"kafka: {error_of(error).str()}") from None
    finally:
        consumer.close()
    return found


def _is_end(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaLost(f"kafka: {message.topic()}[{message.partition()}] can't be read: {error.str()}")


def _properties(kafka: Kafka) -> dict[str, Any]:
    properties = consumer_properties(kafka, _BUFFERED_BYTES)
    return {name: value for name, value in properties.items() if name not in _OF_A_MEMBER} | {
        "group.id": f"{kafka.group_id}.peek-{uuid4().hex[:8]}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
