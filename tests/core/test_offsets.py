"""The tracker's invariants, each one broken on purpose somewhere below."""

from __future__ import annotations

from base64 import b85encode
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_capi.core.offsets import METADATA_LIMIT, PartitionOffsets, log_of, settled_ranges


def tracker(start: int = 0, settled: tuple[tuple[int, int], ...] = ()) -> PartitionOffsets:
    return PartitionOffsets("leads", 0, 1, start, settled)


def track(offsets: PartitionOffsets, *numbers: int) -> None:
    offsets.track(numbers, [10] * len(numbers), numbers[-1] + 1)


def test_nothing_read_commits_the_start() -> None:
    assert tracker(42).watermark == 42


def test_the_watermark_waits_for_the_first_open_event() -> None:
    offsets = tracker()
    track(offsets, 0, 1, 2)
    offsets.resolve(2)
    offsets.resolve(1)
    assert offsets.watermark == 0
    offsets.resolve(0)
    assert offsets.watermark == 3


def test_gaps_of_compaction_and_transactions_are_not_waited_for() -> None:
    offsets = tracker()
    track(offsets, 3, 7, 20)
    for offset in (3, 7, 20):
        offsets.resolve(offset)
    assert offsets.watermark == 21


def test_records_without_outcome_at_the_end_of_a_chunk_move_the_position() -> None:
    offsets = tracker()
    offsets.track([0], [10], 5)  # 1 to 4 were tombstones
    offsets.resolve(0)
    assert offsets.watermark == 5


def test_a_record_that_was_tracked_already_is_an_error_not_a_second_outcome() -> None:
    offsets = tracker()
    track(offsets, 0, 1)
    with pytest.raises(ValueError, match=r"leads\[0\]: offset 1 is behind 2"):
        track(offsets, 1)
    with pytest.raises(ValueError, match="behind"):
        offsets.track([], [], 1)


@pytest.mark.parametrize(("chunk", "end"), [([1, 5], 6), ([3], 1)])
def test_a_chunk_that_only_begins_or_ends_behind_is_refused_too(chunk: list[int], end: int) -> None:
    offsets = tracker()
    track(offsets, 0, 1)
    with pytest.raises(ValueError, match="behind 2"):
        offsets.track(chunk, [1] * len(chunk), end)


def test_every_offset_has_a_size() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tracker().track([0, 1], [10], 2)


def test_an_assignment_begins_unfenced_with_nothing_in_memory() -> None:
    offsets = tracker(7)
    assert (offsets.fenced, offsets.open_bytes, offsets.unresolved, offsets.position) == (False, 0, 0, 7)


def test_many_are_resolved_at_once_as_one_by_one() -> None:
    offsets = tracker()
    track(offsets, 0, 1, 2, 3)
    offsets.resolve_all([0, 2, 2, 99])
    assert (offsets.unresolved, offsets.open_bytes, offsets.watermark) == (2, 20, 1)


def test_resolving_twice_counts_once() -> None:
    offsets = tracker()
    track(offsets, 0, 1)
    offsets.resolve(0)
    offsets.resolve(0)
    offsets.resolve(99)
    assert (offsets.unresolved, offsets.open_bytes, offsets.watermark) == (1, 10, 1)


def test_outcomes_beyond_come_back_to_the_next_owner() -> None:
    offsets = tracker(100)
    track(offsets, *range(100, 200))
    for offset in [*range(110, 150), 199]:
        offsets.resolve(offset)
    text = offsets.outcomes_beyond(log="abc")
    assert settled_ranges(text, 100, "abc") == ((110, 150), (199, 200))
    heir = tracker(100, settled_ranges(text, 100, "abc"))
    assert [o for o in range(100, 200) if heir.is_settled(o)] == [*range(110, 150), 199]


def test_the_text_of_an_earlier_release_is_still_read() -> None:
    """A change of its form needs another version: members of two releases share a group while one replaces the other."""
    offsets = tracker(100)
    track(offsets, *range(100, 400))
    for offset in [*range(110, 150), 399]:
        offsets.resolve(offset)
    text = "capi1:abc:100:JslzC3Mlyj0R"
    assert offsets.outcomes_beyond(log="abc") == text
    assert settled_ranges(text, 100, "abc") == ((110, 150), (399, 400))
    around_a_byte = ((1, 128), (130, 258))  # 127 is the largest number of one byte
    text = "capi1::0:haM8t0e=F30R"
    assert tracker(0, around_a_byte).outcomes_beyond() == text
    assert settled_ranges(text, 0) == around_a_byte


def test_what_has_just_room_is_told_and_nothing_beyond_the_limit() -> None:
    for settled in (((3, 4),), ((3, 4), (10, 300)), ((3, 400), (900, 901), (1000, 9000))):
        offsets = tracker(0, settled)
        whole = offsets.outcomes_beyond()
        assert settled_ranges(offsets.outcomes_beyond(len(whole)), 0) == settled
        assert settled_ranges(offsets.outcomes_beyond(len(whole) - 1), 0) == settled[:-1]
        assert all(len(offsets.outcomes_beyond(limit)) <= limit for limit in range(len(whole)))


def test_an_heir_that_has_read_nothing_yet_passes_the_outcomes_on() -> None:
    heir = tracker(100, ((110, 150), (160, 170)))
    assert settled_ranges(heir.outcomes_beyond(), 100) == ((110, 150), (160, 170))
    heir.track([100, 101], [1, 1], 120)
    heir.resolve(101)
    assert settled_ranges(heir.outcomes_beyond(), 100) == ((101, 150), (160, 170))


def test_what_was_settled_up_to_the_read_position_is_told_no_more() -> None:
    heir = tracker(100, ((100, 110),))
    heir.track([], [], 110)
    assert heir.outcomes_beyond(log="abc") == "capi1:abc:110:"


@pytest.mark.parametrize(
    ("committed", "log", "why"),
    [(101, "abc", "the offset was reset since"), (100, "other", "the topic was made anew"), (100, "", "no id known")],
)
def test_metadata_that_does_not_fit_is_ignored(committed: int, log: str, why: str) -> None:
    text = tracker(100, ((110, 150),)).outcomes_beyond(log="abc")
    assert settled_ranges(text, 100, "abc")
    assert settled_ranges(text, committed, log) == (), why


@pytest.mark.parametrize(
    "text", ["", "x", "capi2::100:", "capi1::100:~~~~~", "capi1::100:00", "capi1::x:", "a:b:c:d", "capi1::100:\x00"]
)
def test_metadata_of_others_is_ignored(text: str) -> None:
    assert settled_ranges(text, 100) == ()


@pytest.mark.parametrize("skip", range(240, 256))
def test_a_text_that_lost_its_end_is_not_believed(skip: int) -> None:
    """Base 85 without its last four characters still decodes here, to a run of two for the run of one: offset 2 is open."""
    offsets = tracker()
    track(offsets, *range(skip + 4))
    offsets.resolve(1)
    offsets.resolve(2 + skip)
    text = offsets.outcomes_beyond()
    assert settled_ranges(text, 0) == ((1, 2), (2 + skip, 3 + skip))
    assert [settled_ranges(text[:-cut], 0) for cut in range(1, 12)] == [()] * 11


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (b"\x01", "an open run without a resolved one"),
        (b"\x01\x01\x05", "the same after a pair"),
        (b"\x01\x00", "a resolved run of nothing"),
        (b"\x01\x01\x00\x02", "a run that joins the one before it"),
        (b"\x01\x81", "a number without its end"),
        (b"\x01\x01\x81", "the same after a pair"),
        (b"\x01" + b"\x80" * 9 + b"\x01", "a number of more than 63 bits"),
    ],
)
def test_a_text_that_no_release_has_written_is_not_believed_although_its_checksum_is_right(
    runs: bytes, why: str
) -> None:
    text = b85encode(crc32(runs).to_bytes(4, "big") + runs).decode()
    assert settled_ranges(f"capi1::100:{text}", 100) == (), why


def test_ranges_of_any_size_come_back() -> None:
    settled = ((101, 2**56), (2**57, 2**62))
    assert settled_ranges(tracker(100, settled).outcomes_beyond(), 100) == settled
    at_once = ((100, 101),)
    assert settled_ranges(tracker(100, at_once).outcomes_beyond(), 100) == at_once


def test_a_limit_with_no_room_even_for_the_name_leaves_the_text_empty() -> None:
    offsets = tracker(100, ((110, 150),))
    head = "capi1:abc:100:"
    assert offsets.outcomes_beyond(len(head) - 1, "abc") == ""
    assert offsets.outcomes_beyond(len(head), "abc") == head


def test_the_log_is_named_even_where_nothing_lies_beyond() -> None:
    assert log_of(tracker(5).outcomes_beyond(log="abc")) == "abc"
    assert log_of("somebody else's") == ""


def test_metadata_stays_below_the_limit_and_leaves_the_far_end_out() -> None:
    offsets = tracker()
    track(offsets, *range(20_000))
    for offset in range(1, 20_000, 2):
        offsets.resolve(offset)
    text = offsets.outcomes_beyond(log="i" * 22)
    assert METADATA_LIMIT == 4096, "Kafka's default for offset.metadata.max.bytes"
    assert METADATA_LIMIT - 4 <= len(text.encode()) <= METADATA_LIMIT
    assert [len(offsets.outcomes_beyond(limit, "abc")) for limit in (20, 30, 100)] == [20, 30, 100]
    ranges = settled_ranges(text, 0, "i" * 22)
    assert ranges[:2] == ((1, 2), (3, 4))
    assert all(not offsets.is_open(first) for first, _ in ranges)


@settings(max_examples=60, deadline=None)  # the model in tests/proof goes further
@given(st.data())
def test_no_commit_passes_an_open_event_and_none_goes_back(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 1000))
    offsets = tracker(start)
    open_offsets: set[int] = set()
    resolved: set[int] = set()
    end, last = start, start
    for _ in range(data.draw(st.integers(1, 25))):
        resolves = data.draw(st.booleans())
        if open_offsets and resolves:
            for offset in data.draw(st.lists(st.sampled_from(sorted(open_offsets)), unique=True)):
                offsets.resolve(offset)
                open_offsets.discard(offset)
                resolved.add(offset)
        else:
            steps = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=20))
            chunk = []
            for step in steps:
                end += step
                chunk.append(end - 1)
            offsets.track(chunk, [1] * len(chunk), end)
            open_offsets.update(chunk)
        watermark = offsets.watermark
        assert last <= watermark <= min(open_offsets, default=end)
        assert offsets.open_bytes == offsets.unresolved == len(open_offsets)
        last = watermark
        heir = tracker(watermark, settled_ranges(offsets.outcomes_beyond(), watermark))
        assert not any(heir.is_settled(offset) for offset in open_offsets)
        assert all(heir.is_settled(offset) for offset in resolved if offset >= watermark)


@given(st.text(max_size=60), st.integers(0, 200))
def test_any_metadata_is_read_without_an_error(text: str, committed: int) -> None:
    for body in (text, f"capi1::{committed}:{text}"):
        ranges = settled_ranges(body, committed)
        assert all(committed <= first < last for first, last in ranges)
