"""Which records a range includes, at which rate they are read, and when the range is done. No broker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from stream_capi.kafka.range_policy import Adapt, RangePolicy
from stream_capi.kafka.ranges import Range
from stream_capi.kafka.start_offsets import Place
from stream_capi.model import Records, TopicPartition
from tests.fake_record import FakeRecord

A, B = TopicPartition("leads", 0), TopicPartition("leads", 1)


def place(tp: TopicPartition, offset: int) -> Place:
    return Place(tp, offset, "", True, 100, None)


def chunk(tp: TopicPartition, offsets: Sequence[int], epoch: int = 1) -> Records:
    records: list[Any] = [FakeRecord(place=(*tp, offset)) for offset in offsets]
    return Records(tp.topic, tp.partition, epoch, records)


def policy(rate: float = 0, adapt: Adapt | None = None) -> RangePolicy:
    made = RangePolicy({A: Range(10, 20)}, rate, adapt)
    made.begin([place(A, 10)])
    return made


def test_only_the_partitions_of_its_ranges_are_read() -> None:
    assert (policy().wants(A), policy().wants(B), policy().topics) == (True, False, ["leads"])


@pytest.mark.parametrize(
    ("fetched", "kept", "over"),
    [
        ([10, 11], [10, 11], False),
        ([18, 19], [18, 19], True),
        ([17, 19, 20, 21], [17, 19], True),
        ([18, 25], [18], True),  # the range ends in a gap
        ([25], [], True),
    ],
)
def test_a_chunk_is_cut_at_the_end_of_its_range(fetched: list[int], kept: list[int], over: bool) -> None:
    it = policy()
    assert it.part_of(chunk(A, fetched)).columns.offsets == kept
    assert (it.is_over(A), it.take_ended()) == (over, [A] if over else [])
    assert it.take_ended() == [], "an end is reported once"


def test_what_is_of_no_assignment_ends_nothing() -> None:
    it = policy()
    assert it.part_of(chunk(B, [30], epoch=-1)).columns.offsets == [30]
    assert not it.is_over(A)


def test_records_that_are_not_wanted_are_passed_over_and_count_for_the_end() -> None:
    it = policy(adapt=lambda record: record if record.offset() == 12 else None)
    assert it.part_of(chunk(A, [11, 12, 19])).columns.offsets == [12]
    assert it.take_ended() == [A]


@pytest.mark.parametrize(("offset", "over"), [(19, False), (20, True), (40, True)])
def test_the_end_of_the_log_is_that_of_a_range_that_ends_in_a_gap(offset: int, over: bool) -> None:
    it = policy()
    it.log_ended(A, offset)
    assert (it.is_over(A), it.take_ended()) == (over, [A] if over else [])


def test_a_partition_that_begins_at_its_end_is_over_until_the_next_assignment() -> None:
    it = policy()
    it.begin([place(A, 20)])
    assert (it.is_over(A), it.take_ended()) == (True, [A])
    it.begin([place(A, 15)])
    assert (it.is_over(A), it.take_ended()) == (False, [])
    it.log_ended(A, 20)
    assert it.take_ended() == [A], "each assignment has its own end"


def test_what_was_handed_over_is_known_by_its_epoch() -> None:
    it = policy()
    it.handed_over(A, 3)
    assert it.reached == {A: 3}


def test_the_rate_counts_what_is_handed_over_and_saves_up_one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [0.0], list[float]()
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=slept.append)
    monkeypatch.setattr("stream_capi.kafka.range_policy.time", clock)
    it = policy(rate=4)
    now[0] = 60.0
    assert it.allowed(1000) == 4
    assert it.part_of(chunk(A, [10, 11, 12])).columns.offsets == [10, 11, 12]
    assert it.allowed(1000) == 1
    it.part_of(chunk(A, [13]))
    assert (it.allowed(1000), slept) == (0, [0.1])
    now[0] += 0.25
    assert it.allowed(1000) == 1


def test_without_a_rate_nothing_is_waited_for() -> None:
    begun = time.monotonic()
    assert policy().allowed(1000) == 1000
    assert time.monotonic() - begun < 1
