"""Reads ranges of many partitions in chunks, each of one partition: no group is joined, no offset is committed.

A range ends at its last offset, or where the partition has no more to read: the records of a transaction that is still open
are not waited for. What retention deletes while the range is read is passed over and counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import KafkaLost, Unavailable
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.client_errors import OUT_OF_RANGE, error_of, made
from stream_capi.kafka.properties import consumer_properties
from stream_capi.kafka.ranges import Range
from stream_capi.model import Record, Records, TopicPartition, place_of

_BUFFERED_BYTES = 64 << 20  # an eighth of it is the client's queue, and no chunk is larger than that
_AT_ONCE = 2_000  # records
_WAIT_SECONDS = 0.2
_MOST_REFUSALS = 5
SILENCE_SECONDS = 15.0
_OF_A_MEMBER = ("group.instance.id", "group.protocol", "partition.assignment.strategy")


class RangeReader:
    """The records of ranges. To be used from one thread at a time."""

    def __init__(
        self, kafka: KafkaSection, ranges: Mapping[TopicPartition, Range], buffered_bytes: int = _BUFFERED_BYTES
    ) -> None:
        """Raises ConfigurationError, KafkaLost."""
        self.deleted: dict[TopicPartition, int] = {}  # offsets that retention took before they were read
        self._kafka = kafka
        self._admin = KafkaAdmin(kafka)
        self._ranges = {tp: of_one for tp, of_one in ranges.items() if of_one.size}
        self._at = {tp: of_one.start for tp, of_one in self._ranges.items()}
        self._left = set(self._ranges)
        self._refused = dict.fromkeys(self._ranges, 0)  # how often each position was out of range
        self._heard = time.monotonic()
        self._consumer = made(Consumer, scan_properties(kafka, buffered_bytes))
        self._assign()

    @property
    def done(self) -> int:
        """How many offsets of all ranges lie behind."""
        return sum(self._at[tp] - of_one.start for tp, of_one in self._ranges.items())

    @property
    def ended(self) -> bool:
        """Whether all ranges have been read."""
        return not self._left

    def read(self) -> list[Records]:
        """What comes next, after a moment perhaps nothing. Raises Unavailable where the broker is silent, KafkaLost."""
        if self.ended:
            return []
        try:
            # What is queued is bounded in bytes; what comes while a call waits is not.
            messages = self._consumer.consume(_AT_ONCE, 0) or self._consumer.consume(1, _WAIT_SECONDS)
            self._heed_silence(bool(messages))
            return list(self._chunks(messages))
        except KafkaException as error:
            raise KafkaLost(f"kafka: {error_of(error).str()}") from None

    def leave(self, tp: TopicPartition) -> None:
        """Read no more of this partition."""
        if tp in self._left:
            self._end(tp)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _heed_silence(self, heard: bool) -> None:
        if heard:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > SILENCE_SECONDS:
            servers = self._kafka.bootstrap_servers
            raise Unavailable(f"kafka: {servers} gave no records within {SILENCE_SECONDS:g} s")

    def _chunks(self, messages: list[Message]) -> Iterator[Records]:
        found: dict[TopicPartition, list[Record]] = {}
        cut: list[TopicPartition] = []
        for message in messages:
            tp = place_of(message)
            if tp not in self._left:  # also an error of the group, which the client looks for and nobody needs
                continue
            if (error := message.error()) is not None:
                if error.code() in OUT_OF_RANGE:
                    cut.append(tp)
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaLost(f"kafka: {tp} can't be read: {error.str()}")
                else:
                    self._end(tp)
                continue
            offset, end = message.offset() or 0, self._ranges[tp].end
            if offset < end:
                found.setdefault(tp, []).append(message)
                self._at[tp] = offset + 1
            if offset >= end - 1:
                self._end(tp)
        yield from (Records(*tp, 0, records) for tp, records in found.items())
        if cut:
            self._go_on_behind(cut)

    def _end(self, tp: TopicPartition) -> None:
        self._at[tp] = self._ranges[tp].end
        self._left.discard(tp)
        if self._left:
            self._consumer.pause([ClientPartition(*tp)])

    def _go_on_behind(self, cut: list[TopicPartition]) -> None:
        """Go on at the first offset that retention has left of these partitions. Raises Unavailable, KafkaLost."""
        first = self._admin.beginning_offsets(sorted({tp.topic for tp in cut}))
        for tp in dict.fromkeys(cut):
            at = min(max(first[tp], self._at[tp]), self._ranges[tp].end)
            self._refused[tp] = self._refused[tp] + 1 if at == self._at[tp] else 0
            if self._refused[tp] > _MOST_REFUSALS:  # the first few may be of the position before
                raise KafkaLost(
                    f"kafka: {tp} has no offset {at} any more: its log was truncated, or the topic recreated"
                )
            self.deleted[tp] = self.deleted.get(tp, 0) + at - self._at[tp]
            self._at[tp] = at
            if at == self._ranges[tp].end:
                self._left.discard(tp)
        self._assign()

    def _assign(self) -> None:
        self._consumer.assign([ClientPartition(*tp, self._at[tp]) for tp in sorted(self._left)])


def scan_properties(kafka: KafkaSection, buffered_bytes: int) -> dict[str, Any]:
    """A client that leaves no trace: it joins no group, starts at given offsets, and gets end-of-partition events."""
    properties = consumer_properties(kafka, buffered_bytes)
    return {name: value for name, value in properties.items() if name not in _OF_A_MEMBER} | {
        "group.id": f"{kafka.group_id}.scan-{uuid4().hex[:8]}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
