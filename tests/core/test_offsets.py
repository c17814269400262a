"""The tracker's invariants, each one broken on purpose somewhere below."""

from __future__ import annotations

from base64 import b85encode
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_capi.core.offsets import METADATA_LIMIT, PartitionOffsets, Resolved, log_of, settled_ranges
from stream_capi.model import NO_LEADER_EPOCH

EPOCH = 5


def tracker(start: int = 0, settled: tuple[tuple[int, int], ...] = ()) -> PartitionOffsets:
    ranges = tuple(Resolved(first, last, EPOCH) for first, last in settled)
    return PartitionOffsets("leads", 0, 1, start, ranges, EPOCH)


def told(metadata: str, committed: int, log: str = "") -> tuple[tuple[int, int], ...]:
    """The ranges of a text, all of which must be of the one leader epoch."""
    ranges = settled_ranges(metadata, committed, log)
    assert {of.leader_epoch for of in ranges} <= {EPOCH}
    return tuple((of.first, of.last) for of in ranges)


def track(offsets: PartitionOffsets, *numbers: int) -> None:
    offsets.track(numbers, [10] * len(numbers), numbers[-1] + 1, [(numbers[0], EPOCH)])


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
    assert told(text, 100, "abc") == ((110, 150), (199, 200))
    heir = tracker(100, told(text, 100, "abc"))
    assert [o for o in range(100, 200) if heir.is_settled(o, EPOCH)] == [*range(110, 150), 199]


def test_the_text_keeps_its_form() -> None:
    """A change of its form needs another version: members of two releases share a group while one replaces the other."""
    offsets = tracker(100)
    track(offsets, *range(100, 400))
    for offset in [*range(110, 150), 399]:
        offsets.resolve(offset)
    text = "capi2:abc:100:G;1ay1po>t`2hg"
    assert offsets.outcomes_beyond(log="abc") == text
    assert told(text, 100, "abc") == ((110, 150), (399, 400))
    around_a_byte = ((1, 128), (130, 258))  # 127 is the largest number of one byte
    text = "capi2::0:j%XDS1ponm0)PP"
    assert tracker(0, around_a_byte).outcomes_beyond() == text
    assert told(text, 0) == around_a_byte


def test_the_text_of_release_0_1_names_its_log_and_no_outcome() -> None:
    """It has no leader epochs, so that after a cut of the log its outcomes could be those of other records."""
    text = "capi1:abc:100:JslzC3Mlyj0R"
    assert log_of(text) == "abc"
    assert settled_ranges(text, 100, "abc") == ()


def test_an_outcome_is_that_of_the_record_of_its_own_leader_epoch() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=3)
    offsets.track(range(100, 110), [1] * 10, 110, [(100, 3), (106, 4)])
    offsets.resolve_all([*range(102, 108), 109])
    text = offsets.outcomes_beyond(log="abc")
    ranges = settled_ranges(text, 100, "abc")
    assert ranges == (Resolved(102, 106, 3), Resolved(106, 108, 4), Resolved(109, 110, 4))
    heir = PartitionOffsets("leads", 0, 2, 100, ranges, 3)
    assert [o for o in range(100, 110) if heir.is_settled(o, 3)] == [102, 103, 104, 105]
    assert [o for o in range(100, 110) if heir.is_settled(o, 4)] == [106, 107, 109]
    assert not any(heir.is_settled(o, 5) for o in range(100, 110)), "the log was cut at 102 and filled again"
    assert settled_ranges(heir.outcomes_beyond(log="abc"), 100, "abc") == ranges


def test_records_without_a_leader_epoch_are_in_no_text() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100)
    offsets.track(range(100, 110), [1] * 10, 110, [(100, NO_LEADER_EPOCH), (105, 2)])
    offsets.resolve_all([102, 103, 106])
    assert settled_ranges(offsets.outcomes_beyond(), 100) == (Resolved(106, 107, 2),)


def test_the_leader_epoch_to_commit_is_that_of_the_record_before_the_watermark() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=3)
    assert offsets.leader_epoch == 3, "nothing is read yet: as it was committed"
    offsets.track([100, 101], [1, 1], 102, [(100, 3)])
    offsets.track([102, 103], [1, 1], 104, [(102, 7)])
    offsets.resolve_all([100, 101])
    assert (offsets.watermark, offsets.leader_epoch) == (102, 3)
    offsets.resolve(102)
    assert (offsets.watermark, offsets.leader_epoch) == (103, 7)
    offsets.forget_epochs(103)
    offsets.resolve(103)
    assert (offsets.watermark, offsets.leader_epoch) == (104, 7)


def test_what_is_known_since_a_commit_is_all_before_the_watermark_and_the_outcomes_beyond() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=3)
    offsets.track(range(100, 110), [1] * 10, 110, [(100, 3), (103, 4)])
    offsets.resolve_all([100, 101, 102, 103, 106])
    assert offsets.resolved_since(101) == (Resolved(101, 103, 3), Resolved(103, 104, 4), Resolved(106, 107, 4))
    offsets.forget_epochs(102)
    assert offsets.resolved_since(102) == (Resolved(102, 103, 3), Resolved(103, 104, 4), Resolved(106, 107, 4))


def test_what_has_just_room_is_told_and_nothing_beyond_the_limit() -> None:
    for settled in (((3, 4),), ((3, 4), (10, 300)), ((3, 400), (900, 901), (1000, 9000))):
        offsets = tracker(0, settled)
        whole = offsets.outcomes_beyond()
        assert told(offsets.outcomes_beyond(len(whole)), 0) == settled
        assert told(offsets.outcomes_beyond(len(whole) - 1), 0) == settled[:-1]
        assert all(len(offsets.outcomes_beyond(limit)) <= limit for limit in range(len(whole)))


def test_an_heir_that_has_read_nothing_yet_passes_the_outcomes_on() -> None:
    heir = tracker(100, ((110, 150), (160, 170)))
    assert told(heir.outcomes_beyond(), 100) == ((110, 150), (160, 170))
    heir.track([100, 101], [1, 1], 120)
    heir.resolve(101)
    assert told(heir.outcomes_beyond(), 100) == ((101, 150), (160, 170))


def test_what_was_settled_up_to_the_read_position_is_told_no_more() -> None:
    heir = tracker(100, ((100, 110),))
    heir.track([], [], 110)
    assert heir.outcomes_beyond(log="abc") == "capi2:abc:110:"


@pytest.mark.parametrize(
    ("committed", "log", "why"),
    [(101, "abc", "the offset was reset since"), (100, "other", "the topic was made anew"), (100, "", "no id known")],
)
def test_metadata_that_does_not_fit_is_ignored(committed: int, log: str, why: str) -> None:
    text = tracker(100, ((110, 150),)).outcomes_beyond(log="abc")
    assert told(text, 100, "abc")
    assert told(text, committed, log) == (), why


@pytest.mark.parametrize(
    "text", ["", "x", "capi3::100:", "capi2::100:~~~~~", "capi2::100:00", "capi2::x:", "a:b:c:d", "capi2::100:\x00"]
)
def test_metadata_of_others_is_ignored(text: str) -> None:
    assert told(text, 100) == ()


@pytest.mark.parametrize("skip", range(240, 256))
def test_a_text_that_lost_its_end_is_not_believed(skip: int) -> None:
    """Base 85 without its last four characters still decodes here, to a run of two for the run of one: offset 2 is open."""
    offsets = tracker()
    track(offsets, *range(skip + 4))
    offsets.resolve(1)
    offsets.resolve(2 + skip)
    text = offsets.outcomes_beyond()
    assert told(text, 0) == ((1, 2), (2 + skip, 3 + skip))
    assert [told(text[:-cut], 0) for cut in range(1, 12)] == [()] * 11


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (b"\x05\x00\x01", "an open run without a resolved one"),
        (b"\x05\x00\x01\x01\x05", "the same after a pair"),
        (b"\x01\x01", "a run without a leader epoch before it"),
        (b"\x05\x00\x01\x01\x00\x02", "a run that joins the one before it"),
        (b"\x05\x00\x01\x81", "a number without its end"),
        (b"\x05\x00\x01\x01\x81", "the same after a pair"),
        (b"\x05\x00\x01" + b"\x80" * 9 + b"\x01", "a number of more than 63 bits"),
    ],
)
def test_a_text_that_no_release_has_written_is_not_believed_although_its_checksum_is_right(
    runs: bytes, why: str
) -> None:
    text = b85encode(crc32(runs).to_bytes(4, "big") + runs).decode()
    assert told(f"capi2::100:{text}", 100) == (), why


def test_ranges_of_any_size_come_back() -> None:
    settled = ((101, 2**56), (2**57, 2**62))
    assert told(tracker(100, settled).outcomes_beyond(), 100) == settled
    at_once = ((100, 101),)
    assert told(tracker(100, at_once).outcomes_beyond(), 100) == at_once


def test_a_limit_with_no_room_even_for_the_name_leaves_the_text_empty() -> None:
    offsets = tracker(100, ((110, 150),))
    head = "capi2:abc:100:"
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
    assert [len(offsets.outcomes_beyond(limit, "abc")) for limit in (22, 30, 100)] == [22, 30, 100]
    ranges = told(text, 0, "i" * 22)
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
            offsets.track(chunk, [1] * len(chunk), end, [(chunk[0], EPOCH)])
            open_offsets.update(chunk)
        watermark = offsets.watermark
        assert last <= watermark <= min(open_offsets, default=end)
        assert offsets.open_bytes == offsets.unresolved == len(open_offsets)
        last = watermark
        heir = tracker(watermark, told(offsets.outcomes_beyond(), watermark))
        assert not any(heir.is_settled(offset, EPOCH) for offset in open_offsets)
        assert all(heir.is_settled(offset, EPOCH) for offset in resolved if offset >= watermark)


@given(st.text(max_size=60), st.integers(0, 200))
def test_any_metadata_is_read_without_an_error(text: str, committed: int) -> None:
    for body in (text, f"capi2::{committed}:{text}"):
        ranges = settled_ranges(body, committed)
        assert all(committed <= first < last for first, last, _ in ranges)
