"""Redriven dead letters, recorded in committed offsets: exactly those that were added, whatever the order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.config import Settings
from stream_capi.core.offset_metadata import METADATA_LIMIT
from stream_capi.errors import Unavailable
from stream_capi.kafka.admin import GroupOffset
from stream_capi.model import Code, TopicPartition
from stream_capi.operations.dead_letters import (
    MOST_OTHERS,
    DeadLetterGroup,
    Picked,
    Redriven,
    StoredDeadLetter,
    StoredDeadLetters,
    first,
    in_order,
)
from stream_capi.operations.redrive import plan

TOPIC = Settings().dead_letter.topic
KINDS = [DeadLetterGroup(topic, code) for topic in ("leads", "views") for code in (Code.TOO_OLD, Code.REFUSED)]


class Commits:
    """A broker's committed offsets. ``log`` is the dead-letter topic's id; while ``down``, commits fail."""

    def __init__(self, log: str = "log-1") -> None:
        self.log = log
        self.down = False
        self.kept: dict[str, dict[TopicPartition, GroupOffset]] = {}

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(topics, self.log) if self.log else {}

    def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, GroupOffset]:
        return dict(self.kept.get(group, {}))

    def reset(self, group: str, offsets: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]) -> None:
        if self.down:
            raise Unavailable("no answer")
        assert all(len(text) <= METADATA_LIMIT for text in metadata.values())
        self.kept.setdefault(group, {}).update({tp: GroupOffset(at, metadata[tp]) for tp, at in offsets.items()})


def dead_letter(offset: int, kind: DeadLetterGroup, partition: int = 0, written: int = 1000) -> StoredDeadLetter:
    at = TopicPartition(TOPIC, partition)
    return StoredDeadLetter(at, offset, written, kind, TopicPartition(kind.topic, 0), offset, written, 0, "", False, 0)


def dead_letters(found: Sequence[StoredDeadLetter]) -> StoredDeadLetters:
    ends: dict[TopicPartition, int] = {}
    for one in found:
        ends[one.at] = max(ends.get(one.at, 0), one.offset + 1)
    return StoredDeadLetters(found, 0, ends)


def redriven(commits: Commits, found: Sequence[StoredDeadLetter]) -> Redriven:
    admin: Any = commits
    return Redriven(Settings(), admin, dead_letters(found))


def test_thousands_of_forged_topics_ask_the_broker_a_bounded_number_of_questions() -> None:
    asked: list[str] = []

    class Counting(Commits):
        def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, GroupOffset]:
            asked.append(group)
            return super().committed(group, topics)

    source: Any = {"topic": "leads", "event": "generate_lead", "pixel": "main"}
    settings = Settings(sources=(source,))
    forged = [dead_letter(at, DeadLetterGroup(f"forged-{at}", Code.REFUSED)) for at in range(5_000)]
    common = [dead_letter(5_000 + at, DeadLetterGroup("gone", Code.TOO_OLD)) for at in range(5)]
    ours = [dead_letter(6_000 + at, DeadLetterGroup("leads", code)) for at, code in enumerate(Code)]
    admin: Any = Counting()
    admin.reset(f"{settings.kafka.group_id}.redrive.too_old.gone", {forged[0].at: 5_003}, {forged[0].at: ""})
    found = dead_letters([*forged, *common, *ours])
    books = Redriven(settings, admin, found)
    assert len(asked) == len(set(asked)) == MOST_OTHERS + len(Code)
    assert {one.kind for one in (*common, *ours)} <= books.asked
    assert [one for one in found.found if one in books] == common[:3]
    planned = plan(settings, found, books, Picked(), None)
    assert planned.wanted == ours
    assert len(planned.without_source) == MOST_OTHERS + 1
    assert sum(planned.without_source.values()) == len(forged) + 2


def test_letters_of_what_is_paused_are_left_alone_and_counted() -> None:
    fixed: Any = {"topic": "leads", "event": "generate_lead", "pixel": "main", "paused": True}
    going: Any = {"topic": "views", "event": "page_view", "pixel": "main"}
    settings = Settings(sources=(fixed, going))
    kinds = [DeadLetterGroup(topic, Code.REFUSED) for topic in ("leads", "views", "gone")]
    found = dead_letters([dead_letter(at, kinds[at % 3]) for at in range(9)])
    admin: Any = Commits()
    planned = plan(settings, found, Redriven(settings, admin, found), Picked(), None)
    assert [one.kind.topic for one in planned.wanted] == ["views"] * 3
    assert (planned.paused, planned.without_source) == ({"leads": 3}, {"gone": 3})


@st.composite
def topics(draw: st.DrawFn) -> list[StoredDeadLetter]:
    """Dead letters of several kinds in two partitions, with gaps."""
    found = []
    for partition in (0, 1):
        offset = draw(st.integers(0, 5))
        for _ in range(draw(st.integers(0, 40))):
            found.append(dead_letter(offset, draw(st.sampled_from(KINDS)), partition))
            offset += draw(st.sampled_from((1, 1, 1, 2, 7)))
    return found


@pytest.mark.slow
@given(topics(), st.data())
def test_exactly_what_was_added_is_known_to_the_next_run(found: list[StoredDeadLetter], data: st.DataObject) -> None:
    commits, added = Commits(), set[StoredDeadLetter]()
    for _ in range(3):
        books = redriven(commits, found)
        assert {one for one in found if one in books} == added
        for one in data.draw(st.lists(st.sampled_from(found), unique=True)) if found else ():
            books.add(one)
            added.add(one)
            if data.draw(st.booleans()):
                books.keep()
        books.keep()
    # Dead letters that were written since are not redriven.
    later = [dead_letter(1000 + at, kind) for at, kind in enumerate(KINDS)]
    books = redriven(commits, [*found, *later])
    assert {one for one in [*found, *later] if one in books} == added


@pytest.mark.slow
def test_alternating_kinds_need_no_more_room_than_one() -> None:
    """With one group for all kinds its metadata would need ten thousand runs of offsets, far more than fit."""
    commits, kinds = Commits(), cycle(KINDS)
    found = [dead_letter(offset, next(kinds)) for offset in range(20_000)]
    books = redriven(commits, found)
    some = [one for one in found if one.kind == KINDS[2]]
    for one in some:
        books.add(one)
    books.keep()
    again = redriven(commits, found)
    assert [one for one in found if one in again] == some


def test_what_could_not_be_kept_is_kept_with_the_next_call() -> None:
    commits, found = Commits(), [dead_letter(offset, KINDS[0]) for offset in range(10)]
    books = redriven(commits, found)
    books.add(found[3])
    commits.down = True
    with pytest.raises(Unavailable):
        books.keep()
    commits.down = False
    books.keep()
    assert [one for one in found if one in redriven(commits, found)] == [found[3]]


@pytest.mark.parametrize(
    ("before", "now", "known"), [("a", "b", False), ("a", "a", True), ("a", "", True), ("", "b", True)]
)
def test_commits_of_a_topic_made_anew_say_nothing(before: str, now: str, known: bool) -> None:
    commits, found = Commits(before), [dead_letter(0, KINDS[0])]
    books = redriven(commits, found)
    books.add(found[0])
    books.keep()
    commits.log = now
    assert (found[0] in redriven(commits, found)) is known


def test_the_oldest_come_first_but_never_against_their_order_in_a_partition() -> None:
    """If one were passed over, the later ones of its partition could not be recorded as one run of offsets."""
    times = {0: [5, 1, 9], 1: [2, 3, 4]}
    found = [
        dead_letter(at, KINDS[0], partition, time) for partition, of in times.items() for at, time in enumerate(of)
    ]
    order = [(one.at.partition, one.offset) for one in in_order(found)]
    assert order == [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1), (0, 2)]
    assert [(one.at.partition, one.offset) for one in first(found, 4)] == order[:4]
