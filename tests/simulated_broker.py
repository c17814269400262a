"""A broker in simulated time: logs in memory, and commits that are checked when they arrive."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.core.offset_metadata import METADATA_LIMIT, decode_outcomes, topic_id_of
from stream_capi.model import Commit, TopicPartition
from tests.fake_record import FakeRecord


class Log:
    """One partition's log, as long as its topic exists. There may be gaps between offsets, as in real logs."""

    def __init__(self, topic_id: str = "") -> None:
        self.topic_id = topic_id
        self.records: list[Any] = []
        self.low = self.end = 0

    def append(self, record: FakeRecord, gap: int = 0) -> None:
        """Append a record, whose offset is the log's end."""
        self.records.append(record)
        self.end += 1 + gap

    def read(self, position: int, count: int) -> list[Any]:
        first = bisect_left(self.records, position, key=lambda record: record.offset())
        return self.records[first : first + count]

    def drop_before(self, offset: int) -> None:
        """Delete the records before an offset, as retention does."""
        self.low = max(self.low, offset)


class SimulatedBroker:
    """The logs and the committed offsets of one group. ``has_outcome`` says whether a record needs no delivery any more."""

    def __init__(self, has_outcome: Callable[[Any], bool]) -> None:
        self.logs: defaultdict[TopicPartition, Log] = defaultdict(Log)
        self.store: dict[TopicPartition, tuple[int, str]] = {}
        # Where reading started in a partition without a committed offset: what retention deleted before that is not lost.
        self.begun: dict[TopicPartition, int] = {}
        self.commits = 0
        self._has_outcome = has_outcome

    def place(self, tp: TopicPartition) -> tuple[int, str]:
        """Where a new owner of the partition starts to read, and the committed metadata."""
        if tp not in self.store:
            self.begun[tp] = self.logs[tp].low
        return self.store.get(tp, (self.logs[tp].low, ""))

    def take(self, commit: Commit | ClientPartition) -> None:
        """Store a commit as a broker does."""
        self.commits += 1
        tp, metadata = TopicPartition(commit.topic, commit.partition), commit.metadata or ""
        assert len(metadata.encode()) <= METADATA_LIMIT, f"{tp}: {len(metadata)} bytes of metadata"
        self.check(tp, commit.offset, metadata)
        self.store[tp] = (commit.offset, metadata)

    def check(self, tp: TopicPartition, offset: int, metadata: str) -> None:
        """Assert that a commit doesn't go back, and claims no open event."""
        before = self.store.get(tp, (self.begun.get(tp, 0), ""))[0]
        assert offset >= before, f"{tp}: a commit goes back from {before} to {offset}"
        settled = decode_outcomes(metadata, offset, topic_id_of(metadata))
        for first, last in ((before, offset), *((of.first, of.last) for of in settled)):
            for record in self.logs[tp].read(first, last - first):
                if record.offset() >= last:
                    break
                done = self._has_outcome(record)
                assert done, (
                    f"{tp}: a commit of {offset} claims the open event {record.value()!r:.90} at {record.offset()}"
                )

    @property
    def lag(self) -> int:
        """How many records the group has not committed."""
        return sum(len(log.read(self.store.get(tp, (log.low, ""))[0], 10**9)) for tp, log in self.logs.items())
