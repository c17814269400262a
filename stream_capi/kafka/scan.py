"""Reads ranges and single records of topics without a trace: no group is joined, no offset is committed."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.range_reader import RangeReader
from stream_capi.kafka.ranges import Range, total
from stream_capi.model import Record, Records, TopicPartition, place_of

_BUFFERED_BYTES = 8 << 20  # of a scan that may end after a few records
_MARKS = 8  # offsets without a record that are reckoned with where the last records of a range are looked for


def chunks(kafka: KafkaSection, ranges: Mapping[TopicPartition, Range]) -> Iterator[Records]:
    """The records of the ranges in chunks, each of one partition; within one they come in offset order.

    Raises Unavailable when the broker falls silent, KafkaLost where a partition can't be read.
    """
    reader = RangeReader(kafka, ranges)
    try:
        while not reader.ended:
            yield from reader.read()
    finally:
        reader.close()


def scan(kafka: KafkaSection, ranges: Mapping[TopicPartition, Range], each: int | None = None) -> Iterator[Record]:
    """The records of the ranges, in offset order within a partition; of each the first ``each`` only, where given.

    Raises Unavailable when the broker falls silent, KafkaLost where a partition can't be read.
    """
    if not total(ranges):
        return
    left = dict.fromkeys(ranges, sys.maxsize if each is None else each)
    reader = RangeReader(kafka, ranges, _BUFFERED_BYTES)
    try:
        while not reader.ended:
            for chunk in reader.read():
                tp = TopicPartition(chunk.topic, chunk.partition)
                yield from chunk.records[: left[tp]]
                left[tp] = max(0, left[tp] - len(chunk.records))
                if not left[tp]:
                    reader.leave(tp)
    finally:
        reader.close()


def spans(kafka: KafkaSection, ranges: Mapping[TopicPartition, Range]) -> dict[TopicPartition, tuple[int, int]]:
    """The times of each range's first and last record, epoch milliseconds; nothing for one without a record."""
    first = {place_of(record): record.timestamp()[1] for record in scan(kafka, ranges, each=1)}
    last = _newest(kafka, {tp: ranges[tp] for tp in first}, 1)
    return {tp: (first[tp], last[tp][-1].timestamp()[1]) for tp in first if last[tp]}


def _newest(
    kafka: KafkaSection, ranges: Mapping[TopicPartition, Range], count: int
) -> dict[TopicPartition, list[Record]]:
    """The last ``count`` records of each range, in order.

    Compaction and the marks of transactions leave offsets without a record: it looks ever farther back, until there are
    as many.
    """
    found: dict[TopicPartition, list[Record]] = {tp: [] for tp in ranges}
    left, width = dict(ranges), count + _MARKS
    while left:
        windows = {tp: Range(max(start, end - width), end) for tp, (start, end) in left.items()}
        older = {tp: deque[Record](maxlen=count - len(found[tp])) for tp in windows}
        for record in scan(kafka, windows):
            older[place_of(record)].append(record)
        for tp, records in older.items():
            found[tp] = [*records, *found[tp]]
        begun = {tp: Range(of_one.start, windows[tp].start) for tp, of_one in left.items()}
        left = {tp: of_one for tp, of_one in begun.items() if of_one.size and len(found[tp]) < count}
        width *= 8
    return found


def record_at(kafka: KafkaSection, topic: str, partition: int, offset: int) -> Record:
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
        raise ConfigurationError([f"--offset: {tp} has no record there (compaction, or a transaction marker){later}"])
    return found[0]


def latest_records(kafka: KafkaSection, topic: str, count: int) -> list[Record]:
    """The newest records of a topic by their timestamps, oldest first. Raises Unavailable, KafkaLost."""
    admin = KafkaAdmin(kafka)
    first, end = admin.beginning_offsets([topic]), admin.end_offsets([topic])
    newest = _newest(kafka, {tp: Range(first[tp], at) for tp, at in end.items()}, count)
    found = [record for records in newest.values() for record in records]
    return sorted(found, key=lambda record: (record.timestamp()[1], record.partition(), record.offset()))[-count:]
