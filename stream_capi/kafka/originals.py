"""Single records read at many places, by one client that is kept: what dead letters by reference are dead letters of.

Places that lie close together in a partition are read in one go, and partitions at once. Blocking: for a thread beside the
event loop. One call at a time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.config.secrets import password_file
from stream_capi.config.settings import KafkaSection
from stream_capi.errors import KafkaLost, Unavailable
from stream_capi.kafka.client_errors import DENIED, MISSING, OUT_OF_RANGE, error_of, made
from stream_capi.kafka.range_reader import SILENCE_SECONDS, scan_properties
from stream_capi.model import Record, TopicPartition, place_of

_BUFFERED_BYTES = 8 << 20
_CALL_SECONDS = 10.0
_WAIT_MS = 20  # of a fetch at the log's end: the next stretch's fetch waits behind it on the same connection
_NEAR = 20  # offsets between two places that are read in one go

Place = tuple[TopicPartition, int]


class _Stretch(NamedTuple):
    """Places of one partition that are read in one go, in order."""

    tp: TopicPartition
    offsets: list[int]


class Originals:
    """Reads records by their places. ``close`` when done."""

    def __init__(self, kafka: KafkaSection) -> None:
        self._kafka = kafka
        self._password = password_file(kafka)
        self._consumer: Consumer | None = None

    def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records at these places; one that is gone is left out. Raises Unavailable, KafkaLost."""
        wanted: dict[TopicPartition, list[int]] = defaultdict(list)
        for tp, offset in sorted(set(places)):
            wanted[tp].append(offset)
        try:
            if self._consumer is None:
                self._consumer = made(
                    Consumer, {**scan_properties(self._kafka, _BUFFERED_BYTES), "fetch.wait.max.ms": _WAIT_MS}
                )
            elif self._password is not None and self._password.changed():
                self._consumer.set_sasl_credentials(*self._password.login)
            there = {tp: self._within_bounds(self._consumer, tp, offsets) for tp, offsets in wanted.items()}
            return self._read_all(self._consumer, there)
        except KafkaException as error:
            raise _error_for(self._kafka, error_of(error)) from None

    def close(self) -> None:
        """End the client."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _within_bounds(self, consumer: Consumer, tp: TopicPartition, offsets: list[int]) -> list[int]:
        try:
            low, high = consumer.get_watermark_offsets(ClientPartition(*tp), timeout=_CALL_SECONDS)
        except KafkaException as error:
            if error_of(error).code() in MISSING:
                return []
            raise
        return [offset for offset in offsets if low <= offset < high]

    def _read_all(self, consumer: Consumer, wanted: dict[TopicPartition, list[int]]) -> dict[Place, Record]:
        found: dict[Place, Record] = {}
        queues = {tp: list(_stretches(tp, offsets)) for tp, offsets in wanted.items() if offsets}
        while queues:
            _read_round(self._kafka, consumer, [queue.pop(0) for queue in queues.values()], found)
            queues = {tp: queue for tp, queue in queues.items() if queue}
        return found


def _stretches(tp: TopicPartition, offsets: list[int]) -> Iterator[_Stretch]:
    start = 0
    for at in range(1, len(offsets) + 1):
        if at == len(offsets) or offsets[at] - offsets[at - 1] > _NEAR:
            yield _Stretch(tp, offsets[start:at])
            start = at


def _read_round(kafka: KafkaSection, consumer: Consumer, stretches: list[_Stretch], found: dict[Place, Record]) -> None:
    """Read one stretch of each partition."""
    left = {stretch.tp: stretch for stretch in stretches}
    consumer.assign([ClientPartition(*tp, stretch.offsets[0]) for tp, stretch in left.items()])
    for message in _messages(kafka, consumer):
        tp, offset = place_of(message), message.offset() or 0
        stretch = left.get(tp)
        if stretch is None:
            continue
        ended = _is_end(kafka, message)
        if not ended and offset in stretch.offsets:
            found[tp, offset] = message
        if ended or offset >= stretch.offsets[-1]:
            del left[tp]
            if not left:
                break
    # Not paused: a pause outlives the assignment, and what is resumed is read with a delay of its own.
    consumer.unassign()


def _messages(kafka: KafkaSection, consumer: Consumer) -> Iterator[Message]:
    """What the consumer brings, until the caller has enough. Raises Unavailable when nothing comes."""
    heard = time.monotonic()
    while True:
        found = consumer.consume(_NEAR, 0.2)
        if found:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise Unavailable(f"kafka: {kafka.bootstrap_servers} gave no records within {SILENCE_SECONDS:g} s")
        yield from found


def _is_end(kafka: KafkaSection, message: Message) -> bool:
    """Whether nothing more comes: the end of the log, or retention has taken what was there."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF or error.code() in OUT_OF_RANGE or error.code() in MISSING:
        return True
    raise _error_for(kafka, error)


def _error_for(kafka: KafkaSection, error: KafkaError) -> KafkaLost | Unavailable:
    kind = KafkaLost if error.code() in DENIED else Unavailable
    return kind(f"kafka: {kafka.bootstrap_servers}: {error.str()}")
