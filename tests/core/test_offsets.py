"""The invariants of the offset tracker."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_capi.core.offset_metadata import Resolved, decode_outcomes
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import NO_LEADER_EPOCH
from tests.core.trackers import EPOCH, decoded, track, tracker


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
    text = offsets.outcomes_beyond(topic_id="abc")
    assert decoded(text, 100, "abc") == ((110, 150), (199, 200))
    heir = tracker(100, decoded(text, 100, "abc"))
    assert [o for o in range(100, 200) if heir.was_resolved_before(o, EPOCH)] == [*range(110, 150), 199]


def test_an_outcome_is_that_of_the_record_of_its_own_leader_epoch() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=3)
    offsets.track(range(100, 110), [1] * 10, 110, [(100, 3), (106, 4)])
    offsets.resolve_all([*range(102, 108), 109])
    text = offsets.outcomes_beyond(topic_id="abc")
    ranges = decode_outcomes(text, 100, "abc")
    assert ranges == (Resolved(102, 106, 3), Resolved(106, 108, 4), Resolved(109, 110, 4))
    heir = PartitionOffsets("leads", 0, 2, 100, ranges, 3)
    assert [o for o in range(100, 110) if heir.was_resolved_before(o, 3)] == [102, 103, 104, 105]
    assert [o for o in range(100, 110) if heir.was_resolved_before(o, 4)] == [106, 107, 109]
    assert not any(heir.was_resolved_before(o, 5) for o in range(100, 110)), "the log was cut at 102 and filled again"
    assert decode_outcomes(heir.outcomes_beyond(topic_id="abc"), 100, "abc") == ranges


def test_chunks_of_the_same_leader_epoch_make_one_range() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 0, leader_epoch=3)
    offsets.track([0], [1], 1, [(0, 3)])
    for at in (1, 3):
        offsets.track([at, at + 1], [1, 1], at + 2, [(at, 4)])
    offsets.resolve_all([1, 2, 3, 4])
    assert offsets.resolved_since(0) == (Resolved(1, 5, 4),)


def test_records_without_a_leader_epoch_are_in_no_text() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100)
    offsets.track(range(100, 110), [1] * 10, 110, [(100, NO_LEADER_EPOCH), (105, 2)])
    offsets.resolve_all([102, 103, 106])
    assert decode_outcomes(offsets.outcomes_beyond(), 100) == (Resolved(106, 107, 2),)


def test_the_leader_epoch_to_commit_is_that_of_the_open_record_at_the_watermark_or_of_the_last_one_read() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=3)
    assert offsets.leader_epoch == 3, "nothing is read yet: as it was committed"
    offsets.track([100, 101], [1, 1], 102, [(100, 3)])
    offsets.track([102, 103], [1, 1], 104, [(102, 7)])
    offsets.resolve_all([100, 101])
    assert (offsets.watermark, offsets.leader_epoch) == (102, 7)
    offsets.resolve(102)
    assert (offsets.watermark, offsets.leader_epoch) == (103, 7)
    offsets.forget_epochs(103)
    offsets.resolve(103)
    assert (offsets.watermark, offsets.leader_epoch) == (104, 7)


def test_the_leader_epoch_to_commit_is_not_that_of_a_record_far_before_the_watermark() -> None:
    """Offsets 102 to 109 are aborted or compacted; under leader epoch 3 the log may have ended at 102."""
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=2)
    offsets.track([100, 101], [1, 1], 102, [(100, 3)])
    offsets.resolve_all([100, 101])
    assert (offsets.watermark, offsets.leader_epoch) == (102, 3)
    offsets.track([110, 111], [1, 1], 112, [(110, 4)])
    assert (offsets.watermark, offsets.leader_epoch) == (110, 4)
    offsets.forget_epochs(110)
    assert offsets.leader_epoch == 4


def test_what_is_known_since_a_commit_is_all_before_the_watermark_and_the_outcomes_beyond() -> None:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=3)
    offsets.track(range(100, 110), [1] * 10, 110, [(100, 3), (103, 4)])
    offsets.resolve_all([100, 101, 102, 103, 106])
    assert offsets.resolved_since(101) == (Resolved(101, 103, 3), Resolved(103, 104, 4), Resolved(106, 107, 4))
    offsets.forget_epochs(102)
    assert offsets.resolved_since(102) == (Resolved(102, 103, 3), Resolved(103, 104, 4), Resolved(106, 107, 4))


def test_an_heir_that_has_read_nothing_yet_passes_the_outcomes_on() -> None:
    heir = tracker(100, ((110, 150), (160, 170)))
    assert decoded(heir.outcomes_beyond(), 100) == ((110, 150), (160, 170))
    heir.track([100, 101], [1, 1], 120)
    heir.resolve(101)
    assert decoded(heir.outcomes_beyond(), 100) == ((101, 150), (160, 170))


def test_what_was_resolved_before_up_to_the_read_position_is_told_no_more() -> None:
    heir = tracker(100, ((100, 110),))
    heir.track([], [], 110)
    assert heir.outcomes_beyond(topic_id="abc") == "capi2:abc:110:"


@pytest.mark.slow
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
        heir = tracker(watermark, decoded(offsets.outcomes_beyond(), watermark))
        assert not any(heir.was_resolved_before(offset, EPOCH) for offset in open_offsets)
        assert all(heir.was_resolved_before(offset, EPOCH) for offset in resolved if offset >= watermark)
