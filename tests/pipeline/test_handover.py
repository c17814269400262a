"""Hand-overs of partitions: requests in flight are awaited, late answers change nothing, waiting events are dropped."""

from __future__ import annotations

import asyncio

from stream_capi.errors import RegistryUnavailable
from stream_capi.model import Answer
from tests.pipeline.given import P0, P1, names
from tests.simulation import Line, always, held, simulated


@simulated
async def test_revoke_awaits_what_is_in_flight_and_commits_it() -> None:
    line = Line(always(200, 3.0))
    line.produce("leads", 0, *names("a", 25))
    line.produce("leads", 1, *names("b", 25))
    line.assign(P0, P1)

    async def hand_over() -> None:
        await asyncio.sleep(0.5)
        await line.revoke(P0)

    handing = asyncio.create_task(hand_over())
    await line.run_for(20)
    await handing
    assert line.store[P0][0] == 25
    assert P0 not in line.pipeline.partitions
    assert line.accepted == dict.fromkeys(names("a", 25) + names("b", 25), 1)


@simulated
async def test_a_hand_over_takes_no_longer_than_what_is_in_flight_however_much_was_read_ahead() -> None:
    line = Line(always(200, 3.0), max_in_flight=2, max_buffered_bytes=2**22)
    line.produce("leads", 0, *names("a", 2000))
    line.produce("leads", 1, *names("b", 2000))
    line.assign(P0, P1)
    took = 0.0

    async def hand_over() -> None:
        nonlocal took
        await asyncio.sleep(10)
        assert line.pipeline.partitions[P0].offsets.unresolved > 500, "or nothing was read ahead"
        begun = asyncio.get_running_loop().time()
        await line.revoke(P0)
        took = asyncio.get_running_loop().time() - begun

    handing = asyncio.create_task(hand_over())
    await line.run_for(40)
    await handing
    assert took <= 3.0
    mine = sum(name.startswith("a") for name in line.accepted)
    assert 0 < mine == line.store[P0][0], "what was answered is committed, and nothing was sent after the hand-over"
    assert max(line.accepted.values()) == 1


@simulated
async def test_a_late_answer_after_a_revoke_changes_nothing() -> None:
    line = Line(always(200, 100.0))
    line.produce("leads", 0, *names("a", 25))
    line.assign(P0)

    async def hand_over() -> None:
        await asyncio.sleep(2)
        await line.revoke(P0, seconds=5)

    handing = asyncio.create_task(hand_over())
    await line.run_for(300)
    await handing
    assert line.accepted
    assert line.store.get(P0, (0, ""))[0] == 0, "the next owner decides"


@simulated
async def test_what_was_fenced_is_not_sent_again() -> None:
    line = Line(always(500))
    line.produce("leads", 0, *names("a", 25))
    line.produce("leads", 1, *names("b", 25))
    line.assign(P0, P1)
    await line.run_for(10)
    line.pipeline.lost([P0])
    line.unassign(P0)
    before = len(line.requests)
    line.answering = always(200)
    await line.run_for(200)
    sent = {event for _, _, ids, _ in line.requests[before:] for event in ids}
    assert sent == set(names("b", 25))


@simulated
async def test_outcomes_beyond_the_watermark_survive_a_hand_over() -> None:
    line = Line(lambda pixel, ids, now: (0.05, Answer(200) if "a0" not in ids else Answer(500)))
    line.produce("leads", 0, *names("a", 200))
    line.assign(P0)
    await line.run_for(20)
    assert line.store[P0][0] == 0
    line.pipeline.lost([P0])  # a crash: nothing more is committed
    line.answering = always(200)
    line.assign(P0)
    await line.run_for(60)
    assert line.lag == 0
    assert line.accepted == dict.fromkeys(names("a", 200), 1)


async def hand_overs(line: Line, times: int) -> None:
    """Assign and lose the partition so many times, each time long enough for it to be read."""
    for _ in range(times):
        line.assign(P0)
        await asyncio.sleep(3)
        line.pipeline.lost([P0])
        line.unassign(P0)


@simulated
async def test_what_waits_for_a_schema_goes_with_its_partition() -> None:
    line = Line(always(200))

    async def load(key: object) -> str:
        raise RegistryUnavailable("the registry does not answer")

    line.sources["leads"].load = load
    line.produce("leads", 0, *names("a", 100))
    coming_and_going = asyncio.create_task(hand_overs(line, 20))
    await line.run_for(70)
    await coming_and_going
    assert not list(line.pipeline.without_schema), "twenty hand-overs would have kept twenty times the memory"


@simulated
async def test_quarantined_events_go_with_their_partition_and_so_does_the_hold() -> None:
    line = Line(always(200))
    line.chunk = 150
    line.produce("leads", 0, *names("bad", 150))
    coming_and_going = asyncio.create_task(hand_overs(line, 1))
    await line.run_for(2)
    assert len(list(line.pipeline.quarantined)) == 150
    assert line.pipeline.quarantined_since
    await line.run_for(3)
    await coming_and_going
    assert not list(line.pipeline.quarantined)
    assert not line.pipeline.quarantined_since
    assert line.reports["intake_held None"] == 0, "nothing is written of them here"
    assert line.reports["hold_over events that waited are left to the next owner"] == 1
    assert not line.dead_letters


@simulated
async def test_batches_that_wait_for_their_backoff_go_with_their_partition() -> None:
    line = Line(always(500))
    line.produce("leads", 0, *names("a", 300))
    coming_and_going = asyncio.create_task(hand_overs(line, 1))
    await line.run_for(3.01)
    await coming_and_going
    assert line.requests
    assert not [batch for lane in line.pipeline.delivery.lanes.values() for batch in lane.batches()]


@simulated
async def test_a_split_that_is_judged_after_its_partition_left_holds_nothing() -> None:
    line = Line(always(400, 2.0), max_events=100, max_split_requests=2)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 100))
    coming_and_going = asyncio.create_task(hand_overs(line, 1))  # it leaves while both halves are in flight
    await line.run_for(30)
    await coming_and_going
    assert [len(ids) for _, _, ids, _ in line.requests] == [100, 50, 50]
    assert not held(line.pipeline), "it would have had nothing to probe with"
    assert not line.dead_letters
