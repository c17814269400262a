"""How much is read ahead: the memory is bounded, and each partition has its share."""

from __future__ import annotations

import asyncio

import pytest

from stream_capi.errors import RegistryUnavailable
from stream_capi.model import TopicPartition
from tests.pipeline.given import P0, P1, V0, names
from tests.simulation import LEADS, Line, always, simulated


@pytest.mark.slow
@simulated
async def test_memory_is_bounded_while_nothing_moves() -> None:
    line = Line(always(500), max_buffered_bytes=400_000)
    line.produce("leads", 0, *names("a", 5000))
    line.produce("leads", 1, *names("b", 5000))
    line.assign(P0, P1)
    await line.run_for(120)
    chunk = 50 * 1100
    assert line.pipeline.buffered_bytes <= 400_000 + 2 * chunk
    line.answering = always(200)
    await line.run_for(300)
    assert line.lag == 0


@simulated
async def test_a_partition_that_stands_still_leaves_the_others_their_memory() -> None:
    line = Line(always(200, 1.0), max_in_flight=1, max_buffered_bytes=400_000)

    async def load(key: object) -> str:
        raise RegistryUnavailable("the registry does not answer")

    line.sources["leads"].load = load
    line.produce("leads", 0, *names("a", 5000))
    line.assign(P0, V0)
    await line.run_for(60)
    chunk = 50 * 1100
    still = line.pipeline.partitions[P0]
    assert 200_000 <= still.buffered_bytes <= 200_000 + chunk, "half of it all, which is for whoever comes first"
    assert line.paused == {P0}
    line.produce("views", 0, *names("b", 2000))
    await line.run_for(300)
    assert sum(line.accepted.values()) == 2000


@pytest.mark.slow
@simulated
async def test_a_partition_that_was_paused_is_read_again_when_there_is_room_for_some_time() -> None:
    line = Line(always(200, 1.0), {"leads": LEADS}, max_in_flight=1, max_buffered_bytes=400_000)
    line.chunk = 5
    line.produce("leads", 0, *names("a", 5000))
    line.assign(P0)
    await line.run_for(300)
    assert 2500 < sum(line.accepted.values()) <= 3000
    assert 10 < line.reports["pause"] < 100, "a pause throws away what was prefetched"


@pytest.mark.slow
@simulated
async def test_many_partitions_are_not_paused_while_there_is_memory() -> None:
    """Although a chunk of each partition is larger than its share."""
    partitions = [TopicPartition("leads", number) for number in range(40)]
    line = Line(always(200, 0.05), max_buffered_bytes=2**20)
    for tp in partitions:
        line.produce("leads", tp.partition, *names(f"a{tp.partition}-", 500))
    line.assign(*partitions)
    await line.run_for(120)
    assert line.lag == 0
    assert not line.reports["pause"], "a pause throws away what was prefetched"


@pytest.mark.repeat(of="test_memory_is_bounded_while_nothing_moves")
@pytest.mark.slow
@simulated
async def test_memory_is_bounded_however_many_partitions_there_are() -> None:
    """Without a limit, one chunk of each partition would be fourteen times the budget."""
    partitions = [TopicPartition("leads", number) for number in range(100)]
    line = Line(always(200, 1.0), max_in_flight=2, max_buffered_bytes=400_000)
    for tp in partitions:
        line.produce("leads", tp.partition, *names(f"a{tp.partition}-", 200))
    line.assign(*partitions)
    await line.run_for(600)
    assert len(line.paused) > 50
    assert 200_000 < line.pipeline.buffered_bytes <= 800_000, "half of it, and no more than two shares of each"
    assert sum(line.accepted.values()) > 5000, "as many as one in flight delivers"


@pytest.mark.slow
@simulated
async def test_no_more_is_read_than_can_be_sent_soon() -> None:
    line = Line(always(200, 0.05), {"leads": LEADS}, max_in_flight=2, max_buffered_bytes=2**30)
    line.chunk = 38  # 760 events per second from both partitions, of which 400 can be sent
    line.produce("leads", 0, *names("a", 9000))
    line.produce("leads", 1, *names("b", 9000))
    line.assign(P0, P1)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            await asyncio.sleep(0.1)
            most = max(most, sum(partition.offsets.unresolved for partition in line.pipeline.partitions.values()))

    watching = asyncio.create_task(watch())
    await line.run_for(20)
    watching.cancel()
    assert sum(line.accepted.values()) > 7000
    assert not line.reports["pause"], "a pause throws away what was prefetched"
    assert most <= 150, "what is in flight, ready for the next slots, and a chunk of each"


@pytest.mark.slow
@simulated
async def test_a_poisoned_partition_takes_no_more_than_its_share() -> None:
    line = Line(always(200), max_buffered_bytes=400_000)
    line.write_seconds = 10_000.0
    line.produce("leads", 0, "bad0", *names("a", 5000))
    line.produce("leads", 1, *names("b", 5000))
    line.assign(P0, P1)
    await line.run_for(120)
    assert line.store[P1][0] == 5000
    assert line.store[P0][0] == 0
