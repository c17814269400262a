"""Which offset may be committed: the contiguous watermark of each partition (contract, section 7).

Invariants, each of which has a test that breaks it:

1. ``watermark`` never passes an open offset, and never goes back within one epoch.
2. An offset is *open* from ``track`` to ``resolve``. Offsets between two tracked ones that are never tracked (compaction,
   transaction markers, tombstones) are not waited for.
3. What was resolved beyond the watermark is in ``outcomes_beyond``, so that the next owner of the partition doesn't send
   it again; losing that text costs duplicates, never an event.
4. One ``PartitionOffsets`` is one assignment. A late result resolves an object from which nobody commits any more: this,
   and not a comparison of numbers, is the fence between epochs.
5. An outcome belongs to an offset *and* the leader epoch of the record there. After a log was truncated and written again,
   other records have the same offsets, but higher leader epochs: outcomes of the former records don't apply to them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

from stream_capi.core.offset_metadata import METADATA_LIMIT, Ranges, Resolved, encode_outcomes
from stream_capi.model import NO_LEADER_EPOCH

_SET_ASIDE = -1  # in place of an event's size

Steps = Sequence[tuple[int, int]]  # (offset, leader epoch): from this offset on, records have this leader epoch


class PartitionOffsets:
    """The offsets of one partition during one assignment.

    ``resolved_before`` is what a former owner had resolved beyond the committed offset; ``leader_epoch`` was
    committed with ``start``. ``since``: the offset from which members have resolved all up to ``start``,
    if it is known. ``open_bytes`` is the sum of the open events' sizes as given to ``track``, without those that were set
    aside; ``set_aside_count`` is the number of these.
    """

    __slots__ = (
        "_end",
        "_open",
        "_resolved_before_starts",
        "_steps",
        "epoch",
        "fenced",
        "open_bytes",
        "partition",
        "resolved_before",
        "set_aside_count",
        "since",
        "start",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        epoch: int,
        start: int,
        resolved_before: Ranges = (),
        leader_epoch: int = NO_LEADER_EPOCH,
        since: int | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.epoch = epoch
        self.start = start
        self.resolved_before = resolved_before
        self.since = since
        self.open_bytes = 0
        self.set_aside_count = 0
        self.fenced = False  # set when the assignment ends: its events need not be sent any more
        self._resolved_before_starts = [of.first for of in resolved_before]
        self._end = start
        self._steps: list[tuple[int, int]] = [(-1, leader_epoch)]
        # Insertion order is offset order, so the first key is the watermark, without a heap or a scan.
        self._open: dict[int, int] = {}

    def track(self, offsets: Sequence[int], sizes: Sequence[int], end: int, leader_epochs: Steps = ()) -> None:
        """Open ``offsets`` (increasing) and move the read position to ``end``, the offset behind the last one fetched.

        ``leader_epochs`` are those of all fetched records, including those that are not opened.
        Raises ValueError if they lie before what was tracked already: the same record would be open twice, and its first
        outcome would let the watermark pass the second.
        """
        if (offsets and offsets[0] < self._end) or end < self._end:
            raise ValueError(f"{self.topic}[{self.partition}]: offset {min([*offsets, end])} is behind {self._end}")
        for step in leader_epochs:
            if step[1] != self._steps[-1][1]:
                self._steps.append(step)
        self._open.update(zip(offsets, sizes, strict=True))
        self.open_bytes += sum(sizes)
        self._end = end

    def resolve(self, offset: int) -> None:
        """Note that an event has a terminal outcome. Resolving it twice, or an offset never tracked, changes nothing."""
        self.open_bytes -= self._open.pop(offset, 0)

    def resolve_all(self, offsets: Iterable[int]) -> None:
        """As ``resolve``, for many events."""
        self.open_bytes -= sum(map(self._open.pop, offsets, repeat(0)))

    def set_aside(self, offset: int) -> None:
        """Leave an event open for the rest of this assignment. Its record is dropped, and it will get no outcome."""
        self.open_bytes -= self._open[offset]
        self._open[offset] = _SET_ASIDE
        self.set_aside_count += 1

    def is_open(self, offset: int) -> bool:
        """Whether the event at this offset still waits for its outcome."""
        return offset in self._open

    def was_resolved_before(self, offset: int, leader_epoch: int) -> bool:
        """Whether a former owner of the partition had resolved the record with this offset and leader epoch."""
        at = bisect_right(self._resolved_before_starts, offset) - 1
        return (
            at >= 0 and offset < self.resolved_before[at].last and leader_epoch == self.resolved_before[at].leader_epoch
        )

    @property
    def unresolved(self) -> int:
        """How many events are open."""
        return len(self._open)

    @property
    def first_awaited(self) -> int | None:
        """The first open event whose outcome is awaited; None if all open events were set aside."""
        if not self.set_aside_count:
            return next(iter(self._open), None)
        return next((offset for offset, size in self._open.items() if size != _SET_ASIDE), None)

    @property
    def position(self) -> int:
        """The next offset to be read."""
        return self._end

    @property
    def watermark(self) -> int:
        """The offset to commit: the first open one, or the read position if none is open."""
        return next(iter(self._open), self._end)

    @property
    def leader_epoch(self) -> int:
        """The leader epoch to be committed with the watermark (KIP-320): of the open record there, or of the last one read.

        That of the record before the watermark could be too low: an aborted transaction or compacted records may lie between
        the two, and the leader may have changed there. By that epoch the log would seem to end before the watermark.
        """
        watermark = self.watermark
        return next(epoch for offset, epoch in reversed(self._steps) if offset <= watermark)

    def forget_epochs(self, before: int) -> None:
        """Keep the leader epochs of the record before this offset and of all later ones; forget the earlier ones."""
        while len(self._steps) > 1 and self._steps[1][0] < before:
            del self._steps[0]

    def resolved_since(self, offset: int) -> Ranges:
        """The ranges with an outcome from this offset on: all before the watermark, and those beyond it."""
        passed = self._of_epochs(offset, self.watermark) if offset < self.watermark else iter(())
        return tuple(of for of in (*passed, *self._resolved_ranges()) if of.leader_epoch != NO_LEADER_EPOCH)

    def outcomes_beyond(self, limit: int = METADATA_LIMIT, topic_id: str = "") -> str:
        """The commit's metadata, in at most ``limit`` bytes: the topic's id, and what is resolved beyond the watermark."""
        return encode_outcomes(self.watermark, self._resolved_ranges(), limit, topic_id, self.since)

    def _resolved_ranges(self) -> Iterator[Resolved]:
        """The resolved ranges beyond the watermark, in order: first those that were read, then those resolved before."""
        behind = self.watermark
        for offset in self._open:
            if offset > behind:
                yield from self._of_epochs(behind, offset)
            behind = offset + 1
        if behind < self._end:
            yield from self._of_epochs(behind, self._end)
        for first, last, leader_epoch in self.resolved_before:
            if last > self._end:
                yield Resolved(max(first, self._end), last, leader_epoch)

    def _of_epochs(self, first: int, last: int) -> Iterator[Resolved]:
        """The range, split where the leader epoch changes. An offset without a record has the epoch of the one before it."""
        ends = [offset for offset, _ in self._steps[1:]]
        for (_, leader_epoch), end in zip(self._steps, [*ends, last], strict=True):
            if first < min(end, last):
                yield Resolved(first, min(end, last), leader_epoch)
                first = end
