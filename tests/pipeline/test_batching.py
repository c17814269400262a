"""What is sent and when: batches, their windows, the requests in flight, and records without an event."""

from __future__ import annotations

import asyncio

import pytest

from stream_capi.model import Answer
from tests.pipeline.given import P0, V0, names
from tests.simulation import Line, always, simulated


@simulated
async def test_everything_is_delivered_once_and_committed_behind_it() -> None:
    line = Line(always(200))
    line.produce("leads", 0, *names("a", 95))
    line.produce("views", 0, *names("b", 33))
    line.assign(P0, V0)
    await line.run_for(5)
    assert line.accepted == dict.fromkeys(names("a", 95) + names("b", 33), 1)
    assert line.lag == 0
    assert all(len({event[0] for event in ids}) == 1 for _, _, ids, _ in line.requests), "lanes share no batch"


@simulated
async def test_an_event_of_a_quiet_lane_waits_for_no_window() -> None:
    line = Line(always(200, 0.0))
    line.sources["leads"].window = 3600.0
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(400)
    assert [at for at, *_ in line.requests] == [pytest.approx(360.0)], "a tenth of a batch of ten"


@simulated
async def test_a_batch_waits_for_its_window_and_no_longer_while_an_answer_is_awaited() -> None:
    line = Line(always(200, 100.0))
    line.produce("leads", 0, "a0")
    line.assign(P0)

    async def more() -> None:
        await asyncio.sleep(10)
        line.produce("leads", 0, "a1")

    adding = asyncio.create_task(more())
    await line.run_for(250)
    await adding
    answered = {ids[0]: at for at, _, ids, _ in line.requests}
    assert 100 < answered["a0"] < 100.5
    assert 111 < answered["a1"] < 111.5, "it was read after ten seconds"


@pytest.mark.slow
@simulated
async def test_a_busy_lane_sends_full_batches_although_its_answers_come_at_once() -> None:
    line = Line(always(200, 0.0))
    line.chunk = 7
    line.produce("leads", 0, *names("a", 7000))
    line.assign(P0)
    await line.run_for(90)
    assert {len(ids) for _, _, ids, _ in line.requests} == {10}


@simulated
async def test_a_throttled_lane_does_not_go_early() -> None:
    line = Line(lambda pixel, ids, now: (0.0, Answer(429, retry_after="20") if now < 5 else Answer(200)))
    line.sources["leads"].window = 10.0
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(40)
    assert [at for at, *_ in line.requests] == [pytest.approx(1.0), pytest.approx(21.0)]


@simulated
async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    line = Line(always(200, 1.0), max_in_flight=3)
    line.produce("leads", 0, *names("a", 300))
    line.assign(P0)
    await line.run_for(60)
    assert line.most_in_flight <= 3
    assert line.lag == 0


@simulated
async def test_tombstones_are_passed_over() -> None:
    line = Line(always(200))
    line.produce("leads", 0, None, "a0", None)
    line.assign(P0)
    await line.run_for(3)
    assert (line.accepted, line.lag, sum(line.dead_letters.values())) == ({"a0": 1}, 0, 0)
    assert line.reports["skipped"] == 1, "once for the chunk"


@simulated
async def test_an_empty_value_is_no_tombstone() -> None:
    line = Line(always(200))
    line.produce("leads", 0, "a0", None, "a1")
    line.append(P0, b"")
    line.assign(P0)
    await line.run_for(3)
    assert (line.accepted, line.lag) == ({"a0": 1, "a1": 1}, 0)
    assert line.dead_letter_codes == {"missing_field": 1}
