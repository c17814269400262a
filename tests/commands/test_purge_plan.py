"""What a purge counts and decides for each dead letter, and that it keeps none of them in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from stream_capi.config import Settings
from stream_capi.kafka.admin import GroupOffset
from stream_capi.kafka.topic_retention import Retention
from stream_capi.model import Code, TopicPartition
from stream_capi.operations.dead_letter_purge import MOST_PLACES, PartitionPurge, Purged, PurgePlan
from stream_capi.operations.dead_letters import (
    MOST_OTHERS,
    DeadLetterGroup,
    RedriveMarks,
    Redriven,
    StoredDeadLetter,
    StoredDeadLetters,
)
from tests.commands.test_redriven import KINDS, TOPIC, Commits, dead_letter

PEOPLE: Any = object()
P0 = TopicPartition(TOPIC, 0)


def partition(purged: Purged, marks: str, start: int = 10) -> PartitionPurge:
    """A partition read to its end. One letter of ``marks`` for each record.

    r: redriven, o: open, f: another program's record, s: open, and of a person on the suppression list.
    """
    one = PartitionPurge(P0, start, start + len(marks) + 2, purged)
    for at, sign in enumerate(marks, start):
        stored = None if sign == "f" else dead_letter(at, KINDS[at % 2], written=1000 + at)
        one.add(at, 1000 + at, stored, sign == "r", sign == "s")
    one.end()
    return one


@pytest.mark.parametrize(
    ("marks", "also_open", "beginning", "go", "stay"),
    [
        ("rrrr", False, 16, 4, 0),  # all of them, and the gap behind the last
        ("rror", False, 12, 2, 2),  # ends before the first open one
        ("orrr", False, 10, 0, 4),
        ("rfrr", False, 11, 1, 3),  # another program's record is not deleted
        ("rfor", True, 16, 4, 0),
        ("", False, 12, 0, 0),
    ],
)
def test_a_partition_is_deleted_up_to_the_first_letter_that_must_stay(
    marks: str, also_open: bool, beginning: int, go: int, stay: int
) -> None:
    one = partition(Purged(None, also_open), marks)
    assert (one.new_beginning, one.going.records, one.staying.records, one.left) == (beginning, go, stay, stay)
    assert one.first_kept == (beginning if stay else None)


def test_an_old_letter_behind_a_newer_one_is_left_and_a_newer_one_is_nobodys() -> None:
    """A newer timestamp, from a clock ahead or set by a producer, ends the range that is old enough."""
    one = PartitionPurge(P0, 0, 2, Purged(1000))
    for at, written in enumerate((10, 20, 5000, 30, 5000)):
        assert one.concerns(at, written) == (written < 1000)
        if one.concerns(at, written):
            one.add(at, written, dead_letter(at, KINDS[0], written=written), True, False)
    one.end()
    assert (one.new_beginning, one.first_kept, one.going.records, one.left) == (2, 2, 2, 1)


@pytest.mark.parametrize(
    ("marks", "also_open", "beginning", "go", "left", "places"),
    [
        ("rsrr", False, 12, 2, 0, [11]),  # ends behind the last one of a person on the list
        ("sssr", False, 13, 3, 0, [10, 11, 12]),  # a redrive would skip them, so none has to stay
        ("rsos", False, 12, 2, 1, [11, 13]),
        ("osrs", False, 10, 0, 2, [11, 13]),
        ("osfs", True, 14, 4, 0, [11, 13]),
        ("rorr", False, 10, 0, 0, []),  # nobody is on the list: nothing to delete
    ],
)
def test_people_on_the_list_are_deleted_as_far_as_the_last_of_their_letters(
    marks: str, also_open: bool, beginning: int, go: int, left: int, places: list[int]
) -> None:
    one = partition(Purged(None, also_open, PEOPLE), marks)
    assert (one.new_beginning, one.going.records, one.left, one.places) == (beginning, go, left, places)
    assert one.going.records + one.staying.records == len(marks)


def test_where_letters_of_people_stay_it_is_said_until_when() -> None:
    one = partition(Purged(None, False, PEOPLE), "osrs")
    planned = PurgePlan(TOPIC, "id", Purged(None, False, PEOPLE), [one], Retention("limited", 100.0, 20.0), Counter())
    assert planned.gone_at_latest == 1013 + 120_000, "the newest of them, the retention, and the segment's time"
    for retention in (Retention("without_end", None, 20.0), Retention("limited", 100.0), Retention("not_known")):
        assert planned._replace(retention=retention).gone_at_latest is None
    nobody = partition(Purged(None, False, PEOPLE), "or")
    assert planned._replace(partitions=[nobody]).gone_at_latest is None


def test_the_counts_are_by_code_and_what_is_kept_is_bounded() -> None:
    one = PartitionPurge(P0, 0, 10_000, Purged(None, False, PEOPLE))
    for at in range(10_000):
        one.add(at, 1000, dead_letter(at, KINDS[at % 2]), at % 4 == 0, True)
    one.end()
    assert one.going.codes == {Code.TOO_OLD: 5000, Code.REFUSED: 5000}
    assert (one.going.redriven, one.going.open, one.going.suppressed) == (2500, 7500, 10_000)
    assert one.places == list(range(MOST_PLACES))


# Marks of redriven dead letters


def test_marks_say_of_each_letter_what_the_books_of_all_letters_say() -> None:
    draw = random.Random(7)
    found = [dead_letter(at, draw.choice(KINDS), draw.randrange(2)) for at in range(3000)]
    settings, commits = Settings(), Commits()
    admin: Any = commits
    all_letters = StoredDeadLetters(found, 0, {TopicPartition(TOPIC, number): 3000 for number in range(2)})
    books = Redriven(settings, admin, all_letters)
    for one in found:
        if draw.random() < 0.6:
            books.add(one)
    books.keep()
    marks, again = RedriveMarks(settings, admin, commits.log), Redriven(settings, admin, all_letters)
    assert [one in marks for one in found] == [one in again for one in found]
    assert 500 < sum(one in marks for one in found) < 3000
    of_another_epoch = [one._replace(leader_epoch=9) for one in found]
    passed = min(at.offset for of_kind in commits.kept.values() for at in of_kind.values())
    assert not any(one in marks for one in of_another_epoch if one.offset > 2000 > passed)


def test_marks_of_a_topic_made_anew_say_nothing() -> None:
    settings, commits, found = Settings(), Commits("a"), [dead_letter(0, KINDS[0])]
    admin: Any = commits
    books = Redriven(settings, admin, StoredDeadLetters(found, 0, {P0: 1}))
    books.add(found[0])
    books.keep()
    assert found[0] in RedriveMarks(settings, admin, "a")
    assert found[0] not in RedriveMarks(settings, admin, "b")


def test_thousands_of_forged_topics_are_not_all_asked_for() -> None:
    asked: list[str] = []

    class Counting(Commits):
        def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, GroupOffset]:
            asked.append(group)
            return {P0: GroupOffset(10**9, "")}

    source: Any = {"topic": "leads", "event": "generate_lead", "pixel": "main"}
    admin: Any = Counting()
    marks = RedriveMarks(Settings(sources=(source,)), admin, "log-1")
    forged = [dead_letter(at, DeadLetterGroup(f"forged-{at % 5000}", Code.REFUSED)) for at in range(20_000)]
    ours: list[StoredDeadLetter] = [dead_letter(at, DeadLetterGroup("leads", code)) for at, code in enumerate(Code)]
    known = sum(one in marks for one in [*forged, *ours])
    assert len(asked) == len(set(asked)) == MOST_OTHERS + len(Code)
    assert known == 4 * MOST_OTHERS + len(Code)
    assert len(marks.asked) == MOST_OTHERS + len(Code)
