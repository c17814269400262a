"""Deleting old dead letters: what would go, and doing it (contract, section 2: ``dead-letters purge``).

Kafka deletes all records before an offset, never a single one. So a partition keeps everything from the first record on that
must stay: a dead letter that was not redriven, or a record of another program. The topic is read once, in chunks; only counts
are kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_capi.config import Settings
from stream_capi.errors import CheckFailed, KafkaLost, StreamCapiError, Unavailable
from stream_capi.events.suppression import People
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.range_reader import RangeReader
from stream_capi.kafka.ranges import Moment, TopicLog, total
from stream_capi.kafka.topic_retention import Retention, retention_of
from stream_capi.model import Records, TopicPartition
from stream_capi.operations import purge_mark
from stream_capi.operations.dead_letters import RedriveMarks, StoredDeadLetter, dead_letter_of
from stream_capi.operations.range_job import Progress
from stream_capi.operations.suppressed_letters import Letter, SuppressedLetters

MOST_PLACES = 100  # of each partition
_ID_ATTEMPTS = 3
_COMPACTED = "its cleanup.policy is only compact, and Kafka deletes no records of such a topic; set it to delete"


@dataclass(slots=True)
class LetterCounts:
    """Dead letters by code, how many of them were redriven or are of people on the list, and records that are none."""

    codes: Counter[str] = field(default_factory=Counter)
    redriven: int = 0
    suppressed: int = 0
    foreign: int = 0

    @property
    def letters(self) -> int:
        """All of this program's."""
        return self.codes.total()

    @property
    def open(self) -> int:
        """Those that were not redriven."""
        return self.letters - self.redriven

    @property
    def records(self) -> int:
        """Dead letters and others' records."""
        return self.letters + self.foreign

    def add(self, stored: StoredDeadLetter | None, redriven: bool, suppressed: bool) -> None:
        """Count one record more; None is one of others."""
        if stored is None:
            self.foreign += 1
            return
        self.codes[stored.kind.code.value] += 1
        self.redriven += redriven
        self.suppressed += suppressed

    def merge(self, other: LetterCounts) -> None:
        """Add what others counted."""
        self.codes.update(other.codes)
        self.redriven += other.redriven
        self.suppressed += other.suppressed
        self.foreign += other.foreign


class Purged(NamedTuple):
    """What may be deleted. ``before`` is epoch milliseconds, None for any time.

    ``people``: only up to the last dead letter of a person on the list.
    """

    before: int | None
    also_open: bool = False
    people: People | None = None


class PartitionPurge:
    """One partition, whose records come in their order. ``older``: the offset before which all are old enough.

    ``going`` and ``staying`` count old records before and behind ``new_beginning``; ``first_kept`` is the record that keeps
    what lies behind it. ``places`` are the offsets of dead letters of people on the list, the first few.
    """

    def __init__(self, tp: TopicPartition, beginning: int, older: int, purged: Purged) -> None:
        self.tp = tp
        self.beginning = self.new_beginning = beginning
        self.older = older
        self.first_kept: int | None = None
        self.going, self.staying = LetterCounts(), LetterCounts()
        self.places: list[int] = []
        self.last_staying = 0  # when the newest dead letter of people on the list that stays was written
        self._purged = purged
        self._since = LetterCounts()  # since the last dead letter of people on the list
        if purged.people is None:
            self.new_beginning = older

    def concerns(self, offset: int, written: int) -> bool:
        """Whether a record is old enough. Older ones may follow a newer one: the producer sets the time."""
        return offset < self.older or (self._purged.before is not None and written < self._purged.before)

    def add(self, offset: int, written: int, stored: StoredDeadLetter | None, redriven: bool, suppressed: bool) -> None:
        """Take in the next record that is old enough; ``stored`` is None for one of another program.

        A dead letter that a redrive would skip may be deleted.
        """
        may_go = self._purged.also_open or redriven or suppressed
        if self.first_kept is None and offset >= self.older:
            self.first_kept = self.older
        if self.first_kept is None and not may_go:
            self.first_kept = offset
            if self._purged.people is None:
                self.new_beginning = offset
        if suppressed and len(self.places) < MOST_PLACES:
            self.places.append(offset)
        if self.first_kept is not None:
            self.staying.add(stored, redriven, suppressed)
            if suppressed:
                self.last_staying = max(self.last_staying, written)
        elif self._purged.people is None:
            self.going.add(stored, redriven, suppressed)
        else:
            self._since.add(stored, redriven, suppressed)
            if suppressed:
                self.going.merge(self._since)
                self._since, self.new_beginning = LetterCounts(), offset + 1

    def end(self) -> None:
        """All were there."""
        self.staying.merge(self._since)
        self._since = LetterCounts()

    @property
    def left(self) -> int:
        """How many records stay that should go."""
        return self.staying.suppressed if self._purged.people is not None else self.staying.records


class PurgePlan(NamedTuple):
    """What would be deleted. ``unseen``: dead letters whose person can't be found out, by reason."""

    topic: str
    topic_id: str
    purged: Purged
    partitions: Sequence[PartitionPurge]
    retention: Retention
    unseen: Counter[str]

    @property
    def left(self) -> int:
        """How many records stay that should go."""
        return sum(one.left for one in self.partitions)

    @property
    def gone_at_latest(self) -> float | None:
        """When retention deletes the remaining dead letters of people on the list, epoch milliseconds; None if unknown."""
        longest, last = self.retention.longest_seconds, max((one.last_staying for one in self.partitions), default=0)
        return None if longest is None or last <= 0 else last + 1000 * longest


async def plan(settings: Settings, admin: KafkaAdmin, purged: Purged, show: Callable[[Progress], None]) -> PurgePlan:
    """Read what is old enough and find what may go. Raises CheckFailed where nothing can, Unavailable, KafkaLost."""
    topic = settings.dead_letter.topic
    retention = retention_of(admin, topic)
    if not retention.deletes:
        raise CheckFailed(f"topic {topic}: {_COMPACTED}")
    topic_id = admin.topic_ids([topic]).get(topic, "")  # before the bounds: a log recreated since has another
    log = TopicLog(admin, topic)
    before = Moment("latest") if purged.before is None else Moment("time", purged.before)
    olds = log.offsets("--before", before)
    partitions = {tp: PartitionPurge(tp, start, olds[tp], purged) for tp, (start, _) in log.bounds.items()}
    ranges = log.bounds
    marks = RedriveMarks(settings, admin, topic_id)
    finder = SuppressedLetters(settings, purged.people) if purged.people is not None else None
    reader = RangeReader(settings.kafka, ranges)
    try:
        while not reader.ended:
            for chunk in reader.read():
                await _judge(partitions[TopicPartition(chunk.topic, chunk.partition)], chunk, marks, finder)
            show(Progress(total(ranges), reader.done, 0, 0, (), stopping=False))
    finally:
        reader.close()
        if finder is not None:
            await finder.aclose()
    for one in partitions.values():
        one.end()
    unseen = finder.unseen if finder is not None else Counter[str]()
    return PurgePlan(topic, topic_id, purged, list(partitions.values()), retention, unseen)


async def _judge(
    partition: PartitionPurge, chunk: Records, marks: RedriveMarks, finder: SuppressedLetters | None
) -> None:
    records = [one for one in chunk.records if partition.concerns(one.offset() or 0, one.timestamp()[1])]
    found = [dead_letter_of(record) for record in records]
    letters: list[Letter] = [(one, record) for one, record in zip(found, records, strict=True) if one is not None]
    at_list = await finder.among(letters) if finder is not None else set[int]()
    suppressed = {letters[at][0].offset for at in at_list}
    for stored, record in zip(found, records, strict=True):
        offset, written = record.offset() or 0, record.timestamp()[1]
        partition.add(offset, written, stored, stored is not None and stored in marks, offset in suppressed)


def check_right(admin: KafkaAdmin, topic: str) -> None:
    """Raises KafkaLost where this user may not delete the topic's records; Unavailable."""
    if admin.lacking({topic: "DELETE"}):
        raise KafkaLost(f"this user lacks DELETE on topic {topic}; grant it with an ACL")


def execute(settings: Settings, admin: KafkaAdmin, planned: PurgePlan) -> dict[TopicPartition, int | StreamCapiError]:
    """Delete what a plan says. The new beginning of each partition that has one, or why not.

    Raises CheckFailed where the topic is another one by now, Unavailable, KafkaLost. What was redriven or written since the
    plan was made stays.
    """
    asked = {one.tp: one.new_beginning for one in planned.partitions if one.new_beginning > one.beginning}
    if not asked:
        return {}
    now = next(filter(None, (admin.topic_ids([planned.topic]).get(planned.topic) for _ in range(_ID_ATTEMPTS))), "")
    if not now or not planned.topic_id:
        raise Unavailable(f"the brokers don't return the id of topic {planned.topic}: nothing was deleted")
    if now != planned.topic_id:
        raise CheckFailed(f"topic {planned.topic} was recreated since it was read: nothing was deleted")
    purge_mark.keep(settings, admin, now, asked, planned.purged.before or int(time.time() * 1000))
    return admin.delete_before(asked)
