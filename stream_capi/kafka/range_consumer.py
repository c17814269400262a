"""A member that reads ranges and no further: for what is delivered again (contract, section 2).

It is a member of a group, though the group is its own: Kafka then sees to it that no second run of the same work reads the
same partitions, and that the next run waits until one that was killed is given up.

Where a range ends in a gap, left by compaction or a transaction's mark, no record ever tells that it has been passed. So
the client is asked to tell the end of the log, and a range is at its end with the first record behind it or with that.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message

from stream_capi.kafka.client_errors import Events
from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.kafka.ranges import Range
from stream_capi.kafka.start_offsets import Place
from stream_capi.model import Record, Records, TopicPartition

_WAIT_SECONDS = 0.1  # how long the rate may keep it from polling at once

# What becomes of a record before it is handed over; None: it is passed over like a gap.
Adapt = Callable[[Record], Record | None]


class RangeConsumer(ConsumerThread):
    """Hands over the records of ``ranges``, at most ``rate`` a second where that is not 0. Ranges must not be empty.

    The group must have a commit in each of the partitions, from which on it is read. ``reached`` is for the event loop:
    the partitions of which all was handed over, with their epoch.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        ranges: Mapping[TopicPartition, Range],
        topic_ids: Callable[[Sequence[str]], Mapping[str, str]],
        events: Events,
        revoke_seconds: float,
        rate: float = 0,
        adapt: Adapt | None = None,
    ) -> None:
        topics = sorted({tp.topic for tp in ranges})
        # Without a commit there is no knowing where to begin: a person has to look.
        super().__init__(
            {**properties, "enable.partition.eof": True}, topics, "error", topic_ids, events, revoke_seconds
        )
        self.reached: dict[TopicPartition, int] = {}
        self._ranges = ranges
        self._rate = rate
        self._adapt = adapt
        self._over: set[TopicPartition] = set()  # nothing more is to come of these
        self._untold: list[TopicPartition] = []
        self._allowed = min(rate, 1.0)
        self._allowed_at = time.monotonic()

    # On the thread: only these partitions, each up to its end

    def _find(self, partitions: Sequence[TopicPartition]) -> list[Place]:
        """What is in no range stays without a place, and so unread and unknown to the sink."""
        wanted = [tp for tp in partitions if tp in self._ranges]
        return super()._find(wanted) if wanted else []

    def _take_up(self, places: Sequence[Place]) -> None:
        self._over.difference_update(place.tp for place in places)
        super()._take_up(places)
        self._end_of([place.tp for place in places if place.offset >= self._ranges[place.tp].end])

    def _resume(self, partitions: Sequence[TopicPartition]) -> None:
        super()._resume([tp for tp in partitions if tp not in self._over])

    def _fetch(self, count: int, seconds: float) -> list[Records]:
        allowed = self._take_turn(count)
        if not allowed:
            return []
        chunks = [self._cut(chunk) for chunk in super()._fetch(allowed, seconds)]
        self._allowed -= sum(len(chunk.records) for chunk in chunks)
        return [chunk for chunk in chunks if chunk.records]

    def _take_turn(self, count: int) -> int:
        """How many records may come now. Saves up a second's worth at most."""
        if not self._rate:
            return count
        now = time.monotonic()
        self._allowed = min(self._allowed + (now - self._allowed_at) * self._rate, max(self._rate, 1.0))
        self._allowed_at = now
        if self._allowed < 1:
            time.sleep(min((1 - self._allowed) / self._rate, _WAIT_SECONDS))
            return 0
        return min(count, int(self._allowed))

    def _cut(self, chunk: Records) -> Records:
        """The chunk without what lies behind the range's end."""
        tp = TopicPartition(chunk.topic, chunk.partition)
        if chunk.epoch < 0:
            return chunk
        end = self._ranges[tp].end
        offsets = chunk.columns.offsets
        if offsets[-1] >= end - 1:
            self._end_of([tp])
        records = chunk.records[: bisect_left(offsets, end)]
        if self._adapt is not None:
            records = [adapted for record in records if (adapted := self._adapt(record)) is not None]
        return Records(chunk.topic, chunk.partition, chunk.epoch, records)

    def _on_message_error(self, message: Message) -> None:
        error = message.error()
        if error is None or error.code() != KafkaError._PARTITION_EOF:
            super()._on_message_error(message)
            return
        tp = TopicPartition(message.topic() or "", message.partition() or 0)
        # A log's end that a broker tells while it takes up the partition may lie before the range's end.
        if tp in self._reading.owned and (message.offset() or 0) >= self._ranges[tp].end:
            self._end_of([tp])

    def _end_of(self, partitions: Sequence[TopicPartition]) -> None:
        ended = [tp for tp in partitions if tp not in self._over]
        self._over.update(ended)
        self._untold += ended
        if ended:
            self._pause(ended)

    def _turn(self) -> None:
        super()._turn()
        # Only now: what was fetched with it has been handed over.
        for tp in self._untold:
            if tp in self._reading.owned:
                self._call(self.reached.__setitem__, tp, self._reading.owned[tp])
        self._untold = []
