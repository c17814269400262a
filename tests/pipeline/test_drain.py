"""A stop sends the open batches, awaits the answers, and keeps the last commit until the broker confirms it."""

from __future__ import annotations

import asyncio

import pytest

from stream_capi.model import Answer, CommitResult
from tests.pipeline.given import P0, names
from tests.simulation import Line, always, simulated


async def drained(line: Line, after: float, seconds: float) -> bool:
    """Start a drain after so many seconds while the line runs, and return its result."""

    async def stop() -> bool:
        await asyncio.sleep(after)
        return await line.pipeline.drain(seconds)

    stopping = asyncio.create_task(stop())
    await line.run_for(after + seconds)
    return await stopping


@simulated
async def test_a_drain_sends_the_open_batch_and_waits_for_its_answer() -> None:
    line = Line(always(200, 2.0))
    line.sources["leads"].window = 3600.0
    line.produce("leads", 0, "a0")
    line.assign(P0)
    assert await drained(line, after=1, seconds=20)
    assert line.accepted == {"a0": 1}


@simulated
async def test_a_stop_with_much_read_ahead_takes_as_long_as_its_requests_and_leaves_no_duplicate() -> None:
    line = Line(always(200, 2.0), max_in_flight=2)
    line.produce("leads", 0, *names("a", 2000))
    line.assign(P0)

    async def stop() -> bool:
        await asyncio.sleep(10)
        begun = asyncio.get_running_loop().time()
        assert await line.pipeline.drain(9), "no request was cut off"
        took = asyncio.get_running_loop().time() - begun
        await line.revoke(P0, seconds=6)
        return took <= 2.0

    stopping = asyncio.create_task(stop())
    await line.run_for(30)
    assert await stopping, "what was read ahead is the next owner's"
    assert len(line.accepted) < 2000
    assert 0 < len(line.accepted) == line.store[P0][0]
    assert max(line.accepted.values()) == 1


@simulated
async def test_a_drain_whose_last_answer_comes_late_but_in_time_was_not_cut() -> None:
    line = Line(always(200, 8.0))
    line.produce("leads", 0, *names("a", 25))
    line.assign(P0)
    assert await drained(line, after=2, seconds=9)
    assert line.accepted == dict.fromkeys(names("a", 25), 1)


@simulated
async def test_a_drain_waits_for_nothing_that_is_held_and_says_when_it_was_cut() -> None:
    for answer, seconds, whole, most in ((Answer(401), 0.05, True, 2.0), (Answer(200), 100.0, False, 21.0)):
        line = Line(lambda pixel, ids, now, a=answer, s=seconds: (s, a))  # type: ignore[misc]
        line.produce("leads", 0, *names("a", 20))
        line.assign(P0)

        async def stop(line: Line = line) -> tuple[bool, float]:
            await asyncio.sleep(2)
            begun = asyncio.get_running_loop().time()
            return await line.pipeline.drain(20), asyncio.get_running_loop().time() - begun

        stopping = asyncio.create_task(stop())
        await line.run_for(30)
        cleanly, took = await stopping
        assert (cleanly, took <= most) == (whole, True)


@pytest.mark.parametrize("handed_over", [True, False], ids=["revoked", "lost"])
@simulated
async def test_a_stop_owes_the_last_commit_until_the_broker_has_confirmed_it(handed_over: bool) -> None:
    line = Line(always(200, 2.0))
    line.produce("leads", 0, "a0")
    line.assign(P0)
    assert await drained(line, after=1, seconds=20)
    line.pipeline.partitions[P0].committed = (
        0,
        "",
    )  # as before the answer: no commit has succeeded since
    commits = line.pipeline.unconfirmed
    assert [commit.offset for commit in commits] == [1], "it is owed while the partition is still held"
    if handed_over:
        assert await line.pipeline.revoke([P0], 1) == commits
    else:
        line.pipeline.lost([P0])
    line.pipeline.committed([CommitResult(commit, "timeout") for commit in commits])
    assert line.pipeline.unconfirmed == commits
    line.pipeline.committed([CommitResult(commit, None) for commit in commits])
    assert line.pipeline.unconfirmed == []
