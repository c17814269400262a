"""A connection so slow that a full batch takes longer than the time-out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stream_capi.model import Answer, TopicPartition
from tests.simulation import Answering, Line, simulated

P0 = TopicPartition("leads", 0)
TIMEOUT = 10.0


def thin(seconds: float, until: float = 1e9, fault: str | int = "timeout") -> Answering:
    """An endpoint to which each event takes so many seconds; after the moment ``until``, 0.01 s."""

    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        took = len(ids) * (seconds if now < until else 0.01)
        if took <= TIMEOUT:
            return took, Answer(200, seconds=took)
        gone = Answer(fault=fault) if isinstance(fault, str) else Answer(fault)
        return TIMEOUT, gone._replace(seconds=TIMEOUT)

    return answering


@pytest.mark.parametrize(("seconds", "fault"), [(0.15, "timeout"), (1.1, "timeout"), (9.0, "timeout"), (0.15, 408)])
@simulated
async def test_a_batch_that_never_arrives_in_time_is_halved_until_it_does(seconds: float, fault: str | int) -> None:
    line = Line(thin(seconds, fault=fault), max_events=100, max_in_flight=4)
    line.produce("leads", 0, *(f"a{i}" for i in range(200)))
    line.assign(P0)
    await line.run_for(3600)
    assert line.accepted == {f"a{i}": 1 for i in range(200)}
    assert line.lag == 0
    sizes = [len(ids) for *_, ids, _ in line.requests]
    assert max(sizes) == 100, "it was tried whole first"


@simulated
async def test_small_batches_that_arrive_meanwhile_keep_no_large_one_whole() -> None:
    line = Line(thin(0.15), max_events=100, max_in_flight=4)
    line.produce("leads", 0, *(f"a{i}" for i in range(100)))
    line.assign(P0)

    async def trickle() -> None:
        for i in range(200):
            await asyncio.sleep(2)
            line.produce("leads", 0, f"b{i}")

    more = asyncio.create_task(trickle())
    await line.run_for(900)
    await more
    assert len(line.accepted) == 300
    assert line.lag == 0


@simulated
async def test_batches_are_full_again_soon_after_the_line_is_well() -> None:
    line = Line(thin(9.0, until=600), max_events=100, max_in_flight=4)
    line.produce("leads", 0, *(f"a{i}" for i in range(3000)))
    line.assign(P0)
    await line.run_for(900)
    assert min(len(ids) for at, _, ids, _ in line.requests if at < 600) == 1
    assert line.lag == 0
    sizes = [len(ids) for at, _, ids, _ in line.requests if at >= 600]
    assert sizes.count(100) >= 20
    assert set(line.accepted.values()) == {1}


@simulated
async def test_single_time_outs_halve_nothing() -> None:
    count = 0

    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        nonlocal count
        count += 1
        return (TIMEOUT, Answer(fault="timeout", seconds=TIMEOUT)) if count % 3 else (0.1, Answer(200))

    line = Line(answering, max_events=10, max_in_flight=1)
    line.produce("leads", 0, *(f"a{i}" for i in range(100)))
    line.assign(P0)
    await line.run_for(3600)
    assert {len(ids) for *_, ids, _ in line.requests} == {10}
    assert line.lag == 0


@simulated
async def test_a_refused_event_is_found_on_a_thin_line_too() -> None:
    slow = thin(0.3)

    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        took, answer = slow(pixel, ids, now)
        return took, Answer(400, seconds=took) if answer.status == 200 and "a37" in ids else answer

    line = Line(answering, max_events=100, max_in_flight=4)
    line.produce("leads", 0, *(f"a{i}" for i in range(200)))
    line.assign(P0)
    await line.run_for(3600)
    assert line.dead_letters == {"a37": 1}
    assert (len(line.accepted), line.lag) == (199, 0)
