"""Reads ranges and no further: for what is delivered again (contract, section 2).

Its consumer is a member of a group of its own: so no second run of the same work reads the same partitions, and the next
run waits until one that was killed is given up.

Where a range ends in a gap, left by compaction or a transaction's mark, no record shows that it has been passed. So the
client is asked to report the end of the log, and a range is at its end with the first record behind it or with that.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from stream_capi.kafka.ranges import Range
from stream_capi.kafka.start_offsets import Place
from stream_capi.model import Record, Records, TopicPartition

_WAIT_SECONDS = 0.1  # how long the rate may keep the thread from polling at once

# What becomes of a record before it is handed over; None: it is passed over like a gap.
Adapt = Callable[[Record], Record | None]


class RangePolicy:
    """Reads the records of ``ranges``, at most ``rate`` a second where that is not 0. Ranges must not be empty.

    The group must have a commit in each of the partitions, from which on it is read. ``reached`` is for the event loop:
    the partitions of which all was handed over, with their epoch.
    """

    start = "error"  # without a commit there is no knowing where to begin: a person has to look
    properties: Mapping[str, object] = {"enable.partition.eof": True}

    def __init__(self, ranges: Mapping[TopicPartition, Range], rate: float = 0, adapt: Adapt | None = None) -> None:
        self.topics = sorted({tp.topic for tp in ranges})
        self.reached: dict[TopicPartition, int] = {}
        self._ranges = ranges
        self._rate = rate
        self._adapt = adapt
        self._over: set[TopicPartition] = set()
        self._ended: list[TopicPartition] = []
        self._allowed = min(rate, 1.0)
        self._allowed_at = time.monotonic()

    def wants(self, tp: TopicPartition) -> bool:
        return tp in self._ranges

    def begin(self, places: Sequence[Place]) -> None:
        self._over.difference_update(place.tp for place in places)
        self._end(place.tp for place in places if place.offset >= self._ranges[place.tp].end)

    def is_over(self, tp: TopicPartition) -> bool:
        return tp in self._over

    def take_ended(self) -> list[TopicPartition]:
        ended, self._ended = self._ended, []
        return ended

    def handed_over(self, tp: TopicPartition, epoch: int) -> None:
        self.reached[tp] = epoch

    def allowed(self, count: int) -> int:
        """By the rate; a second's worth is saved up at most."""
        if not self._rate:
            return count
        now = time.monotonic()
        self._allowed = min(self._allowed + (now - self._allowed_at) * self._rate, max(self._rate, 1.0))
        self._allowed_at = now
        if self._allowed < 1:
            time.sleep(min((1 - self._allowed) / self._rate, _WAIT_SECONDS))
            return 0
        return min(count, int(self._allowed))

    def part_of(self, chunk: Records) -> Records:
        """The chunk without what lies behind the range's end."""
        if chunk.epoch >= 0:
            chunk = self._cut(chunk)
        self._allowed -= len(chunk.records)
        return chunk

    def _cut(self, chunk: Records) -> Records:
        tp = TopicPartition(chunk.topic, chunk.partition)
        end = self._ranges[tp].end
        offsets = chunk.columns.offsets
        if offsets[-1] >= end - 1:
            self._end([tp])
        records = chunk.records[: bisect_left(offsets, end)]
        if self._adapt is not None:
            records = [adapted for record in records if (adapted := self._adapt(record)) is not None]
        return Records(chunk.topic, chunk.partition, chunk.epoch, records)

    def log_ended(self, tp: TopicPartition, offset: int) -> None:
        """A log's end that a broker reports while it takes up the partition may lie before the range's end."""
        if offset >= self._ranges[tp].end:
            self._end([tp])

    def _end(self, partitions: Iterable[TopicPartition]) -> None:
        ended = [tp for tp in partitions if tp not in self._over]
        self._over.update(ended)
        self._ended += ended
