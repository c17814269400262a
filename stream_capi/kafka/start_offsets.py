"""Where reading starts in partitions that were assigned.

At the committed offset, if there is one and the log still has it. Retention may have passed it, the topic may have
been recreated or cut: then events are gone, and a person must decide where to go on (contract, section 7.7).

Only queries that the client allows inside a callback are used here. ``list_topics`` is not one of them: after it the next
callback of the same fetch aborts the process (a fault of confluent-kafka's handling of the interpreter's lock).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
)
from confluent_kafka import (
    TopicPartition as ClientPartition,
)

from stream_capi.core.held_reason import HeldReason
from stream_capi.kafka.client_errors import MISSING
from stream_capi.model import NO_LEADER_EPOCH, TopicPartition, epoch_number

_LEFT_OUT = MISSING | {KafkaError.TOPIC_AUTHORIZATION_FAILED}


class NextOffset(NamedTuple):
    """The next offset to read, and the leader epoch by which the leader validates it."""

    offset: int
    leader_epoch: int = NO_LEADER_EPOCH

    def at(self, tp: TopicPartition) -> ClientPartition:
        """As the client's own type."""
        return ClientPartition(*tp, self.offset, leader_epoch=self.leader_epoch)


class Place(NamedTuple):
    """Where to read from, the log's end, and why the partition must not be read (None where it may be).

    ``leader_epoch`` was committed with the offset.
    """

    tp: TopicPartition
    offset: int
    metadata: str
    was_committed: bool
    high: int
    stopped: HeldReason | None
    leader_epoch: int = NO_LEADER_EPOCH

    @property
    def position(self) -> NextOffset:
        """The offset with what the leader is asked to validate it by."""
        return NextOffset(self.offset, self.leader_epoch)


def find_places(consumer: Consumer, partitions: Sequence[TopicPartition], start: str, seconds: float) -> list[Place]:
    """Ask the broker for the place of each partition; those of a topic that it doesn't know or denies are left out.

    Takes up to four times ``seconds``, one question each for all partitions together. Raises KafkaException when it
    doesn't answer.
    """
    if not partitions:
        return []
    committed = {
        _key(at): at
        for at in _without_faults(consumer.committed([ClientPartition(*tp) for tp in partitions], timeout=seconds))
    }
    if not committed:
        return []
    # Of those alone: asked also for a topic that this user may not see, the client answers for none.
    low = _ends(consumer, list(committed), OFFSET_BEGINNING, seconds)
    high = _ends(consumer, list(committed), OFFSET_END, seconds)
    new = [tp for tp, at in committed.items() if at.offset < 0]
    late = _came_later(consumer, new, seconds) if start == "latest" and new else frozenset()
    places = []
    for tp in partitions:
        if tp in committed and tp in low and tp in high:
            first = "earliest" if tp.topic in late else start
            places.append(_place(tp, committed[tp], low[tp], high[tp], first))
    return places


def _place(tp: TopicPartition, committed: ClientPartition, low: int, high: int, start: str) -> Place:
    if committed.offset < 0:
        offset = high if start == "latest" else low
        return Place(tp, offset, "", False, high, HeldReason.NO_COMMITTED_OFFSET if start == "error" else None)
    stopped = None
    if committed.offset < low:
        stopped = HeldReason.OFFSET_OUT_OF_RANGE
    elif committed.offset > high:
        stopped = HeldReason.LOG_TRUNCATED
    epoch = epoch_number(committed.leader_epoch)
    return Place(tp, committed.offset, committed.metadata or "", True, high, stopped, epoch)


def _came_later(consumer: Consumer, partitions: Sequence[TopicPartition], seconds: float) -> frozenset[str]:
    """The topics of which the group has read partitions with lower numbers already.

    A partition without a commit was then added since, and "latest" would silently skip what was produced to it before the
    group learned of it. Raises KafkaException where that isn't known of one of them.
    """
    most: dict[str, int] = {}
    for tp in partitions:
        most[tp.topic] = max(tp.partition, most.get(tp.topic, 0))
    lower = [ClientPartition(topic, n) for topic, last in most.items() for n in range(last)]
    committed = _without_faults(consumer.committed(lower, timeout=seconds), frozenset()) if lower else []
    return frozenset(at.topic for at in committed if at.offset >= 0)


def _ends(
    consumer: Consumer, partitions: Sequence[TopicPartition], which: int, seconds: float
) -> dict[TopicPartition, int]:
    """The first or the last offset of each partition: these two numbers, given as a time, ask for them."""
    asked = [ClientPartition(*tp, which) for tp in partitions]
    return {_key(at): at.offset for at in _without_faults(consumer.offsets_for_times(asked, timeout=seconds))}


def _without_faults(answers: Sequence[ClientPartition], left_out: Collection[int] = _LEFT_OUT) -> list[ClientPartition]:
    """The answers without those whose fault may be left out: the partition is gone, or this user may not read its topic.

    Raises KafkaException for other faults.
    """
    for at in answers:
        if at.error is not None and at.error.code() not in left_out:
            raise KafkaException(at.error)
    return [at for at in answers if at.error is None]


def _key(at: ClientPartition) -> TopicPartition:
    return TopicPartition(at.topic, at.partition)
