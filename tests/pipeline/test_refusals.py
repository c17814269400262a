"""Refused events: the split that finds them, their dead letters, and the hold when too many are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stream_capi.model import Answer
from tests.pipeline.given import P0, V0, names, refusing
from tests.simulation import Line, always, held, simulated


@simulated
async def test_one_refused_event_is_found_and_the_other_ninety_nine_are_delivered() -> None:
    line = Line(refusing("a37"), max_events=100)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(5)
    assert line.dead_letters == {"a37": 1}
    assert line.dead_letter_codes == {"refused": 1}
    assert line.accepted == dict.fromkeys(set(names("a", 100)) - {"a37"}, 1)
    assert line.lag == 0
    assert len(line.requests) <= 15


@simulated
async def test_an_event_that_cannot_be_mapped_goes_to_the_dead_letters() -> None:
    line = Line(always(200))
    line.produce("leads", 0, "a0", "bad1", "a2")
    line.assign(P0)
    await line.run_for(3)
    assert (line.dead_letters, line.accepted, line.lag) == ({"bad1": 1}, {"a0": 1, "a2": 1}, 0)


@simulated
async def test_a_partition_waits_while_its_dead_letter_cannot_be_written() -> None:
    line = Line(always(200))
    line.write_seconds = 100.0
    line.produce("leads", 0, "bad0", "a1")
    line.assign(P0)
    await line.run_for(50)
    assert line.store[P0][0] == 0
    assert line.accepted == {"a1": 1}


@pytest.mark.parametrize("status", [400, 413, 422])
@simulated
async def test_a_refusal_of_all_events_empties_nothing_into_the_dead_letters(status: int) -> None:
    line = Line(always(status), max_events=100)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 1000))
    line.assign(P0)
    await line.run_for(600)
    assert not line.dead_letters
    assert line.store.get(P0, (0, ""))[0] == 0
    assert [one.reason for one in held(line.pipeline)] == ["split_budget"]
    line.answering = always(200)
    await asyncio.sleep(0)
    await line.run_for(120)
    assert not line.dead_letters
    assert line.lag == 0
    assert not held(line.pipeline)


@simulated
async def test_a_poisoned_event_in_the_held_batch_does_not_hold_the_lane_for_ever() -> None:
    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        return 0.05, Answer(400 if now < 300 or "a13" in ids else 200)

    line = Line(answering, max_events=100)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(290)
    assert not line.dead_letters
    await line.run_for(120)
    assert line.dead_letters == {"a13": 1}
    assert line.accepted == dict.fromkeys(set(names("a", 100)) - {"a13"}, 1)
    assert line.lag == 0


@simulated
async def test_a_dead_letter_that_waits_is_given_up_with_its_partition() -> None:
    line = Line(always(200))
    line.write_seconds = 1000.0
    line.produce("leads", 0, "bad0")
    line.assign(P0)

    async def hand_over() -> None:
        await asyncio.sleep(2)
        line.pipeline.lost([P0])
        line.unassign(P0)

    handing = asyncio.create_task(hand_over())
    await line.run_for(2000)
    await handing
    assert not line.dead_letters, "the next owner writes it"


@simulated
async def test_too_many_refused_events_hold_the_lane_before_one_is_written() -> None:
    poison = [f"a{i}" for i in range(1000) if i % 10 < 8]
    line = Line(refusing(*poison), max_events=10)
    line.produce("leads", 0, *names("a", 1000))
    line.assign(P0)
    await line.run_for(300)
    assert "dead_letter_ratio" in {one.reason for one in held(line.pipeline)}
    assert sum(line.dead_letters.values()) < 100


@simulated
async def test_a_mapping_that_fails_for_all_is_no_fault_of_the_events() -> None:
    line = Line(always(200))
    line.chunk = 150
    line.produce("leads", 0, *names("bad", 150))
    line.assign(P0)
    await line.run_for(30)
    assert not line.dead_letters
    assert line.reports["intake_held dead_letter_ratio"] == 1
    line.produce("leads", 0, *names("a", 200))
    await line.run_for(30)
    assert sum(line.dead_letters.values()) == 150, "good events have come: it was poison after all"
    assert line.lag == 0


@pytest.mark.slow
@simulated
async def test_a_mass_of_bad_events_ends_as_dead_letters_once_good_ones_come_behind_it() -> None:
    line = Line(always(200), max_buffered_bytes=2**24)
    line.produce("leads", 0, *names("bad", 600), *names("a", 8000))
    line.assign(P0)
    await line.run_for(120)
    assert sum(line.dead_letters.values()) == 600
    assert (line.lag, line.reports["intake_held dead_letter_ratio"], line.reports["intake_held None"]) == (0, 1, 1)


@simulated
async def test_a_mass_of_bad_events_waits_while_bad_ones_come() -> None:
    line = Line(always(200), max_buffered_bytes=2**24)
    mixed = [name for i in range(1000) for name in (f"bad{i}", f"bad{i}b", f"a{i}")]
    line.produce("leads", 0, *mixed)
    line.assign(P0)
    await line.run_for(300)
    assert sum(line.dead_letters.values()) < 100
    assert line.reports["intake_held None"] == 0
    line.produce("leads", 0, *names("c", 80), *names("badc", 40))
    await line.run_for(60)
    assert line.lag, "a third of the last hundred and twenty, but of two hundred more than half"
    line.produce("leads", 0, *names("d", 80))
    await line.run_for(60)
    assert (line.lag, sum(line.dead_letters.values())) == (0, 2040)


@simulated
async def test_a_source_has_its_own_ratio_and_a_higher_one_lets_what_waits_go() -> None:
    line = Line(always(200))
    line.produce("leads", 0, *names("bad", 600))
    line.produce("views", 0, *names("badv", 600))
    line.assign(P0, V0)
    await line.run_for(30)
    assert line.reports["intake_held dead_letter_ratio"] == 2
    line.sources["leads"].max_ratio = 1.0
    line._new_pipeline()
    line.assign(P0, V0)
    await line.run_for(30)
    assert (line.store[P0][0], line.dead_letters["bad599"]) == (600, 1)
    assert list(line.pipeline.quarantined_since) == ["views"]


@pytest.mark.slow
@simulated
async def test_at_the_bound_a_source_is_not_held_and_released_many_times_a_second() -> None:
    line = Line(always(200), max_buffered_bytes=2**27)
    line.chunk = 120
    line.produce("leads", 0, *(f"{'bad' if i % 240 < 120 else 'a'}{i}" for i in range(24_000)))
    line.assign(P0)
    begun = asyncio.get_running_loop().time()
    await line.run_for(600)
    lines = line.reports["intake_held dead_letter_ratio"] + line.reports["intake_held None"]
    assert lines <= asyncio.get_running_loop().time() - begun
    assert lines < 60
    assert line.lag == 0


@simulated
async def test_a_spent_budget_is_told_when_it_holds_the_lane() -> None:
    line = Line(always(400), max_events=100, max_split_requests=8, max_in_flight=1)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(20)
    assert [one.reason for one in held(line.pipeline)] == ["split_budget"]
    assert line.reports["main/generate_lead held split_budget"] == 1


@simulated
async def test_a_burst_of_poison_holds_its_lane_only_until_good_events_show_it_for_poison() -> None:
    """More than the budget of a split can find; and once the good events of the batch are delivered, only poison is left."""
    poison = [f"a{i}" for i in range(400, 480)]
    line = Line(refusing(*poison), max_events=100)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 1000))
    line.assign(P0)
    await line.run_for(900)
    assert [one.reason for one in held(line.pipeline)] == ["split_budget"]
    assert not line.dead_letters, "nothing came that could tell poison from a fault of all events"
    for i in range(60):
        line.produce("leads", 0, f"b{i}")
        await line.run_for(10)
    assert line.dead_letters == dict.fromkeys(poison, 1)
    assert line.lag == 0


@simulated
async def test_a_refusing_api_is_probed_once_in_a_while_and_fills_no_more_than_the_memory() -> None:
    line = Line(always(400), max_events=100, max_buffered_bytes=400_000)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 5000))
    line.assign(P0)
    await line.run_for(3600)
    assert not line.dead_letters
    assert len([at for at, *_ in line.requests if at > 60]) <= 120
    assert line.pipeline.buffered_bytes <= 400_000 + 100 * 1100
    line.answering = always(200)
    await line.run_for(120)
    assert line.lag == 0


@simulated
async def test_a_dead_letter_that_can_not_be_written_as_it_came_is_written_by_reference() -> None:
    line = Line(always(200))
    line.unwritable = "bad1"
    line.produce("leads", 0, *names("a", 20), "bad0", "bad1")
    line.assign(P0)
    await line.run_for(5)
    assert (line.dead_letter_codes, line.lag) == ({"missing_field": 1, "internal_error": 1}, 0)
    assert line.by_reference == ["bad1"]
    assert [one for one in line.reports if one.startswith("internal_error SystemError at ")]
