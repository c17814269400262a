"""The partitions of a member and where it reads in them; used on the consumer's thread only.

The client keeps a partition's pause and read position over a revocation. Messages that it returns together with a revocation
move that position after it was reset, and after a pause in the next assignment it would read on from there, past events. So
the positions are kept here, and set in the client whenever reading starts again.

A position is an offset with a leader epoch: the committed one, or that of the last record read. Only ``seek`` with an epoch
makes the client ask the leader whether its log still reaches that offset (KIP-320); ``assign`` with one validates nothing. So
a partition is assigned paused and read only after such a seek was taken, at the start and after each pause. Where the log was
cut, the client then reports the divergence instead of reading on past records that nobody has seen.

The client may undo a seek: if it was asking for an offset by itself (that of the log's beginning), it asks again after the
seek, and reads from there. So it is never told to ask for one, and records that lie before the position are left out and the
position is sought again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.kafka.start_offsets import NextOffset, Place
from stream_capi.model import Record, Records, TopicPartition


class Reading:
    """What this member owns (partition → epoch), and what of it is paused.

    ``unplaced`` was assigned too, but its start offset is not known yet.
    """

    def __init__(self, incremental: bool, on_error: Callable[[Message], None]) -> None:
        self.owned: dict[TopicPartition, int] = {}
        self.unplaced: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, NextOffset] = {}
        self._unsought: set[TopicPartition] = set()  # to be read once the client takes their position
        self._fresh: set[TopicPartition] = set()  # assigned within the fetch call that is under way
        # The client doesn't report which protocol it negotiated, and the wrong call of the two is an error.
        self._incremental = incremental
        self._on_error = on_error

    def assign(
        self, consumer: Consumer, partitions: Sequence[TopicPartition], places: Sequence[Place], epoch: int
    ) -> None:
        """Take the assignment paused. Partitions with a place are read from the next ``resume`` on, others later."""
        positions = {place.tp: place.position for place in places}
        unknown = NextOffset(0)  # not OFFSET_BEGINNING, for which the client would ask
        at = [positions.get(tp, unknown).at(tp) for tp in partitions]
        (consumer.incremental_assign if self._incremental else consumer.assign)(at)
        self._fresh.update(partitions)
        self.unplaced.update(dict.fromkeys(partitions, epoch))
        consumer.pause(client_partitions(partitions))

    def own(self, place: Place) -> int:
        """Own a partition from its place on; returns the epoch in which it was assigned."""
        epoch = self.owned[place.tp] = self.unplaced.pop(place.tp)
        self._positions[place.tp] = place.position
        return epoch

    def disown(self, partitions: Iterable[TopicPartition]) -> None:
        """The assignment has ended."""
        for tp in partitions:
            for of_tp in (self.owned, self.unplaced, self._positions):
                of_tp.pop(tp, None)
            self.paused.discard(tp)
            self._unsought.discard(tp)

    def pause(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Read no more from these, until ``resume``."""
        self.paused.update(partitions)
        self._unsought.difference_update(partitions)
        consumer.pause(client_partitions(partitions))

    def resume(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Read on behind the last record that was handed over, once the leader has validated that position."""
        self.paused.difference_update(partitions)
        self._unsought.update(partitions)
        self.seek_unsought(consumer)

    def seek_unsought(self, consumer: Consumer) -> None:
        """Seek the partitions that wait for it: the client refuses while a partition's fetcher has not started."""
        sought = [tp for tp in sorted(self._unsought) if self._sought(consumer, tp)]
        if sought:  # in one call: each waits for the client's own thread
            with contextlib.suppress(KafkaException):
                consumer.resume(client_partitions(sought))
                self._unsought.difference_update(sought)

    def _sought(self, consumer: Consumer, tp: TopicPartition) -> bool:
        try:
            consumer.seek(self._positions[tp].at(tp))
        except KafkaException:
            return False
        return True

    def fetch(self, consumer: Consumer, count: int, seconds: float) -> list[Records]:
        """Fetch and sort by partition; callbacks that are due are served meanwhile.

        A chunk of a partition that is not owned has epoch -1.
        """
        chunks: list[Records] = []
        skipped: set[TopicPartition] = set()
        self._fresh.clear()
        for tp, records in _runs(self._whole(consumer.consume(count, seconds), skipped)):
            if tp in self._fresh or tp in skipped or self._is_passed(tp, records):
                skipped.add(tp)
                continue
            epoch = self.owned.get(tp, -1)
            chunk = Records(tp.topic, tp.partition, epoch, records)
            chunks.append(chunk)
            if epoch >= 0:
                self._positions[tp] = NextOffset(chunk.columns.offsets[-1] + 1, chunk.leader_epochs[-1][1])
        # Fetched in the same call as the assignment, a record or the log's end may be of the former one, whose offsets lie
        # further on. After a seek the client reports both again, and records that it left out to read older ones.
        self._unsought.update(tp for tp in skipped if tp in self.owned and tp not in self.paused)
        self.seek_unsought(consumer)
        return chunks

    def _is_passed(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        """Whether the client reads from an offset that lies before the position."""
        position = self._positions.get(tp)
        return position is not None and int(records[0].offset() or 0) < position.offset

    def _whole(self, messages: list[Message], skipped: set[TopicPartition]) -> list[Message]:
        """The messages that are records; errors are reported, but for ends of partitions that this call has assigned."""
        errors = [message for message in messages if message.error() is not None]
        if not errors:
            return messages
        for message in errors:
            tp = TopicPartition(message.topic() or "", message.partition() or 0)
            if tp in self._fresh and _is_end(message):
                skipped.add(tp)
            else:
                self._on_error(message)
        return [message for message in messages if message.error() is None]

    def high(self, consumer: Consumer, seconds: float | None) -> dict[TopicPartition, int]:
        """The ends of the logs as the last fetches reported them; for paused partitions they are queried within ``seconds``.

        Raises KafkaException.
        """
        high: dict[TopicPartition, int] = {}
        for tp in self.owned:
            offsets = consumer.get_watermark_offsets(ClientPartition(*tp), cached=True)
            if offsets and offsets[1] >= 0:
                high[tp] = offsets[1]
        if self.paused and seconds is not None:
            asked = [ClientPartition(*tp, OFFSET_END) for tp in self.paused]
            for at in consumer.offsets_for_times(asked, timeout=seconds):
                if at.error is None and at.offset >= 0:
                    high[TopicPartition(at.topic, at.partition)] = at.offset
        return high


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _runs(messages: list[Message]) -> Iterator[tuple[TopicPartition, list[Record]]]:
    """Consecutive records of one partition. A fetch brings long runs, so that most calls find a single one."""
    topics = [message.topic() for message in messages]
    numbers = [message.partition() for message in messages]
    start = 0
    while start < len(messages):
        topic, number = topics[start], numbers[start]
        end = len(messages)
        if topics.count(topic) < end or numbers.count(number) < end:
            end = next((i for i in range(start, end) if numbers[i] != number or topics[i] != topic), end)
        records: list[Record] = messages[start:end]  # type: ignore[assignment]  # a message is a record
        yield TopicPartition(str(topic), int(number or 0)), records
        start = end


def client_partitions(partitions: Iterable[TopicPartition]) -> list[ClientPartition]:
    """The partitions as the client's own type."""
    return [ClientPartition(*tp) for tp in partitions]
