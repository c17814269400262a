"""Where the oldest event without an outcome is, in each partition, and what it waits for.

Nothing is kept for this while events flow: the places where an event can be are looked through when somebody asks, those
first where the oldest ones usually are. The dearest case, a full buffer in front of a held pixel, is some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from stream_capi.core.batch import Batch
from stream_capi.core.flow import Gate, GateState
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Record, TopicPartition, Trouble
from stream_capi.observe.record_age import age_of
from stream_capi.observe.what_to_do import PAUSED_BY_CONFIGURATION
from stream_capi.pipeline.lane import LaneLine
from stream_capi.pipeline.partition import Partition
from stream_capi.pipeline.pipeline import Pipeline


class Wait(NamedTuple):
    """What an event waits for: ``state`` for programs, ``text`` for people."""

    state: str
    text: str


class Oldest(NamedTuple):
    """A partition's oldest event without an outcome. ``seconds`` since its Kafka timestamp, None where it has none."""

    offset: int
    seconds: float | None
    wait: Wait


class _Place(NamedTuple):
    """Somewhere that events are: which, and of which assignments."""

    wait: Wait
    owners: Iterable[PartitionOffsets]
    records: Sequence[Record]


def oldest_events(pipeline: Pipeline, dead_letters_fail: str = "") -> dict[TopicPartition, Oldest]:
    """The oldest open event of each partition that has one; one that is paused only where no other is open.

    ``dead_letters_fail``: why dead letters can't be written now.
    """
    wanted = {p.offsets: p for p in pipeline.partitions.values() if p.offsets.unresolved}
    awaited = {offsets: offsets.first_awaited for offsets in wanted}
    firsts = {offsets: first for offsets, first in awaited.items() if first is not None}
    # Of events that are paused only their places are kept.
    found = {
        partition.tp: Oldest(offsets.watermark, None, Wait("paused", PAUSED_BY_CONFIGURATION))
        for offsets, partition in wanted.items()
        if offsets not in firsts
    }
    now_ms = pipeline.clock.epoch() * 1000
    for place in _places(pipeline, dead_letters_fail):
        if not firsts:
            break
        for owner, record in zip(place.owners, place.records, strict=False):
            if owner in firsts and firsts[owner] == record.offset():
                partition = wanted[owner]
                age = age_of(record.timestamp()[1], int(now_ms))
                wait = Wait("stopped", f"stopped: {partition.stopped}") if partition.stopped else place.wait
                seconds = None if age is None else age / 1000
                found[partition.tp] = Oldest(firsts.pop(owner), seconds, wait)
    return found


def unread_waits(pipeline: Pipeline, troubles: Sequence[Trouble]) -> dict[TopicPartition, Wait]:
    """What the lag waits for in each partition that has one and no open event: it is not read, or not committed yet."""
    now = pipeline.clock.now()
    troubled = {tp: trouble for trouble in troubles for tp in trouble.partitions}
    return {
        tp: _unread(pipeline, partition, troubled.get(tp), now)
        for tp, partition in pipeline.partitions.items()
        if partition.lag and not partition.offsets.unresolved
    }


def _unread(pipeline: Pipeline, partition: Partition, trouble: Trouble | None, now: float) -> Wait:
    source = partition.source
    if partition.stopped:
        return Wait("stopped", f"stopped: {partition.stopped}")
    if source.paused:
        return Wait("paused", PAUSED_BY_CONFIGURATION)
    if partition.offsets.position >= partition.high:
        return Wait("commit", "done, waits for its commit")
    line = pipeline.delivery.lanes.get(source.lane) if source.lane else None
    if line is not None and line.held and (behind := _behind_gates(line, now)):
        return Wait("held", behind.text.replace("held:", "held (not read yet):", 1))
    if source.name in pipeline.quarantined_since and partition.paused:
        return Wait("held", f"held (not read yet): {HeldReason.DEAD_LETTER_RATIO}")
    if trouble is not None:
        return Wait("silent", f"not read yet: {trouble.subject}: {trouble.text}")
    if partition.paused:
        return Wait("full", "not read yet: the memory for open events is full")
    return Wait("unread", "not read yet")


def _places(pipeline: Pipeline, dead_letters_fail: str) -> Iterator[_Place]:
    now = pipeline.clock.now()
    for line in pipeline.delivery.lanes.values():
        for batch in line.in_flight:
            yield _Place(_in_flight(line, batch), batch.owners, batch.records)
    for partition in pipeline.partitions.values():
        why = f"dead letter can't be written: {dead_letters_fail}" if dead_letters_fail else "dead letter being written"
        dead_letters = [dead_letter.record for dead_letter in partition.dead_letters.values()]
        yield _Place(Wait("dead_letter", why), [partition.offsets] * len(dead_letters), dead_letters)
    for partition, dead_letter in pipeline.quarantined:
        yield _Place(Wait("held", f"held: {HeldReason.DEAD_LETTER_RATIO}"), [partition.offsets], [dead_letter.record])
    for partition, run, columns in pipeline.without_schema:
        fault = partition.source.waiting_for.get(run.key)
        why = f"waits for {run.key}" + (f": {fault}" if fault else "")
        yield _Place(Wait("schema", why), [partition.offsets] * len(columns.records), columns.records)
    for line in pipeline.delivery.lanes.values():
        yield from _places_of(line, now)


def _places_of(line: LaneLine, now: float) -> Iterator[_Place]:
    behind = _behind_gates(line, now) or Wait("ready", "ready, waits for its turn")
    for batch in line.ready:
        yield _Place(behind, batch.owners, batch.records)
    for due, _, batch in line.delayed:
        text = f"backoff after {batch.waiting_for}, sent again in {_seconds(due - now)}"
        yield _Place(_behind_gates(line, now) or Wait("backoff", text), batch.owners, batch.records)
    if open_batch := line.batcher.peek():
        text = f"window open, closes in at most {_seconds(open_batch.deadline - now)}"
        yield _Place(Wait("window", text), open_batch.owners, open_batch.records)
    # Pieces of a refused batch that are found out already; each split is known to its pieces that are not.
    splits = {id(batch.split): batch.split for batch in [*line.in_flight, *line.batches()] if batch.split}
    for split in splits.values():
        for batch in [*split.refused, *split.parked]:
            text = "refused; waits until the rest of its batch is decided"
            yield _Place(Wait("splitting", text), batch.owners, batch.records)


def _in_flight(line: LaneLine, batch: Batch) -> Wait:
    after = f", after {batch.waiting_for}" if batch.waiting_for else ""
    again = f", attempt {batch.attempts}{after}" if batch.attempts > 1 else ""
    probe = "probe " if line.held else ""
    return Wait("in_flight", f"{probe}in flight{again}")


def _behind_gates(line: LaneLine, now: float) -> Wait | None:
    """What keeps the lane's batches back, if anything does: the pixel's gate or the lane's own."""
    gates = [gate for gate in (line.pixel_gate, line.gate) if not _lets_through(gate, now)]
    if not gates:
        return None
    gate = max(gates, key=lambda gate: (gate.held, gate.opens_at))
    until = _seconds(gate.opens_at - now)
    if gate.state is GateState.HELD:
        return Wait("held", f"held: {gate.reason}, next probe in {until}")
    if gate.state is GateState.THROTTLED:
        return Wait("throttled", f"throttled ({gate.reason}), goes on in {until}")
    return Wait("failing", f"endpoint fails ({gate.reason}), next try in {until}")


def _lets_through(gate: Gate, now: float) -> bool:
    return gate.state is GateState.PASSING or (gate.state is GateState.THROTTLED and gate.admits(now))


def _seconds(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s"
