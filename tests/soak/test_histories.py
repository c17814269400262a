"""The judgement of histories: for each property, a history that breaks only this one."""

from __future__ import annotations

import pytest

from tests.soak.history import (
    ALLOWS_REPEATS,
    GAVE_UP,
    PROPERTIES,
    Aborted,
    Acknowledged,
    Committed,
    DeadLettered,
    Delivered,
    Doubtful,
    Entry,
    Struck,
    judge,
    repeats,
)
from tests.soak.plan import KINDS

# Offset 3 is a transaction's marker, 4 was aborted, 6 was removed by compaction.
SOUND: list[Entry] = [
    Acknowledged(0.0, ("t", 0, 1), "a"),
    Acknowledged(0.0, ("t", 0, 2), "bad", "decode_error"),
    Aborted(0.1, "aborted", ("t", 0, 4)),
    Acknowledged(0.2, ("t", 0, 5), "b"),
    Acknowledged(0.2, ("t", 1, 0), "c"),
    Doubtful(0.3, "doubtful"),
    Delivered(1.0, "a"),
    DeadLettered(1.0, ("t", 0, 2), "decode_error"),
    Committed(1.0, "t", 0, 5),
    Delivered(2.0, "c"),
    Delivered(2.0, "b"),
    Committed(2.0, "t", 0, 8),
    Committed(2.0, "t", 1, 1),
]


def without(*left_out: Entry) -> list[Entry]:
    assert set(left_out) <= set(SOUND)
    return [entry for entry in SOUND if entry not in left_out]


BROKEN: dict[str, tuple[str, list[Entry]]] = {
    "below the offset, and no outcome": ("lost", without(Delivered(1.0, "a"))),
    "below the offset, and no dead letter": ("lost", without(DeadLettered(1.0, ("t", 0, 2), "decode_error"))),
    "below an offset that went back later": (
        "lost back",
        [
            *without(Delivered(2.0, "c"), Committed(2.0, "t", 1, 1)),
            Committed(2.0, "t", 1, 1),
            Committed(3.0, "t", 1, 0),
        ],
    ),
    "acknowledged when the offset had passed it": ("lost", [*SOUND, Acknowledged(3.0, ("t", 0, 7), "late")]),
    "an aborted record delivered": ("aborted", [*SOUND, Delivered(2.0, "aborted")]),
    "an aborted record dead-lettered": ("aborted", [*SOUND, DeadLettered(2.0, ("t", 0, 4), "decode_error")]),
    "the offset goes back": ("back", [*SOUND, Committed(3.0, "t", 0, 7)]),
    "a good record dead-lettered": (
        "wrong",
        [*without(Delivered(1.0, "a")), DeadLettered(1.0, ("t", 0, 1), "refused")],
    ),
    "delivered, and dead-lettered besides": ("wrong", [*SOUND, DeadLettered(2.0, ("t", 0, 1), "refused")]),
    "a bad record delivered": (
        "wrong",
        [*without(DeadLettered(1.0, ("t", 0, 2), "decode_error")), Delivered(1.0, "bad")],
    ),
    "a bad record delivered besides": ("wrong", [*SOUND, Delivered(1.0, "bad")]),
    "dead-lettered for another reason": (
        "wrong",
        [*without(DeadLettered(1.0, ("t", 0, 2), "decode_error")), DeadLettered(1.0, ("t", 0, 2), "refused")],
    ),
    "delivered, and never sent": ("wrong", [*SOUND, Delivered(2.0, "nobody's")]),
    "committed before the answer": ("early", [*without(Delivered(1.0, "a")), Delivered(1.1, "a")]),
    "no outcome": ("open", without(Delivered(2.0, "c"), Committed(2.0, "t", 1, 1))),
    "no commit": ("open", without(Committed(2.0, "t", 1, 1))),
    "delivered again": ("repeated", [*SOUND, Delivered(9.0, "c")]),
}


def test_a_sound_history_breaks_nothing() -> None:
    assert judge(SOUND) == []


@pytest.mark.parametrize(("broken", "history"), BROKEN.values(), ids=BROKEN)
def test_broken_is(broken: str, history: list[Entry]) -> None:
    assert " ".join(finding.broken for finding in judge(history)) == broken


def test_every_property_has_a_history_that_breaks_it_alone() -> None:
    assert {broken for broken, _ in BROKEN.values()} >= PROPERTIES.keys()


def test_what_is_open_before_all_has_healed_breaks_nothing() -> None:
    for name in ("no outcome", "no commit"):
        assert judge(BROKEN[name][1], healed=False) == []


def test_a_doubtful_record_may_be_delivered_or_not() -> None:
    assert judge([*SOUND, Delivered(2.0, "doubtful")]) == []


def test_the_gravest_comes_first_and_many_places_are_counted() -> None:
    records: list[Entry] = [Acknowledged(0.0, ("t", 2, offset), f"r{offset}") for offset in range(9)]
    lost, back = judge([*records, Committed(1.0, "t", 2, 9), *SOUND, Committed(3.0, "t", 0, 7)])
    assert (lost.broken, back.broken) == ("lost", "back")
    assert "('t', 2, 0) (r0)" in lost.text
    assert (lost.text.endswith("and 6 more"), lost.places, back.places) == (True, 9, 1)


# Which deliveries may be repeated


@pytest.mark.parametrize(
    ("delivered_at", "allowed"), [(2.9, False), (3.1, True), (5.0, True), (5.9, True), (6.1, False)]
)
def test_what_was_delivered_shortly_before_a_kill_may_come_again(delivered_at: float, allowed: bool) -> None:
    kill = Struck(5.0, 5.0, "member_killed")
    history = [
        *without(Delivered(2.0, "c"), Committed(2.0, "t", 1, 1)),
        kill,
        Delivered(delivered_at, "c"),
        Delivered(9.0, "c"),
    ]
    history.append(Committed(9.0, "t", 1, 1))
    assert [finding.broken for finding in judge(history)] == ([] if allowed else ["repeated"])
    assert repeats(history).total == 1


def test_each_time_counts_by_itself() -> None:
    """Delivered three times: the kill allows the first repetition, nothing allows the second."""
    history = [*SOUND, Struck(3.0, 3.0, "member_killed"), Delivered(7.0, "c"), Delivered(8.0, "c")]
    assert repeats(history) == (2, ("c",))


@pytest.mark.parametrize(
    "kind", ["member_ended", "member_joined", "registry_frozen", "endpoint_gone", "partitions_added"]
)
def test_nothing_may_come_again_for(kind: str) -> None:
    assert [finding.broken for finding in judge([*SOUND, Struck(0.0, 9.0, kind), Delivered(9.0, "c")])] == ["repeated"]


def test_what_allows_repetitions_are_kinds_of_faults() -> None:
    assert ALLOWS_REPEATS.keys() - KINDS.keys() == {GAVE_UP}
