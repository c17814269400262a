"""The state of one event, from commits, dead letters and the mapping; "delivered" is reported only if it is certain."""

from __future__ import annotations

import pytest

from stream_capi.config import SourceSection
from stream_capi.core.offset_metadata import Resolved, encode_outcomes
from stream_capi.kafka.admin import GroupOffset
from stream_capi.kafka.ranges import Moment, Range
from stream_capi.model import Code, EventName, Lane, Rejection, Routed, Skipped, TopicPartition, Transformed
from stream_capi.operations.dead_letters import DeadLetterGroup, StoredDeadLetter
from stream_capi.operations.event_state import (
    EventPlace,
    GroupCommits,
    KeptLetters,
    Mapped,
    State,
    held_for,
    is_resolved,
    state_of,
)
from stream_capi.operations.find import first_letter
from stream_capi.operations.search import Match
from tests.fake_record import FakeRecord

LOG = Range(0, 1000)
WHY = "behind a lag"


def committed(
    offset: int, since: int | None, beyond: tuple[Resolved, ...] = (), log: str = "log", epoch: int = 3
) -> GroupCommits:
    text = encode_outcomes(offset, beyond, 4096, log, since)
    return GroupCommits(GroupOffset(offset, text, epoch), "log", LOG)


def place(offset: int, epoch: int = 3, written: int = 5000) -> EventPlace:
    return EventPlace(offset, epoch, written)


def letter(written: int, code: Code = Code.REFUSED) -> StoredDeadLetter:
    at, source = TopicPartition("dead", 0), TopicPartition("leads", 0)
    return StoredDeadLetter(at, written, written, DeadLetterGroup("leads", code), source, 10, 5000, 0, "", False, 0)


BEYOND = (Resolved(110, 120, 3),)


@pytest.mark.parametrize(
    ("offset", "commits", "resolved"),
    [
        (99, committed(100, 0), True),
        (50, committed(100, 50), True),
        (49, committed(100, 50), None),  # a reset, or a group that began at the end of the log
        (99, committed(100, None), None),  # committed by a release that wrote no metadata
        (99, GroupCommits(GroupOffset(100, ""), "log", LOG), None),  # a reset, and no member since
        (99, GroupCommits(GroupOffset(100, "somebody's"), "log", LOG), None),
        (99, GroupCommits(GroupOffset(100, "capi1:log:100:"), "log", LOG), None),
        (99, GroupCommits(None, "log", LOG), False),
        (100, committed(100, 0), False),
        (110, committed(100, 0, BEYOND), True),
        (119, committed(100, 0, BEYOND), True),
        (109, committed(100, 0, BEYOND), False),
        (120, committed(100, 0, BEYOND), False),
        (99, committed(100, 0, log="former"), False),  # committed before the topic was recreated
        (99, committed(2000, 0), None),  # the log ends before the committed offset
    ],
)
def test_an_offset_is_resolved_where_members_say_so(offset: int, commits: GroupCommits, resolved: bool | None) -> None:
    assert is_resolved(place(offset), commits)[0] is resolved


def test_a_record_of_another_leader_epoch_has_none_of_the_outcomes() -> None:
    assert is_resolved(place(115, epoch=4), committed(100, 0, BEYOND))[0] is False
    assert is_resolved(place(99, epoch=4), committed(100, 0))[0] is None, "the log was cut and written anew"
    assert is_resolved(place(99, epoch=2), committed(100, 0))[0] is True
    assert is_resolved(place(99, epoch=4), committed(100, 0, epoch=-1))[0] is True, "no epoch was committed"


SENT: Transformed = Routed(Lane("main", EventName.PAGE_VIEW), b"{}")
MISSING: Transformed = Rejection(Code.MISSING_FIELD, "event_time is null")
NONE = KeptLetters(())


@pytest.mark.parametrize(
    ("offset", "letters", "outcome", "state"),
    [
        (10, NONE, SENT, State.DELIVERED),
        (10, NONE, Rejection(Code.TOO_OLD, ""), State.DELIVERED),  # it wasn't too old when it was mapped
        (10, NONE, Skipped("where"), State.SKIPPED),
        (10, NONE, MISSING, State.UNKNOWN),  # it was delivered or skipped with other settings
        (10, NONE, None, State.UNKNOWN),  # the registry can't be asked
        (10, KeptLetters((), 6000, "deleted"), SENT, State.UNKNOWN),
        (10, KeptLetters((), None, "compacted"), SENT, State.UNKNOWN),
        (10, KeptLetters((), 5000, "deleted"), SENT, State.DELIVERED),
        (10, KeptLetters((), None, "compacted"), Skipped("where"), State.SKIPPED),
        (10, KeptLetters([(letter(1), False)]), SENT, State.DEAD_LETTERED),
        (10, KeptLetters([(letter(1), False)]), Skipped("where"), State.DEAD_LETTERED),
        (5, NONE, SENT, State.NOT_RECORDED),
        (5, NONE, Skipped("where"), State.NOT_RECORDED),
        (5, KeptLetters([(letter(1), False)]), SENT, State.DEAD_LETTERED),
        (100, NONE, SENT, State.OPEN),
        (100, NONE, MISSING, State.OPEN),
        (100, KeptLetters([(letter(1), True)]), SENT, State.DEAD_LETTERED),
    ],
)
def test_the_state(offset: int, letters: KeptLetters, outcome: Transformed | None, state: State) -> None:
    made = state_of(place(offset), committed(100, 10), letters, Mapped(outcome, "the registry is down"), WHY)
    assert made.state is state
    assert made.why


def test_the_newest_dead_letter_counts_and_whether_it_was_redriven() -> None:
    once = state_of(place(10), committed(100, 0), KeptLetters([(letter(1), True)]), Mapped(SENT), WHY)
    assert (once.code, once.redriven) == ("refused", True)
    assert "redriven since, without a new dead letter" in once.why
    again = [(letter(1), True), (letter(2, Code.INVALID_FIELD), False)]
    twice = state_of(place(10), committed(100, 0), KeptLetters(again), Mapped(SENT), WHY)
    assert (twice.code, twice.redriven, twice.dead_letter) == ("invalid_field", False, again[1][0])
    assert "for the 2. time: not redriven" in twice.why.replace(",", ":")
    open_again = state_of(place(100), committed(100, 0), KeptLetters([(letter(1), False)]), Mapped(SENT), WHY)
    assert "its offset is not committed, so that it is read again" in open_again.why


def test_what_is_open_says_why_and_what_it_will_come_to() -> None:
    def of(outcome: Transformed) -> str:
        return state_of(place(100), committed(100, 0), NONE, Mapped(outcome), WHY).why

    assert of(SENT) == WHY
    assert of(Skipped("no_consent")) == f"{WHY}; it will be skipped (no_consent)"
    assert of(MISSING) == f"{WHY}; it will be dead-lettered (missing_field)"


def test_an_event_waits_for_what_is_held_of_its_own_lane_pixel_or_source() -> None:
    """It doesn't wait for another lane of its pixel, nor for another topic's source or partition with the same pixel."""
    lead = SourceSection(topic="leads", event="generate_lead", pixel="main")
    view = SourceSection(topic="leads", event="page_view", pixel="main", record="acme.View")
    sent = held_for(Mapped(b"{}", lane=Lane("main", EventName.GENERATE_LEAD)), [lead, view])
    assert sent == {"main": "pixel main", "main/generate_lead": "lane main/generate_lead"}
    assert held_for(Mapped(b"{}", lane=Lane("second", EventName.PAGE_VIEW)), [lead]).keys() == {
        "second",
        "second/page_view",
    }
    assert held_for(Mapped(None, "down"), [lead, view]).keys() == {"main", "main/generate_lead", "main/page_view"}
    assert held_for(Mapped(MISSING), [lead, view]).keys() >= {"leads", "leads (acme.View)"}
    assert "main" not in held_for(Mapped(MISSING), [lead, view])


NOW_MS, DAY_MS = 1_800_000_000_000, 86_400_000


@pytest.mark.parametrize(
    ("written", "first"),
    [
        ([NOW_MS], Moment("time", NOW_MS - DAY_MS)),
        ([NOW_MS - 5, NOW_MS - 3 * DAY_MS], Moment("time", NOW_MS - 4 * DAY_MS)),
        ([NOW_MS, -1], Moment("earliest")),  # a record without a timestamp
        ([NOW_MS, 3], Moment("earliest")),
        ([NOW_MS - DAY_MS, NOW_MS + 1], Moment("earliest")),  # its producer's clock is wrong, nobody knows by how much
    ],
)
def test_dead_letters_are_read_from_a_day_before_the_oldest_record(written: list[int], first: Moment) -> None:
    matches = [Match(FakeRecord(place=("leads", 0, number), timestamp=(1, at))) for number, at in enumerate(written)]
    assert first_letter(matches, NOW_MS) == first
