"""What holds or slows down a pixel or a lane, and what goes on meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stream_capi.model import Answer, EventName, Lane
from tests.pipeline.given import P0, V0, names
from tests.simulation import Line, simulated


@pytest.mark.parametrize("status", [401, 403, 404, 302, 308, 410])
@simulated
async def test_a_set_up_fault_holds_the_pixel_and_goes_on_by_itself(status: int) -> None:
    line = Line(lambda pixel, ids, now: (0.05, Answer(status if now < 300 else 200)))
    line.produce("leads", 0, *names("a", 2000))
    line.assign(P0)
    await line.run_for(290)
    assert not line.dead_letters
    assert not line.accepted
    assert P0 in line.paused
    late = [at for at, *_ in line.requests if at > 5]
    assert 8 <= len(late) <= 10, "one probe each thirty seconds"
    await line.run_for(120)
    assert line.accepted == dict.fromkeys(names("a", 2000), 1)
    assert line.lag == 0


@simulated
async def test_a_changed_key_is_tried_at_once() -> None:
    line = Line(lambda pixel, ids, now: (0.05, Answer(401 if now < 10 else 200)))
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(11)
    line.pipeline.delivery.probe_at_once("main")
    await line.run_for(2)
    assert line.accepted == {"a0": 1}


@simulated
async def test_a_held_pixel_stops_no_other() -> None:
    other = Lane("second", EventName.GENERATE_LEAD)
    topics = {"leads": Lane("main", EventName.GENERATE_LEAD), "views": other}
    line = Line(lambda pixel, ids, now: (0.05, Answer(401 if pixel == "main" else 200)), topics)
    line.produce("leads", 0, *names("a", 3000))
    line.produce("views", 0, *names("b", 3000))
    line.assign(P0, V0)
    await line.run_for(60)
    assert line.accepted == dict.fromkeys(names("b", 3000), 1)


@simulated
async def test_a_page_view_fault_does_not_hold_up_leads() -> None:
    for answer in (Answer(400), Answer(500), Answer(fault="timeout")):
        line = Line(lambda pixel, ids, now, a=answer: (0.05, a if ids[0].startswith("v") else Answer(200)))  # type: ignore[misc]
        line.produce("leads", 0, *names("a", 500))
        line.produce("views", 0, *names("v", 500))
        line.assign(P0, V0)
        await line.run_for(60)
        assert line.accepted == dict.fromkeys(names("a", 500), 1), answer
        assert sum(line.dead_letters.values()) < 100, "below a hundred events there is no share to speak of"


@simulated
async def test_one_slow_lane_leaves_room_for_the_others() -> None:
    line = Line(lambda pixel, ids, now: (1000.0 if ids[0].startswith("v") else 0.05, Answer(200)))
    line.produce("leads", 0, *names("a", 500))
    line.produce("views", 0, *names("v", 5000))
    line.assign(V0, P0)
    await line.run_for(60)
    assert line.accepted == dict.fromkeys(names("a", 500), 1)


@simulated
async def test_a_pause_that_is_asked_for_is_kept() -> None:
    line = Line(lambda pixel, ids, now: (0.05, Answer(429, retry_after="20") if now < 5 else Answer(200)))
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(60)
    times = [at for at, *_ in line.requests]
    assert not [at for at in times if 2 < at < 20]
    assert line.accepted == dict.fromkeys(names("a", 100), 1)


@simulated
async def test_a_pause_is_kept_although_the_rest_of_the_wave_is_answered_well() -> None:
    def some_throttled(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        if now < 5 and ids[0].endswith("0") and int(ids[0][1:]) % 20 == 0:
            return 0.05, Answer(429, retry_after="40")
        return 0.3, Answer(200)  # after the answers that ask for the pause

    line = Line(some_throttled)
    line.produce("leads", 0, *names("a", 400))
    line.assign(P0)
    await line.run_for(120)
    assert not [at for at, *_ in line.requests if 2 < at < 40]
    assert line.accepted == dict.fromkeys(names("a", 400), 1)


@pytest.mark.slow
@simulated
async def test_a_storm_of_faults_loses_nothing_and_goes_on_without_end() -> None:
    def storm(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        faults = [Answer(503), Answer(500), Answer(fault="reset"), Answer(202), Answer(fault="timeout")]
        return 0.05, faults[int(now * 20) % 5] if now < 86_400 else Answer(200)

    line = Line(storm)
    line.produce("leads", 0, *names("a", 200))
    line.assign(P0)
    await line.run_for(86_400)
    assert not line.accepted
    assert 1000 < len(line.requests) < 10_000, "backoff keeps a day of failures to about one probe a minute"
    await line.run_for(300)
    assert line.accepted == dict.fromkeys(names("a", 200), 1)
    assert line.lag == 0
