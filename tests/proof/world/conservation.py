"""No event gets lost in a member: at every moment each of its open events is in exactly one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from stream_capi.core.batch import Batch, Split
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.pipeline.partition import Partition
from tests.proof.world.member import BUDGET, CHUNK, MAX_IN_FLIGHT, Member
from tests.proof.world.simulated_endpoint import MAX_EVENTS

Place = tuple[PartitionOffsets, int]
_EVENT_BYTES = 8_000  # an upper bound of the size with which one event is counted


def check(member: Member) -> None:
    """Raise AssertionError if an event is lost or in two places, or if the member holds too much memory."""
    places = Counter(_places(member))
    doubled = [(owner.topic, owner.partition, offset) for (owner, offset), n in places.items() if n > 1]
    assert not doubled, f"{member}: in two places at once: {doubled}"
    known: Counter[PartitionOffsets] = Counter()
    for owner, offset in places:
        if not owner.fenced and owner.is_open(offset):
            known[owner] += 1
    for partition in member.pipeline.partitions.values():
        if not partition.offsets.fenced:  # fenced: being handed over, and unsent events are dropped
            _is_whole(member, partition, known[partition.offsets])
    _is_bounded(member)
    _nothing_of_others_is_kept(member)


def _is_whole(member: Member, partition: Partition, known: int) -> None:
    writing = len(partition.dead_letters)
    open_events = partition.offsets.unresolved
    assert known + writing == open_events, (
        f"{member} {partition.tp}: {open_events} open events, {known} in their places and {writing} being dead-lettered"
    )


def _is_bounded(member: Member) -> None:
    """Half of the budget is common to all partitions; of the other half each has a share.

    A share counts with its largest size in this assignment. For each partition one or two more chunks may be on the way.
    """
    partitions = member.pipeline.partitions
    chunks = 4 * CHUNK * _EVENT_BYTES // 3
    for tp, partition in partitions.items():
        member.most_share[tp] = max(member.most_share.get(tp, 0), BUDGET // 2 // len(partitions))
        held = partition.buffered_bytes
        assert held <= BUDGET // 2 + chunks, f"{member} {tp}: {held} bytes of a budget of {BUDGET}"
    held = member.pipeline.buffered_bytes
    bound = BUDGET // 2 + sum(member.most_share[tp] + chunks for tp in partitions)
    assert held <= bound, f"{member}: {held} bytes of at most {bound}"


def _nothing_of_others_is_kept(member: Member) -> None:
    """Events of partitions that were handed over are dropped; otherwise each hand-over would leak memory.

    Except those that were in flight: if their request is to be retried, they are dropped only at the retry.
    """
    pipeline = member.pipeline
    owners = [waiting.partition.offsets for waiting in pipeline.without_schema]
    owners += [partition.offsets for partition, _ in pipeline.quarantined]
    assert not any(owner.fenced for owner in owners), f"{member}: keeps events of others that wait for a decision"
    kept = [batch for line in pipeline.delivery.lanes.values() for batch in line.batches()]
    fenced = sum(owner.fenced for batch in kept for owner in batch.owners)
    assert fenced <= MAX_IN_FLIGHT * MAX_EVENTS, f"{member}: keeps {fenced} events of others in its batches"


def _places(member: Member) -> Iterator[Place]:
    pipeline = member.pipeline
    splits: dict[int, Split] = {}
    for line in pipeline.delivery.lanes.values():
        for batch in [*line.batches(), *line.in_flight]:
            yield from _of_batch(batch)
            if batch.split is not None:
                splits[id(batch.split)] = batch.split
    for split in splits.values():
        for batch in (*split.refused, *split.parked):
            yield from _of_batch(batch)
    for waiting in pipeline.without_schema:
        for offset in waiting.columns.offsets:
            yield waiting.partition.offsets, offset
    for partition, dead_letter in pipeline.quarantined:
        yield partition.offsets, dead_letter.record.offset() or 0


def _of_batch(batch: Batch) -> Iterator[Place]:
    for owner, record in zip(batch.owners, batch.records, strict=True):
        yield owner, record.offset() or 0
