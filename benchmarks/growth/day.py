"""A member that runs for a day and more in simulated time: does anything that it keeps grow with the hours?

The pipeline with its sources and their mapping, the metrics and the telemetry are real. Every other second a few events
come, some of them bad. For some minutes of each hour the endpoint fails, throttles or refuses. Partitions are lost, handed
over and assigned again. In the quiet at the end of each hour all objects that these parts hold are counted.
"""

from __future__ import annotations

import asyncio
import gc
import random
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Message

from benchmarks.contenders.bare import loaded
from benchmarks.contenders.shapes import SHAPES
from benchmarks.inside import SETUP, Unsteered
from benchmarks.mapping import Known
from benchmarks.templates import Templates, varint_of
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build
from stream_capi.config import SourceSection
from stream_capi.core.batch import Batch
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import IDENTIFIER_FIELDS, Transform, compile_source
from stream_capi.model import (
    Answer,
    Commit,
    CommitResult,
    Committed,
    DeadLetter,
    EventName,
    Records,
    TopicPartition,
)
from stream_capi.observe import identifier_quality
from stream_capi.observe.identifier_quality import SourceQuality
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.telemetry import Telemetry
from stream_capi.pipeline.configured_sources import source_of
from stream_capi.pipeline.delivery import Clock
from stream_capi.pipeline.delivery_rules import delivery_rules, lanes_of
from stream_capi.pipeline.pipeline import Pipeline
from tests.simulated_broker import SimulatedBroker
from tests.simulation import EPOCH, simulate

HOUR = 3600
_PARTITIONS = 4  # of each topic
_STEP = 2  # seconds from one chunk to the next
_CHUNK = 5
_REBALANCE_SECONDS = 600
_QUIET_SECONDS = 300  # at the end of an hour: long enough for a backoff of a minute to end and all waiting events to go
_IDS = {EventName.GENERATE_LEAD: 1, EventName.PAGE_VIEW: 2}
_TOPICS = {SETUP.leads: EventName.GENERATE_LEAD, SETUP.views: EventName.PAGE_VIEW}
_POISON = re.compile(rb'777"').search  # the end of an id: one event in a thousand
# The endpoint's status in these minutes of an hour; otherwise it is 200.
_MINUTES = {10: 500, 11: 500, 20: 429, 30: 401, 31: 401, 40: 503}


class Held(NamedTuple):
    """The objects that are reachable from a member's parts: their number and their bytes."""

    objects: int
    bytes: int


class _Neighbours(Unsteered):
    """Stands in for Kafka and the endpoint."""

    def __init__(self) -> None:
        self.committed: Callable[[Sequence[CommitResult]], None] = lambda results: None
        self.broker = SimulatedBroker(lambda record: True)  # without logs: they would grow
        self.answered = self.dead_letters = 0

    async def post(self, batch: Batch) -> Answer:
        await asyncio.sleep(0.05)
        body = batch.body()
        status = _MINUTES.get(int(asyncio.get_running_loop().time() % HOUR) // 60, 200)
        if status == 200:
            if _POISON(body):
                return Answer(400)
            self.answered += len(batch)
        return Answer(status)

    def commit(self, commits: Sequence[Commit]) -> None:
        self.take(commits)
        asyncio.get_running_loop().call_soon(self.committed, [CommitResult(commit, None) for commit in commits])

    def take(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            self.broker.take(commit)

    async def write(self, dead_letter: DeadLetter) -> None:
        self.dead_letters += 1


class _Day:
    """A member and what happens to it."""

    def __init__(self, seed: int) -> None:
        loop = asyncio.get_running_loop()
        settings = loaded(SETUP)
        self._random = random.Random(seed)
        self._now = loop.time
        self._templates = Templates(SHAPES[SETUP.shape], _IDS, seed)
        self._qualities: list[SourceQuality] = []
        self._positions: dict[TopicPartition, int] = {
            TopicPartition(topic, number): 0 for topic in _TOPICS for number in range(_PARTITIONS)
        }
        self._epoch = 0
        self._number = 0
        self.neighbours = _Neighbours()
        self._metrics = Metrics(IDENTIFIER_FIELDS, loop.time)
        self._telemetry = Telemetry(self._metrics, loop.time)

        def compile_for(source: SourceSection) -> Callable[[WriterSchema], Transform]:
            rules = rules_from(source, settings)
            quality = SourceQuality(settings.name_of(source), rules, self._metrics, b"a key", loop.time)
            self._qualities.append(quality)

            def compiled(schema: WriterSchema) -> Transform:
                transform = compile_source(rules, schema.raw, schema.name, shared=quality.shared)
                quality.counts.append(transform.counts)
                return transform

            return compiled

        self.pipeline = Pipeline(
            {topic: source_of(settings, topic, _known, compile_for) for topic in settings.topics},
            lanes_of(settings),
            delivery_rules(settings),
            self.neighbours.post,
            self.neighbours,
            self.neighbours,
            self._telemetry,
            Clock(loop.time, lambda: EPOCH + loop.time(), self._random.random),
            settings.delivery.max_buffered_bytes,
        )
        self.neighbours.committed = self.pipeline.committed

    async def live(self, hours: int) -> list[Held]:
        """Run for some hours; returns what is held after each of them."""
        running = asyncio.create_task(self.pipeline.run())
        await asyncio.sleep(0)
        self._assign(self._positions)
        found = []
        for _ in range(hours):
            for second in range(0, HOUR, _STEP):
                await self._step(second)
            found.append(self.held())
        running.cancel()
        await asyncio.wait([running])
        return found

    async def _step(self, second: int) -> None:
        if second < HOUR - _QUIET_SECONDS:
            self._fetch(self._random.choice(list(self._positions)))
            if second % _REBALANCE_SECONDS == 0:
                await self._rebalance()
        self.pipeline.regulate()
        self.pipeline.commit()
        identifier_quality.collect(self._qualities)
        await asyncio.sleep(_STEP)

    def _fetch(self, tp: TopicPartition) -> None:
        now_ms = int((EPOCH + self._now()) * 1000)
        at, first = varint_of(now_ms), self._positions[tp]
        records: list[Any] = [
            Message(*tp, first + more, value=self._value(_TOPICS[tp.topic], at), timestamp=(1, now_ms))
            for more in range(_CHUNK)
        ]
        self._positions[tp] += _CHUNK
        self.pipeline.fetched([Records(*tp, self.pipeline.partitions[tp].offsets.epoch, records)])

    def _value(self, name: EventName, at: bytes) -> bytes | None:
        self._number += 1
        value = self._templates.value(name, self._number, at)
        if self._number % 101 == 0:
            return None
        return value[: len(value) // 2] if self._number % 103 == 0 else value

    async def _rebalance(self) -> None:
        """Revoke half of the partitions, or lose them, and assign them again."""
        leaving = self._random.sample(list(self._positions), len(self._positions) // 2)
        if self._random.random() < 0.5:
            self.neighbours.take(await self.pipeline.revoke(leaving, 10.0))
        else:
            self.pipeline.lost(leaving)
        for tp in leaving:
            self._positions[tp], _ = self.neighbours.broker.place(tp)
        self._assign(leaving)

    def _assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._epoch += 1
        broker = self.neighbours.broker
        self.pipeline.assigned(
            [
                Committed(*tp, self._epoch, *broker.place(tp), was_committed=tp in broker.store, leader_epoch=1)
                for tp in partitions
            ],
            dict.fromkeys(_TOPICS, "AAAAAAAAAAAAAAAAAAAAAA"),
        )

    def held(self) -> Held:
        """All that the parts hold, without the stand-ins, and without what modules hold: tables and bounded caches."""
        gc.collect()
        apart: list[Any] = [self.neighbours, self, self._random, asyncio.get_running_loop(), sys.modules]
        for module in list(sys.modules.values()):
            apart += [vars(module), *vars(module).values()]
        return reached([self.pipeline, self._telemetry, self._metrics, *self._qualities], apart)


def reached(roots: Iterable[Any], apart: Iterable[Any]) -> Held:
    """Count all objects that are reachable from the roots, but not through those ``apart``."""
    seen = {id(one) for one in apart}
    left, size = deque(roots), 0
    before = len(seen)
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FrameType)):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        left.extend(gc.get_referents(one))
    return Held(len(seen) - before, size)


def _known(source: SourceSection) -> Known:
    name = EventName(str(source.event))
    key = SchemaKey("id", _IDS[name])
    schema = build(key, SHAPES[SETUP.shape].schemas[name].read_text())
    assert not isinstance(schema, RefusedSchema)
    return Known({key: schema})


def measured(hours: int, seed: int = 1) -> list[Held]:
    """What a member holds after each of these hours."""

    async def run() -> list[Held]:
        day = _Day(seed)
        found = await day.live(hours)
        assert day.neighbours.answered > 5 * HOUR // 4 * hours, f"only {day.neighbours.answered} events were delivered"
        assert day.neighbours.dead_letters > 10 * hours, f"only {day.neighbours.dead_letters} dead letters"
        return found

    return simulate(run())


if __name__ == "__main__":
    for hour, held in enumerate(measured(int(sys.argv[1])), 1):
        print(hour, *held, flush=True)
