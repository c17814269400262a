"""An assigned partition, and the runs of it that wait for their schema."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from stream_capi.avro.framing import Run
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.offset_metadata import METADATA_LIMIT
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Columns, DeadLetter, TopicPartition
from stream_capi.pipeline.source import Source

# What an open event keeps in memory beside its bytes, which are there twice, as a record and as a payload: the client's
# message object, its key and headers, the columns' entries and the tracker's. Measured at 0.9 to 1.1 KiB with the default
# contract's events.
_EVENT_OVERHEAD = 1024
# What is kept of an event that is paused by configuration: its place in the tracker.
_SET_ASIDE_BYTES = 128
# What a run that waits for its schema keeps beside that: its columns and payloads, and its place among the questions.
_RUN_OVERHEAD = 1024


class Waiting(NamedTuple):
    """A run whose schema isn't known yet."""

    partition: Partition
    run: Run
    columns: Columns


class Partition:
    """An assigned partition: its offsets, what was last committed, and why it is paused or stopped."""

    __slots__ = (
        "committed",
        "counted_bytes",
        "counted_events",
        "dead_letters",
        "high",
        "metadata_limit",
        "nothing_to_commit_at",
        "offsets",
        "paused",
        "source",
        "stopped",
        "topic_id",
        "tp",
        "waiting_runs",
    )

    def __init__(self, tp: TopicPartition, source: Source, offsets: PartitionOffsets, topic_id: str) -> None:
        self.tp = tp
        self.source = source
        self.offsets = offsets
        self.topic_id = topic_id
        self.committed: tuple[int, str] | None = None
        self.metadata_limit = METADATA_LIMIT
        # Its position, its open events and its last commit at that moment.
        self.nothing_to_commit_at: tuple[int, int, tuple[int, str] | None] | None = None
        self.paused = False
        self.stopped: HeldReason | None = None
        self.high = -1
        self.waiting_runs = 0  # for their schema
        self.counted_bytes = self.counted_events = 0  # in the sums over all partitions (``backpressure``)
        self.dead_letters: dict[asyncio.Task[None], DeadLetter] = {}  # on their way

    @property
    def acknowledged(self) -> int | None:
        """The last committed offset that this process knows: its own commit's, or the one it started at."""
        return self.committed[0] if self.committed is not None else None

    @property
    def lag(self) -> int | None:
        """Records that exist and are not committed yet; None until the log's end is known."""
        if self.high < 0:
            return None
        return max(0, self.high - (self.committed[0] if self.committed else self.offsets.start))

    @property
    def buffered_bytes(self) -> int:
        """What its open events keep in memory, in bytes."""
        of = self.offsets
        events = 2 * of.open_bytes + _EVENT_OVERHEAD * (of.unresolved - of.set_aside_count)
        return events + _SET_ASIDE_BYTES * of.set_aside_count + _RUN_OVERHEAD * self.waiting_runs

    @property
    def is_blocked_by_pause(self) -> bool:
        """Whether events paused by configuration have filled its memory, so that its other events wait as well."""
        if not self.paused or self.source.paused:
            return False
        return 2 * _SET_ASIDE_BYTES * self.offsets.set_aside_count > self.buffered_bytes
