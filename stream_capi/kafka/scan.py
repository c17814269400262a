"""Reads ranges and single records of topics without a trace: no group is joined, no offset is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import ConfigurationError, KafkaLost, Unavailable
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.client_errors import error_of, made
from stream_capi.kafka.properties import consumer_properties
from stream_capi.kafka.ranges import Range
from stream_capi.model import TopicPartition

_SILENCE_SECONDS = 15.0
_BUFFERED_BYTES = 8 << 20
_OF_A_MEMBER = ("group.instance.id", "group.protocol", "partition.assignment.strategy")
_WINDOW = 64  # offsets before a range's end among which its last record is looked for first


def scan(kafka: KafkaSection, ranges: Mapping[TopicPartition, Range], each: int | None = None) -> Iterator[Message]:
    """The records of the ranges, in offset order within a partition; of each the first ``each`` only, where given.

    Raises Unavailable when the broker falls silent, KafkaLost where a partition can't be read.
    """
    ends = {tp: of_one.end for tp, of_one in ranges.items() if of_one.size}
    if not ends:
        return
    seen = dict.fromkeys(ends, 0)
    consumer = made(Consumer, scan_properties(kafka))
    try:
        consumer.assign([ClientPartition(*tp, ranges[tp].start) for tp in ends])
        for tp, offset, message in messages(kafka, consumer, 500):
            if tp not in ends:
                continue
            is_end = _is_end(message)
            if not is_end and offset < ends[tp]:
                seen[tp] += 1
                yield message
            if is_end or offset >= ends[tp] - 1 or seen[tp] == each:
                del ends[tp]
                if not ends:
                    return
                consumer.pause([ClientPartition(*tp)])
    except KafkaException as error:
        raise KafkaLost(f"kafka: {error_of(error).str()}") from None
    finally:
        consumer.close()


def messages(kafka: KafkaSection, consumer: Consumer, at_once: int) -> Iterator[tuple[TopicPartition, int, Message]]:
    """What the consumer brings, with its place, until the caller has enough. Raises Unavailable when nothing comes."""
    heard = time.monotonic()
    while True:
        found = consumer.consume(at_once, 0.2)
        if found:
            heard = time.monotonic()
        elif time.monotonic() - heard > _SILENCE_SECONDS:
            raise Unavailable(f"kafka: {kafka.bootstrap_servers} gave no records within {_SILENCE_SECONDS:g} s")
        for message in found:
            yield _place(message), message.offset() or 0, message


def spans(kafka: KafkaSection, ranges: Mapping[TopicPartition, Range]) -> dict[TopicPartition, tuple[int, int]]:
    """The times of each range's first and last record, epoch milliseconds; nothing for one without a record."""
    first = {_place(message): message.timestamp()[1] for message in scan(kafka, ranges, each=1)}
    last: dict[TopicPartition, int] = {}
    left = {tp: ranges[tp] for tp in first}
    width = _WINDOW
    while left:
        windows = {tp: Range(max(start, end - width), end) for tp, (start, end) in left.items()}
        for message in scan(kafka, windows):
            last[_place(message)] = message.timestamp()[1]
        left = {tp: Range(left[tp].start, window.start) for tp, window in windows.items() if tp not in last}
        width *= 8  # compaction may have left little
    return {tp: (first[tp], last[tp]) for tp in first}


def record_at(kafka: KafkaSection, topic: str, partition: int, offset: int) -> Message:
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


def latest_records(kafka: KafkaSection, topic: str, count: int) -> list[Message]:
    """The newest records of a topic by their timestamps, oldest first. Raises Unavailable, KafkaLost."""
    admin = KafkaAdmin(kafka)
    first, end = admin.beginning_offsets([topic]), admin.end_offsets([topic])
    found = list(scan(kafka, {tp: Range(max(first[tp], at - count), at) for tp, at in end.items()}))
    return sorted(found, key=lambda message: (message.timestamp()[1], message.partition(), message.offset()))[-count:]


def _place(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0)


def _is_end(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise KafkaLost(f"kafka: {message.topic()}[{message.partition()}] can't be read: {error.str()}")


def scan_properties(kafka: KafkaSection, buffered_bytes: int = _BUFFERED_BYTES) -> dict[str, Any]:
    """A client that leaves no trace: in no group, from where it is told, and told where a log ends."""
    properties = consumer_properties(kafka, buffered_bytes)
    return {name: value for name, value in properties.items() if name not in _OF_A_MEMBER} | {
        "group.id": f"{kafka.group_id}.scan-{uuid4().hex[:8]}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
