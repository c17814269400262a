"""Trackers of a partition whose records all have the same leader epoch."""

from __future__ import annotations

from stream_capi.core.offset_metadata import Resolved, decode_outcomes
from stream_capi.core.offsets import PartitionOffsets

EPOCH = 5


def tracker(start: int = 0, resolved_before: tuple[tuple[int, int], ...] = ()) -> PartitionOffsets:
    ranges = tuple(Resolved(first, last, EPOCH) for first, last in resolved_before)
    return PartitionOffsets("leads", 0, 1, start, ranges, EPOCH)


def decoded(metadata: str, committed: int, topic_id: str = "") -> tuple[tuple[int, int], ...]:
    """The ranges of a text, which must all have that leader epoch."""
    ranges = decode_outcomes(metadata, committed, topic_id)
    assert {of.leader_epoch for of in ranges} <= {EPOCH}
    return tuple((of.first, of.last) for of in ranges)


def track(offsets: PartitionOffsets, *numbers: int) -> None:
    offsets.track(numbers, [10] * len(numbers), numbers[-1] + 1, [(numbers[0], EPOCH)])
