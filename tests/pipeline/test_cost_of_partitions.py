"""The cost of a chunk, a batch and a tick with a thousand partitions, in bytecode instructions, compared with ten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stream_capi.model import Records, TopicPartition
from tests.fake_record import FakeRecord
from tests.simulation import LEADS, Line, always, simulate
from tests.steps import Steps, steps

pytestmark = pytest.mark.slow  # counting instructions is slow

FEW, MANY = 10, 1000
EVENT_BYTES = 1024 + 2 * 10  # as the memory budget counts them


class Crowd(Line):
    """A line with many partitions, whose records the test hands over itself.

    :param full: the endpoint never answers, and all partitions together fill most of the memory in equal shares.
    """

    def __init__(self, partitions: int, full: bool) -> None:
        of_each = 2 * MANY // partitions
        budget = 2 * MANY * EVENT_BYTES if full else 40 * 2**20
        rules = {"max_events": 100, "max_in_flight": 16, "max_buffered_bytes": budget}
        super().__init__(always(200, 10_000.0 if full else 0.05), {"leads": LEADS}, **rules)
        self.all = [TopicPartition("leads", number) for number in range(partitions)]
        self.next = dict.fromkeys(self.all, 0)
        self.assign(*self.all)
        self.working = asyncio.get_running_loop().create_task(self.pipeline.run())
        self._fill = [of_each] * partitions if full else []

    async def begun(self) -> Crowd:
        await asyncio.sleep(0)
        self.pipeline.fetched([self.fetch(tp, count) for tp, count in zip(self.all, self._fill, strict=False)])
        await asyncio.sleep(0)
        return self

    def fetch(self, tp: TopicPartition, count: int) -> Records:
        """The next records of a partition, as the consumer hands them over."""
        first = self.next[tp]
        self.next[tp] += count
        records: list[Any] = [
            FakeRecord(b'"%04d-%03d"' % (tp.partition, at), place=(*tp, at)) for at in range(first, first + count)
        ]
        return Records(*tp, self.pipeline.partitions[tp].offsets.epoch, records)


def cost(partitions: int, what: Callable[[Crowd], Callable[[], object]], full: bool = False) -> int:
    """Count the instructions of the call that ``what`` prepares, in a line with so many partitions."""

    async def run() -> int:
        line = await Crowd(partitions, full).begun()
        found = steps(what(line))
        line.working.cancel()
        return found

    return simulate(run())


def one_chunk(line: Crowd) -> Callable[[], object]:
    chunk = line.fetch(line.all[0], 5)
    return lambda: line.pipeline.fetched([chunk])


def chunks_of_all(line: Crowd) -> Callable[[], object]:
    chunks = [line.fetch(tp, 1) for tp in line.all]
    return lambda: line.pipeline.fetched(chunks)


@pytest.mark.parametrize("full", [False, True])
def test_a_chunk_costs_the_same_whatever_other_partitions_there_are(full: bool) -> None:
    few, many = cost(FEW, one_chunk, full), cost(MANY, one_chunk, full)
    assert few > 50
    assert many < 1.5 * few


@pytest.mark.parametrize("full", [False, True])
def test_a_record_of_each_partition_costs_the_same_however_many_they_are(full: bool) -> None:
    few, many = cost(FEW, chunks_of_all, full) / FEW, cost(MANY, chunks_of_all, full) / MANY
    assert few > 50
    assert many < 1.5 * few


def test_a_tick_in_which_nothing_is_open_asks_each_partition_once() -> None:
    few, many = (cost(partitions, lambda line: line.pipeline.regulate) for partitions in (FEW, MANY))
    assert (many - few) / (MANY - FEW) < 40


async def idle(partitions: int) -> Crowd:
    """A line in which each partition has had an event, and all of it is committed."""
    line = await Crowd(partitions, full=False).begun()
    line.pipeline.fetched([line.fetch(tp, 1) for tp in line.all])
    await asyncio.sleep(2.0)
    for _ in range(2):  # the second call sees that the first commit was confirmed
        line.pipeline.commit()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [line.store[tp][0] for tp in line.all] == [1] * partitions
    return line


def test_a_look_for_commits_asks_a_partition_that_has_not_moved_once() -> None:
    async def run(partitions: int) -> int:
        line = await idle(partitions)
        found = steps(line.pipeline.commit)
        line.working.cancel()
        return found

    few, many = simulate(run(FEW)), simulate(run(MANY))
    assert (many - few) / (MANY - FEW) < 60


def test_a_partition_that_moves_again_is_committed_again() -> None:
    async def run() -> None:
        line = await idle(FEW)
        line.pipeline.fetched([line.fetch(line.all[3], 2)])
        await asyncio.sleep(2.0)
        line.pipeline.commit()
        assert [line.store[tp][0] for tp in line.all] == [1, 1, 1, 3, *[1] * (FEW - 4)]
        line.working.cancel()

    simulate(run())


def test_a_batch_costs_for_its_events_and_their_partitions_not_for_both_multiplied() -> None:
    """The hundred events belong to a hundred partitions, or all to one."""

    async def delivered(owners: int) -> int:
        line = await Crowd(MANY, full=False).begun()
        line.pipeline.fetched([line.fetch(tp, 100 // owners) for tp in line.all[:owners]])
        with Steps() as counted:
            await asyncio.sleep(1.0)
        assert sum(line.accepted.values()) == 100
        line.working.cancel()
        return counted.count

    one, hundred = simulate(delivered(1)), simulate(delivered(100))
    assert hundred - one < 100 * 400
