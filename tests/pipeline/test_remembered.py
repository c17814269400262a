"""A lost partition that is assigned again: events that this process saw answered are skipped, but sent if in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stream_capi.core.offset_metadata import Resolved
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.remembered import Remembered, united
from stream_capi.model import Answer, TopicPartition
from tests.simulation import Line, simulate

P0 = TopicPartition("leads", 0)
NAMES = [f"a{number}" for number in range(600)]


def outage(meanwhile: Callable[[Line], None]) -> tuple[Line, int]:
    """Deliver and commit 200 events, deliver 400 more while no commit arrives, lose the partition, get it back.

    Returns the line, and how many deliveries were repeated.
    """

    async def run() -> Line:
        line = Line(lambda pixel, ids, now: (0.05, Answer(200)))
        line.ids = {"leads": "log-1"}
        line.produce("leads", 0, *NAMES[:200])
        line.assign(P0)
        await line.run_for(20)
        assert line.store[P0][0] == 200
        commit = line.commit
        line.commit = lambda commits: None  # type: ignore[method-assign]  # commits are dropped, and never answered
        line.produce("leads", 0, *NAMES[200:])
        await line.run_for(20)
        assert len(line.accepted) == 600
        line.pipeline.lost([P0])
        line.pipeline.committed([])
        line.commit = commit  # type: ignore[method-assign]
        meanwhile(line)
        line.assign(P0)
        await line.run_for(60)
        return line

    line = simulate(run())
    return line, sum(line.accepted.values()) - 600


def test_what_was_answered_while_commits_did_not_arrive_is_not_sent_again() -> None:
    line, repeated = outage(lambda line: None)
    assert repeated == 0
    assert line.store[P0][0] == 600, "it is committed now"


def reset(line: Line) -> None:
    line.store[P0] = (200, "")


def other_topic(line: Line) -> None:
    line.ids = {"leads": "log-2"}
    line.store[P0] = (200, line.store[P0][1].replace("log-1", "log-2"))


def no_topic_id(line: Line) -> None:
    line.ids = {}


def behind_what_was_seen(line: Line) -> None:
    line.store[P0] = (100, line.store[P0][1].replace(":200:", ":100:"))


def cut_and_filled_again(line: Line) -> None:
    line.logs.clear()
    line.leader_epoch = 1
    line.produce("leads", 0, *NAMES)


@pytest.mark.parametrize(
    ("doubt", "again"),
    [(reset, 400), (other_topic, 400), (no_topic_id, 400), (behind_what_was_seen, 500), (cut_and_filled_again, 400)],
)
def test_where_a_doubt_is_left_all_is_sent_again(doubt: Callable[[Line], None], again: int) -> None:
    _, repeated = outage(doubt)
    assert repeated == again


def tracker(start: int, end: int, epoch: int = 3) -> PartitionOffsets:
    offsets = PartitionOffsets("leads", 0, 1, start, leader_epoch=epoch)
    offsets.track(range(start, end), [1] * (end - start), end, [(start, epoch)])
    return offsets


def test_an_answer_that_comes_after_the_loss_is_known_too() -> None:
    offsets, known = tracker(0, 10), Remembered()
    known.keep(offsets, "log", 0)
    offsets.resolve_all([0, 1, 5])
    assert known.recall("leads", 0, "log", 0) == (Resolved(0, 2, 3), Resolved(5, 6, 3))
    assert known.recall("leads", 0, "log", 0) == (), "known once"


def test_only_what_lies_beyond_the_committed_offset_is_recalled() -> None:
    offsets, known = tracker(0, 10), Remembered()
    offsets.resolve_all([0, 1, 2, 3, 5])
    known.keep(offsets, "log", 0)
    assert known.recall("leads", 0, "log", 2) == (Resolved(2, 4, 3), Resolved(5, 6, 3))


@pytest.mark.parametrize(("log", "acknowledged"), [("", 0), ("log", None)])
def test_what_could_never_be_recalled_is_not_kept(log: str, acknowledged: int | None) -> None:
    known = Remembered()
    known.keep(tracker(0, 10), log, acknowledged)
    assert known.recall("leads", 0, log, 10**9) == ()


def test_beyond_the_limit_the_oldest_is_forgotten() -> None:
    known, kept = Remembered(limit=2_500), []
    for partition in range(4):
        offsets: Any = PartitionOffsets("leads", partition, 1, 0, leader_epoch=3)
        offsets.track(range(10), [1] * 10, 10, [(0, 3)])
        offsets.resolve(0)
        known.keep(offsets, "log", 0)
    kept = [bool(known.recall("leads", partition, "log", 0)) for partition in range(4)]
    assert kept == [False, False, True, True]


def test_ranges_of_two_sources_are_one_and_a_contradiction_is_believed_of_the_first_alone() -> None:
    one = (Resolved(0, 5, 3), Resolved(10, 12, 3))
    assert united(one, (Resolved(4, 8, 3), Resolved(12, 14, 4))) == (
        Resolved(0, 8, 3),
        Resolved(10, 12, 3),
        Resolved(12, 14, 4),
    )
    assert united(one, (Resolved(4, 8, 4),)) == one
    assert united((), one) == one
