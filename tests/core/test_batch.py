"""Batches close by count, by size or at the end of their window, and hold every event exactly once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.applovin import ENVELOPE_BYTES
from stream_capi.core.batch import Batch, Batcher, Split, merged
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Columns, EventName, Lane

LANE = Lane("main", EventName.GENERATE_LEAD)
OWNER = PartitionOffsets("leads", 0, 1, 0)


def columns(*records: Any) -> Columns:
    """Columns in which offset and timestamp identify each record."""
    return Columns(list(records), list(range(len(records))), [1000 + at for at in range(len(records))])


def records_of(batch: Batch) -> list[Any]:
    """The batch's records: in these tests, any values."""
    return list(batch.records)


def add(batcher: Batcher, payloads: list[bytes], now: float = 0.0, window: float = 1.0) -> list[Batch]:
    return batcher.add(payloads, columns(*payloads), OWNER, now, window)


def test_a_batch_goes_when_it_is_full() -> None:
    batcher = Batcher(LANE, 3, 10_000)
    full = add(batcher, [b"{}"] * 7)
    assert [len(batch) for batch in full] == [3, 3]
    rest = batcher.flush()
    assert rest is not None
    assert len(rest) == 1
    assert batcher.flush() is None


def test_a_batch_goes_before_it_passes_the_size() -> None:
    payload = b"x" * 100
    batcher = Batcher(LANE, 100, ENVELOPE_BYTES + 3 * 101)
    assert [len(batch) for batch in add(batcher, [payload] * 7)] == [3, 3]


def test_the_window_runs_from_the_first_event_and_not_from_the_last_flush() -> None:
    batcher = Batcher(LANE, 10, 10_000)
    add(batcher, [b"1"], now=50.0)
    add(batcher, [b"2"], now=50.9)
    assert batcher.deadline() == 51.0
    batcher.flush()
    assert batcher.deadline() is None


def test_a_lone_event_waits_for_a_hundredth_of_the_window_and_many_wait_for_all_of_it() -> None:
    batcher = Batcher(LANE, 100, 10_000)
    assert batcher.early() is None
    add(batcher, [b"1"], now=50.0)
    assert batcher.early() == pytest.approx(50.01)
    add(batcher, [b"1"] * 49, now=50.0)
    assert batcher.early() == pytest.approx(50.5)
    add(batcher, [b"1"] * 49, now=50.0)
    batcher.flush()
    add(batcher, [b"1"], now=50.0)
    assert batcher.early() == batcher.deadline() == 51.0


def test_what_came_long_ago_makes_nobody_wait() -> None:
    batcher = Batcher(LANE, 100, 1_000_000)
    add(batcher, [b"1"] * 5000, now=50.0)
    add(batcher, [b"1"], now=70.0)
    assert batcher.early() == pytest.approx(70.01, abs=0.001)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("per_window", [0.5, 1, 3, 10, 30, 60, 99, 150, 1000, 20_000])
def test_going_early_makes_no_stream_of_tiny_batches(per_window: float) -> None:
    batcher = Batcher(LANE, 100, 1_000_000)
    windows, full, early = 50, 0, 0
    for number in range(int(per_window * windows)):
        now = number / per_window
        at = batcher.early()
        if at is not None and at <= now:
            batcher.flush()
            early += 1
        full += len(add(batcher, [b"1"], now))
    assert early / windows <= 11
    if per_window > 100:
        assert early == 0, "the batches are full before anybody would lose patience"


def test_the_most_impatient_source_of_a_lane_counts() -> None:
    batcher = Batcher(LANE, 10, 10_000)
    add(batcher, [b"1"], now=0.0, window=5.0)
    add(batcher, [b"2"], now=1.0, window=1.0)
    assert batcher.deadline() == 2.0


def test_the_body_joins_the_payloads() -> None:
    batch = Batch(LANE)
    batch.extend([b'{"a":1}', b'{"b":2}'], columns(1, 2), [OWNER] * 2)
    assert batch.body() == b'{"events":[{"a":1},{"b":2}]}'


def test_events_fade_by_their_own_window() -> None:
    batcher = Batcher(LANE, 100, 10_000)
    add(batcher, [b"1"] * 50, now=0.0, window=10.0)
    assert batcher.early() == 5.0, "fifty of a hundred: half the window"
    batcher.flush()
    add(batcher, [b"1"], now=10.0, window=10.0)
    assert batcher.early() == pytest.approx(10.0 + 10.0 * (50 / math.e + 1) / 100)


def test_a_batch_begins_with_no_time_no_attempt_and_no_history() -> None:
    batch = Batch(LANE)
    assert (batch.begun, batch.early, batch.deadline) == (0.0, 0.0, 0.0)
    assert (len(batch), batch.attempts, batch.refused, batch.split, batch.waiting_for) == (0, 0, False, None, "")
    later = Batch(LANE, 5.0, 2.0)
    assert (later.begun, later.early, later.deadline) == (5.0, 5.0, 7.0)


def test_a_part_has_the_history_of_the_whole() -> None:
    batch = Batch(LANE)
    batch.extend([b"1", b"22", b"333"], columns("a", "b", "c"), [OWNER] * 3)
    batch.attempts, batch.refused, batch.split, batch.waiting_for = 3, True, Split.of(8), "400"
    part = batch.part([0, 2])
    assert (part.payloads, records_of(part), part.owners) == ([b"1", b"333"], ["a", "c"], [OWNER] * 2)
    assert (part.offsets, part.timestamps, list(part.assignments)) == ([0, 2], [1000, 1002], [OWNER])
    assert (part.attempts, part.refused, part.split, part.waiting_for) == (3, True, batch.split, "400")
    assert part.size == ENVELOPE_BYTES + 6
    assert [half.payloads for half in batch.halves()] == [[b"1"], [b"22", b"333"]]
    assert merged(LANE, batch.halves()).split is None


def test_halves_hold_every_event_once_and_merge_again() -> None:
    batch = Batch(LANE)
    payloads = [bytes([65 + i]) for i in range(7)]
    batch.extend(payloads, columns(*range(7)), [OWNER] * 7)
    batch.attempts = 4
    first, second = batch.halves()
    assert first.payloads + second.payloads == payloads
    assert merged(LANE, [second, first]).attempts == 4
    whole = merged(LANE, [second, first])
    assert sorted(whole.payloads) == payloads
    assert list(zip(records_of(whole), whole.offsets, whole.timestamps, strict=True)) == [
        (at, at, 1000 + at) for at in (3, 4, 5, 6, 0, 1, 2)
    ]


def test_fenced_events_are_left_out() -> None:
    gone = PartitionOffsets("leads", 1, 1, 0)
    batch = Batch(LANE)
    batch.extend([b"1", b"2", b"3"], columns(1, 2, 3), [OWNER, gone, OWNER])
    assert list(batch.assignments) == [OWNER, gone]
    assert batch.without_fenced() is batch
    gone.fenced = True
    live = batch.without_fenced()
    assert (live.payloads, live.offsets, list(live.assignments)) == ([b"1", b"3"], [0, 2], [OWNER])


def test_its_repr_shows_no_payload() -> None:
    batch = Batch(LANE)
    batch.extend([b"canary@example.com"], columns("canary@example.com"), [OWNER])
    assert "canary" not in repr(batch)
    assert "canary" not in repr(columns("canary@example.com"))


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(1, 60), max_size=40), max_size=8), st.integers(1, 10), st.integers(75, 300))
def test_every_event_is_in_one_batch_in_order_and_no_batch_is_too_large(
    chunks: list[list[int]], max_events: int, max_bytes: int
) -> None:
    batcher = Batcher(LANE, max_events, max_bytes)
    batches: list[Batch] = []
    sent: list[bytes] = []
    for chunk in chunks:
        payloads = [b"x" * size for size in chunk]
        sent += payloads
        batches += add(batcher, payloads)
    if last := batcher.flush():
        batches.append(last)
    assert [payload for batch in batches for payload in batch.payloads] == sent
    assert [at for batch in batches for at in batch.offsets] == [at for chunk in chunks for at in range(len(chunk))]
    assert [at - 1000 for batch in batches for at in batch.timestamps] == [at for b in batches for at in b.offsets]
    assert [record for batch in batches for record in records_of(batch)] == sent
    assert all(1 <= len(batch) <= max_events for batch in batches)
    assert all(len(batch.body()) <= batch.size <= max_bytes for batch in batches)


@pytest.mark.parametrize("count", [1, 2, 99, 100])
def test_sizes_are_the_bodys(count: int) -> None:
    batch = Batch(LANE)
    batch.extend([b"{}"] * count, columns(*range(count)), [OWNER] * count)
    assert batch.size - len(batch.body()) == 1  # ``size`` counts a comma after the last event too


def test_a_split_begins_with_nothing_decided_and_is_spent_with_its_last_request() -> None:
    split = Split.of(1)
    assert (split.budget, split.pending, split.refused, split.parked, split.spent) == (1, 0, [], [], False)
    split.budget -= 1
    assert split.spent
