"""Dead letters as they lie in their topic: read, picked by code, topic and time, and which of them were redriven.

What was redriven is kept in the commits of consumer groups, one for each code and source topic. So a redrive of one code
leaves the others' alone, and each group's outcomes are a few long runs however the codes alternate: one group for all would
have to remember every second offset, and a commit's metadata holds 4,096 bytes.
"""

from __future__ import annotations

import re
import sys
import threading
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from heapq import merge
from itertools import islice
from typing import NamedTuple

from stream_capi.config import Settings
from stream_capi.config.values import is_topic
from stream_capi.core.offset_metadata import METADATA_LIMIT, Ranges, Resolved, decode_outcomes, topic_id_of
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.kafka.admin import GroupOffset, KafkaAdmin
from stream_capi.kafka.dead_letter_writer import BY_REFERENCE, SOURCE_HEADERS
from stream_capi.kafka.ranges import Moment, TopicLog
from stream_capi.kafka.scan import scan
from stream_capi.model import NO_LEADER_EPOCH, Code, Record, TopicPartition, epoch_number, place_of
from stream_capi.record_headers import LOST, headers_of

_CODES = frozenset(Code)
_is_number = re.compile(r"-?[0-9]{1,19}").fullmatch
_is_count = re.compile(r"all|[0-9]{1,19}").fullmatch
MOST_OTHERS = 100  # kinds that are told apart, of topics that no source has
_MOST_DETAIL_BYTES = 4000


class DeadLetterGroup(NamedTuple):
    """Group key of dead letters: error code and source topic."""

    topic: str
    code: Code


class StoredDeadLetter(NamedTuple):
    """Where a dead letter is, when it was written (epoch milliseconds), and which event it holds."""

    at: TopicPartition
    offset: int
    written: int
    kind: DeadLetterGroup
    source: TopicPartition
    source_offset: int
    source_written: int
    attempts: int
    detail: str
    by_reference: bool
    leader_epoch: int = NO_LEADER_EPOCH  # of the dead letter's own record
    headers_lost: str = ""  # how many headers of the event its first dead letter had to leave out

    def is_of(self, record: Record) -> bool:
        """Whether the record at its source is the dead-lettered one: in a recreated topic that offset is another event's."""
        return self.source_written <= 0 or record.timestamp()[1] == self.source_written


class Picked(NamedTuple):
    """Which dead letters to select. ``since``: written at or after, epoch milliseconds; None for any time."""

    code: Code | None = None
    topic: str | None = None
    since: int | None = None

    def __call__(self, stored: StoredDeadLetter) -> bool:
        return (
            (self.code is None or stored.kind.code is self.code)
            and (self.topic is None or stored.kind.topic == self.topic)
            and (self.since is None or stored.written >= self.since)
        )


def dead_letter_of(record: Record) -> StoredDeadLetter | None:
    """Read a record's headers; None for a record that this program didn't write.

    Any producer with access to the topic can write any headers: headers that the program never writes make it no dead letter.
    """
    headers = {name: value or b"" for name, value in headers_of(record) if name.startswith("capi-")}
    try:
        code = headers["capi-error-code"].decode()
        topic, partition, offset, written = (headers[name].decode() for name in SOURCE_HEADERS)
        lost = headers.get(LOST, b"").decode()
        if code not in _CODES or not is_topic(topic) or not (lost == "" or _is_count(lost)):
            return None
        return StoredDeadLetter(
            place_of(record),
            record.offset() or 0,
            record.timestamp()[1],
            DeadLetterGroup(topic, Code(code)),
            TopicPartition(topic, _number(partition, 0, 2**31 - 1)),
            _number(offset, 0, 2**63 - 2),
            _number(written, -(2**63), 2**63 - 1),
            _number(headers.get("capi-attempts", b"0").decode(), 0, 2**31 - 1),
            headers.get("capi-error-detail", b"")[:_MOST_DETAIL_BYTES].decode(errors="replace"),
            BY_REFERENCE in headers,
            epoch_number(record.leader_epoch()),
            lost,
        )
    except (KeyError, ValueError):
        return None


def _number(text: str, least: int, most: int) -> int:
    """The number, where it is one and within its bounds; else ValueError."""
    if not _is_number(text) or not least <= int(text) <= most:
        raise ValueError("not within the bounds")
    return int(text)


class StoredDeadLetters(NamedTuple):
    """All dead letters of the dead-letter topic, up to ``ends``; ``foreign`` counts the records that are none."""

    found: Sequence[StoredDeadLetter]
    foreign: int
    ends: Mapping[TopicPartition, int]


def read_dead_letters(settings: Settings, admin: KafkaAdmin, since: int | None = None) -> StoredDeadLetters:
    """Read the dead-letter topic, from what was written at ``since`` on. Raises Unavailable, KafkaLost."""
    log = TopicLog(admin, settings.dead_letter.topic)
    ranges = log.ranges(Moment("earliest") if since is None else Moment("time", since), Moment("latest"))
    found, foreign = [], 0
    for record in scan(settings.kafka, ranges):
        stored = dead_letter_of(record)
        if stored is None:
            foreign += 1
        else:
            found.append(stored)
    return StoredDeadLetters(found, foreign, {tp: of_one.end for tp, of_one in ranges.items()})


def in_order(dead_letters: Iterable[StoredDeadLetter]) -> Iterator[StoredDeadLetter]:
    """Sort by time of writing without changing the order within a partition, so that the first N are a prefix of each."""
    partitions: dict[TopicPartition, list[StoredDeadLetter]] = defaultdict(list)
    for stored in dead_letters:
        partitions[stored.at].append(stored)
    return merge(*partitions.values(), key=lambda stored: stored.written)


def first(dead_letters: Iterable[StoredDeadLetter], limit: int | None) -> list[StoredDeadLetter]:
    """The oldest dead letters, as many as ``limit``."""
    return list(islice(in_order(dead_letters), None if limit is None else min(limit, sys.maxsize)))


def _groups_to_ask_for(dead_letters: Iterable[StoredDeadLetter], topics: Set[str]) -> frozenset[DeadLetterGroup]:
    """The groups of the sources' topics, and of other topics those with the most dead letters.

    Headers written by others may name thousands of topics, and each group costs a request to the broker.
    """
    counts = Counter(stored.kind for stored in dead_letters)
    others = Counter({kind: count for kind, count in counts.items() if kind.topic not in topics})
    return frozenset(counts.keys() - others.keys()) | {kind for kind, _ in others.most_common(MOST_OTHERS)}


def _group_of(settings: Settings, kind: DeadLetterGroup) -> str:
    """The group that remembers which dead letters of a kind were redriven."""
    return f"{settings.kafka.group_id}.redrive.{kind.code.value}.{kind.topic}"


def _is_of_another_log(topic_id: str, position: GroupOffset) -> bool:
    """Whether a commit belongs to a dead-letter topic that was recreated since: its offsets mean other dead letters."""
    of_commit = topic_id_of(position.metadata)
    return bool(of_commit and topic_id and of_commit != topic_id)


class RedriveMarks:
    """Answers for one dead letter at a time whether it was redriven. Commits are kept in memory, dead letters are not.

    ``asked`` has the groups that were requested: those of the sources' topics, and the first few of others. A dead letter of
    any other group counts as not redriven.
    """

    def __init__(self, settings: Settings, admin: KafkaAdmin, topic_id: str) -> None:
        self.asked: dict[DeadLetterGroup, dict[TopicPartition, tuple[int, Ranges]]] = {}
        self._settings = settings
        self._admin = admin
        self._topic_id = topic_id
        self._topics = {source.topic for source in settings.sources}
        self._others_left = MOST_OTHERS

    def __contains__(self, stored: StoredDeadLetter) -> bool:
        """Raises Unavailable, KafkaLost."""
        marks = self.asked.get(stored.kind)
        if marks is None:
            if not self._may_ask(stored.kind.topic):
                return False
            marks = self.asked[stored.kind] = self._marks_of(stored.kind)
        passed, beyond = marks.get(stored.at, (0, ()))
        if stored.offset < passed:
            return True
        at = bisect_right(beyond, stored.offset, key=lambda one: one.first) - 1
        return at >= 0 and stored.offset < beyond[at].last and beyond[at].leader_epoch == stored.leader_epoch

    def _may_ask(self, topic: str) -> bool:
        if topic in self._topics:
            return True
        self._others_left -= 1
        return self._others_left >= 0

    def _marks_of(self, kind: DeadLetterGroup) -> dict[TopicPartition, tuple[int, Ranges]]:
        found = self._admin.committed(_group_of(self._settings, kind), [self._settings.dead_letter.topic])
        return {
            tp: (position.offset, decode_outcomes(position.metadata, position.offset, topic_id_of(position.metadata)))
            for tp, position in found.items()
            if not _is_of_another_log(self._topic_id, position)
        }


class Redriven:
    """Which dead letters were redriven, by the commits of the groups that remember it. Of kinds not ``asked`` for: none."""

    def __init__(self, settings: Settings, admin: KafkaAdmin, dead_letters: StoredDeadLetters) -> None:
        """Ask for the commits. Raises Unavailable, KafkaLost."""
        self._admin = admin
        self._topic = settings.dead_letter.topic
        self._settings = settings
        self._topic_id = admin.topic_ids([self._topic]).get(self._topic, "")
        self._ends = dead_letters.ends
        self._offsets: dict[tuple[DeadLetterGroup, TopicPartition], list[int]] = defaultdict(list)
        self._epochs: dict[tuple[DeadLetterGroup, TopicPartition], list[int]] = defaultdict(list)
        for stored in dead_letters.found:
            self._offsets[stored.kind, stored.at].append(stored.offset)
            self._epochs[stored.kind, stored.at].append(stored.leader_epoch)
        self._done = {key: bytearray(len(offsets)) for key, offsets in self._offsets.items()}
        self._changed: set[DeadLetterGroup] = set()
        self._lock = threading.Lock()  # a commit that was given up goes on in its thread
        self.asked = _groups_to_ask_for(dead_letters.found, {source.topic for source in settings.sources})
        for kind in self.asked:
            for tp, position in admin.committed(_group_of(settings, kind), [self._topic]).items():
                self._mark_known(kind, tp, position)

    def _mark_known(self, kind: DeadLetterGroup, tp: TopicPartition, position: GroupOffset) -> None:
        if _is_of_another_log(self._topic_id, position):
            return
        topic_id = topic_id_of(position.metadata)
        offsets, epochs = self._offsets[kind, tp], self._epochs[kind, tp]
        done = self._done.setdefault((kind, tp), bytearray())
        passed = bisect_left(offsets, position.offset)
        done[:passed] = b"\1" * passed
        for start, end, leader_epoch in decode_outcomes(position.metadata, position.offset, topic_id):
            for at in range(bisect_left(offsets, start), bisect_left(offsets, end)):
                done[at] |= epochs[at] == leader_epoch

    def __contains__(self, stored: StoredDeadLetter) -> bool:
        key = (stored.kind, stored.at)
        return bool(self._done[key][bisect_left(self._offsets[key], stored.offset)])

    def add(self, stored: StoredDeadLetter) -> None:
        """This one was redriven. Remembered with the next ``keep``."""
        key = (stored.kind, stored.at)
        with self._lock:
            self._done[key][bisect_left(self._offsets[key], stored.offset)] = 1
            self._changed.add(stored.kind)

    def keep(self) -> None:
        """Commit what has changed since. Raises Unavailable, KafkaLost; what was not kept is kept with the next call."""
        with self._lock:
            for kind in sorted(self._changed):
                at = {tp: self._position(kind, tp, end) for tp, end in self._ends.items()}
                offsets = {tp: position.offset for tp, position in at.items()}
                self._admin.reset(
                    _group_of(self._settings, kind), offsets, {tp: position.metadata for tp, position in at.items()}
                )
                self._changed.discard(kind)

    def _position(self, kind: DeadLetterGroup, tp: TopicPartition, end: int) -> GroupOffset:
        key = (kind, tp)
        runs = list(_runs(self._offsets.get(key, []), self._epochs.get(key, []), self._done.get(key, b""), end))
        start = runs.pop(0)[1] if runs and runs[0][0] == 0 else 0
        tracker = PartitionOffsets(*tp, 0, start, tuple(runs))
        return GroupOffset(start, tracker.outcomes_beyond(METADATA_LIMIT, self._topic_id))


def _runs(offsets: Sequence[int], leader_epochs: Sequence[int], done: Sequence[int], end: int) -> Iterator[Resolved]:
    """Ranges in which every dead letter of a group is done, each up to the next one that isn't or has another leader epoch.

    Dead letters of other groups may lie between.
    """
    start: int | None = 0
    former = leader_epochs[0] if leader_epochs else NO_LEADER_EPOCH
    for offset, epoch, is_done in zip(offsets, leader_epochs, done, strict=True):
        if start is not None and offset > start and not (is_done and epoch == former):
            yield Resolved(start, offset, former)
            start = offset
        if not is_done:
            start = None
        elif start is None:
            start = offset
        former = epoch
    if start is not None and end > start:
        yield Resolved(start, end, former)
