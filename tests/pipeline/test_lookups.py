"""Records with unknown schemas: how many schemas are requested at a time, how often, and at which cost."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stream_capi.avro.framing import Run, SchemaKey
from stream_capi.errors import RegistryUnavailable
from stream_capi.model import Code, Rejection, TopicPartition
from stream_capi.pipeline.lookups import LIMIT
from tests.simulation import CODEC, LEADS, Line, PlainSource, always, simulated

P0, P1, V0 = TopicPartition("leads", 0), TopicPartition("leads", 1), TopicPartition("views", 0)


class Flooded(PlainSource):
    """A source in which every record has its own schema id. ``down`` tells which of them can't be requested now."""

    def __init__(self) -> None:
        super().__init__("leads", LEADS)
        self.known: dict[SchemaKey, Any] = {}
        self.asked: Counter[int] = Counter()
        self.at_once = self.most_at_once = 0
        self.seconds = 0.01
        self.down: Any = lambda id_: True
        self.load = self._asked_for

    def frame(self, records: Sequence[Any], values: Sequence[bytes]) -> list[Run]:
        return [Run(SchemaKey("id", record.offset()), at, [values[at]]) for at, record in enumerate(records)]

    def codec(self, key: SchemaKey) -> Any:
        return self.known.get(key)

    async def _asked_for(self, key: SchemaKey) -> Any:
        id_ = int(key.value)
        self.asked[id_] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        if self.down(id_):
            raise RegistryUnavailable("the registry does not answer")
        return self.known.setdefault(key, CODEC)


def flooded(**rules: Any) -> tuple[Line, Flooded]:
    """A line, and its ``Flooded`` source of leads."""
    line = Line(always(200), **rules)
    line.sources["leads"] = source = Flooded()
    line._new_pipeline()
    return line, source


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


@pytest.mark.slow
@simulated
async def test_a_flood_of_unknown_schemas_asks_a_few_questions_at_a_time_and_is_told_once() -> None:
    line, source = flooded()
    line.chunk = 1000
    line.produce("leads", 0, *names("a", 3000))
    line.produce("views", 0, *names("b", 60))
    line.assign(P0, V0)

    async def look() -> None:
        await asyncio.sleep(120)
        assert source.most_at_once <= LIMIT
        assert source.asked.total() < 120, "no faster while nobody answers"
        assert line.reports["registry"] == 1, "a line for the topic, not for each schema"
        assert line.accepted == dict.fromkeys(names("b", 60), 1)
        source.down = lambda id_: False

    looking = asyncio.create_task(look())
    await line.run_for(300)
    await looking
    assert line.lag == 0
    assert line.reports["registry"] == 2
    assert source.most_at_once <= LIMIT
    assert source.waiting_for == {}


@simulated
async def test_schemas_that_can_never_be_had_do_not_keep_the_others_waiting() -> None:
    line, source = flooded()
    source.down = lambda id_: id_ < 20
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)

    async def look() -> None:
        await asyncio.sleep(60)
        assert line.accepted == dict.fromkeys(names("a", 100)[20:], 1)
        line.produce("leads", 0, "late")
        await asyncio.sleep(25)
        assert line.accepted["late"] == 1
        assert line.reports["registry"] == 1
        source.down = lambda id_: False

    looking = asyncio.create_task(look())
    await line.run_for(150)
    await looking
    assert (line.lag, line.reports["registry"]) == (0, 2)


@simulated
async def test_while_new_schemas_keep_coming_those_that_failed_are_asked_for_again() -> None:
    line, source = flooded()
    source.down = lambda id_: id_ == 0 and source.asked[0] < 3
    source.seconds = 1.0
    line.produce("leads", 0, *names("a", 2000))
    line.assign(P0)
    await line.run_for(60)
    assert line.accepted["a0"] == 1
    assert line.lag > 1000, "the flood was not over"


@simulated
async def test_what_waits_for_schemas_is_counted_and_pauses_the_intake() -> None:
    line, _ = flooded(max_buffered_bytes=400_000)
    line.chunk = 10
    line.produce("leads", 0, *names("a", 3000))
    line.assign(P0)
    await line.run_for(10)
    assert P0 in line.paused
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    line.paused.clear()
    line.pipeline.partitions[P0].paused = False
    held = line.pipeline.buffered_bytes
    line.pipeline.backpressure.budget = 10 * held
    await line.run_for(3)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    counted = line.pipeline.buffered_bytes - held
    assert counted > 500_000
    assert taken < counted


@simulated
async def test_nobody_asks_for_a_schema_whose_records_have_gone_to_another_member() -> None:
    line, source = flooded()
    line.produce("leads", 0, *names("a", 200))

    async def hand_over() -> None:
        line.assign(P0)
        await asyncio.sleep(5)
        line.pipeline.lost([P0])
        line.unassign(P0)
        source.asked.clear()
        assert source.waiting_for == {}
        await asyncio.sleep(60)
        assert source.asked.total() <= LIMIT, "no more than was being asked as it left"
        assert not line.pipeline.waiting_schemas

    handing = asyncio.create_task(hand_over())
    await line.run_for(70)
    await handing
    source.down = lambda id_: False
    line.assign(P0)
    await line.run_for(60)
    assert (line.lag, max(line.accepted.values())) == (0, 1)


@pytest.mark.parametrize("chunk", [1, 50])
@simulated
async def test_a_flood_of_one_bad_id_is_one_question(chunk: int) -> None:
    line, source = flooded(max_dead_letter_ratio=1.0)
    line.chunk = chunk

    def one(records: Sequence[Any], values: Sequence[bytes]) -> list[Run]:
        return [Run(SchemaKey("id", 7), 0, list(values))]

    async def unknown(key: SchemaKey) -> Rejection:
        source.asked[7] += 1
        await asyncio.sleep(5)
        source.known[key] = rejection = Rejection(Code.UNKNOWN_SCHEMA, "unknown")
        return rejection

    source.frame, source.load = one, unknown  # type: ignore[method-assign]
    line.produce("leads", 0, *names("a", 300))
    line.assign(P0)
    await line.run_for(60)
    assert (line.dead_letter_codes, line.lag, source.asked) == ({"unknown_schema": 300}, 0, {7: 1})
    assert line.reports["registry"] == 0
