"""How many of the members ``status`` has asked, and what it reports when it could not ask one."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.kafka.admin import Group, Member
from stream_capi.operations.group_status import GroupStatus, MemberAnswer

SILENT = MemberAnswer("capi-9:9464", None, "no answer (Connection refused)")


def status(*clients: str, partitions: tuple[int, ...] = (), workers: tuple[bool, ...] = (), held: Any = ()) -> Any:
    entries = [{"topic": "leads", "partition": number} for number in partitions]
    found: dict[str, Any] = {"group": "g", "clients": list(clients), "partitions": entries, "held": list(held)}
    if workers:
        found["workers"] = [{"worker": at + 1, "answers": answers} for at, answers in enumerate(workers)]
    return found


def seen(members: int, *answers: Any) -> GroupStatus:
    group = Group("stable", "classic", tuple(Member(f"m{n}", "c", "h", "", ()) for n in range(members)))
    given = [one if isinstance(one, MemberAnswer) else MemberAnswer(f"a{n}:1", one) for n, one in enumerate(answers)]
    return GroupStatus(group, [], given, None)


A, B = status("c-1", partitions=(0, 1)), status("c-2", partitions=(2,))


@pytest.mark.parametrize(
    ("members", "answers", "asked"),
    [
        (2, (A, B), 2),
        (2, (A, SILENT), 1),
        (3, (A, B), 2),
        (2, (A, A), 1),  # one member under two addresses
        (1, (SILENT,), 0),
        (0, (SILENT,), 0),
        (0, (A,), 0),  # a member that is still joining
        (4, (status("c-1", "c-2", "c-4", partitions=(0, 1, 2), workers=(True, True, False, True)),), 3),
        (4, (status("c-1", "c-2", partitions=(0, 1), workers=(True, True)), B, SILENT), 3),
        (2, (status("same", partitions=(0,)), status("same", partitions=(1,))), 2),  # a client.id set by the user
    ],
)
def test_members_and_workers_that_were_asked_are_counted(members: int, answers: Any, asked: int) -> None:
    found = seen(members, *answers)
    assert found.asked == asked
    words = f"asked {asked} of {members} members; what the others hold is not known here"
    assert found.unknown == ("" if asked == members else words)


def test_an_older_member_has_no_clients() -> None:
    of_old = [{"group": "g", "partitions": [{"topic": "leads", "partition": number}]} for number in (0, 1)]
    assert seen(2, *of_old).asked == 2


def test_a_worker_that_is_silent_is_named() -> None:
    (answer,) = seen(2, status("c-1", workers=(True, False))).answers
    assert (answer.members, answer.silent_workers) == (1, [2])
    assert (SILENT.members, SILENT.silent_workers) == (0, [])


def test_what_two_members_hold_alike_is_told_once_with_the_rules_of_both() -> None:
    held = {"pixel": "main", "subject": "leads", "reason": "dead_letter_ratio", "what_to_do": "look", "runbook": "x"}
    rules = [
        [{"code": "missing_field", "field": "event_source_url", "source": "", "count": count}] for count in (100, 73)
    ]
    alike = [held | {"detail": "…", "rejected": of} for of in rules]
    found = seen(2, A | {"held": alike[:1]}, B | {"held": alike[1:]})
    assert [one["detail"] for one in found.held] == ["173 of 173: missing_field event_source_url"]
