"""The program's own share, without a network: its whole way from records to answers against the parts in a plain loop.

Records lie in memory and answers come at once, so that what is left is what the promises cost: offsets, batches, guards,
metrics, memory's accounts. What the client libraries cost is the same on both sides, and left out of both.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Message

from benchmarks.backlog import Templates, names_of, varint_of
from benchmarks.contenders.bare import loaded, mapping_of
from benchmarks.contenders.setup import SCHEMAS, SetUp
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.schemas import Schemas
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build
from stream_capi.core.batch import Batch
from stream_capi.events.rules import SourceRules, rules_from
from stream_capi.events.transform import IDENTIFIER_FIELDS, Transform, compile_source
from stream_capi.model import (
    Answer,
    Commit,
    CommitResult,
    Committed,
    DeadLetter,
    EventName,
    Lane,
    Records,
    Rejection,
    TopicPartition,
)
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.telemetry import Telemetry
from stream_capi.pipeline.delivery import Clock
from stream_capi.pipeline.delivery_rules import delivery_rules, lanes_of
from stream_capi.pipeline.pipeline import Pipeline
from stream_capi.pipeline.source import TopicSource

SETUP = SetUp("127.0.0.1:1", "http://127.0.0.1:1", "g", "leads", "views", "http://127.0.0.1:1/v1/event", "p", "k")
_IDS = {EventName.GENERATE_LEAD: 1, EventName.PAGE_VIEW: 2}
_TOPICS = {EventName.GENERATE_LEAD: SETUP.leads, EventName.PAGE_VIEW: SETUP.views}
_CHUNK = 500
_BATCH = 100
_IN_HAND = 16  # chunks between two looks at the clock, so that batches are answered as they would be


class Cost(NamedTuple):
    """Microseconds of processor time for an event."""

    whole: float
    bare: float

    @property
    def ratio(self) -> float:
        """The bare parts' share of what the whole takes."""
        return self.bare / self.whole


class Fetched(NamedTuple):
    """What one call of the client brought: messages of one topic's only partition."""

    topic: str
    messages: list[Message]

    def records(self) -> Records:
        """As the consumer's thread hands them over."""
        return Records(self.topic, 0, 1, list(self.messages))


def fetched(count: int) -> list[Fetched]:
    """A mixed backlog in chunks, one partition of each topic."""
    templates = Templates(_IDS, seed=1)
    now_ms = int(time.time() * 1000)
    at = varint_of(now_ms)
    messages: dict[str, list[Message]] = {topic: [] for topic in _TOPICS.values()}
    for number, name in enumerate(names_of(count)):
        of_topic = messages[_TOPICS[name]]
        value = templates.value(name, number, at)
        of_topic.append(Message(_TOPICS[name], 0, len(of_topic), value=value, timestamp=(1, now_ms)))
    return [
        Fetched(topic, of_topic[start : start + _CHUNK])
        for topic, of_topic in messages.items()
        for start in range(0, len(of_topic), _CHUNK)
    ]


class _Known:
    """Schemas that are there."""

    def __init__(self) -> None:
        self._known: dict[SchemaKey, WriterSchema] = {}
        for name, number in _IDS.items():
            key = SchemaKey("id", number)
            schema = build(key, SCHEMAS[name].read_text())
            assert not isinstance(schema, RefusedSchema)
            self._known[key] = schema

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        return self._known[key]

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        return self._known[key]

    async def aclose(self) -> None:
        return


class _Neighbours:
    """Kafka and the endpoint, at no cost."""

    def __init__(self) -> None:
        self.delivered = 0
        self.committed: Callable[[Sequence[CommitResult]], None] = lambda results: None

    async def post(self, batch: Batch) -> Answer:
        return self.take(batch.body())

    def take(self, body: bytes) -> Answer:
        self.delivered += body.count(b'"user_data":')
        return Answer(200)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        return

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        return

    def grant_credit(self, most: int | None) -> None:
        return

    def commit(self, commits: Sequence[Commit]) -> None:
        self.committed([CommitResult(commit, None) for commit in commits])

    async def write(self, letter: DeadLetter) -> None:
        raise AssertionError(f"no event of this backlog is a dead letter: {letter!r}")


def _compiling(rules: SourceRules) -> Callable[[WriterSchema], Transform]:
    return lambda schema: compile_source(rules, schema.raw)


def _pipeline(neighbours: _Neighbours) -> Pipeline:
    settings = loaded(SETUP)
    schemas: Schemas = _Known()
    sources: Mapping[str, TopicSource] = {
        source.topic: TopicSource(
            source.topic,
            source.framing,
            schemas,
            _compiling(rules_from(source, settings)),
            Lane(str(source.pixel), EventName(str(source.event))),
            source.pixel,
            settings.batch.window_ms / 1000,
        )
        for source in settings.sources
    }
    return Pipeline(
        sources,
        lanes_of(settings),
        delivery_rules(settings),
        neighbours.post,
        neighbours,
        neighbours,
        Telemetry(Metrics(IDENTIFIER_FIELDS)),
        Clock(time.monotonic, time.time, random.random),
        settings.delivery.max_buffered_bytes,
    )


async def whole(chunks: Sequence[Fetched]) -> float:
    """Seconds of processor time from records to commits."""
    neighbours = _Neighbours()
    pipeline = _pipeline(neighbours)
    neighbours.committed = pipeline.committed
    running = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0)
    pipeline.assigned([Committed(topic, 0, 1, 0, was_committed=False) for topic in sorted(_TOPICS.values())], {})
    begun = time.process_time()
    for number, chunk in enumerate(chunks):
        pipeline.fetched([chunk.records()])
        await asyncio.sleep(0)
        if number % _IN_HAND == 0:
            pipeline.regulate()
            pipeline.commit()
    await pipeline.drain(30.0)
    pipeline.commit()
    took = time.process_time() - begun
    wanted = sum(len(chunk.messages) for chunk in chunks)
    assert neighbours.delivered == wanted, f"{neighbours.delivered} of {wanted} events were delivered"
    assert sum(partition.offsets.watermark for partition in pipeline.partitions.values()) == wanted
    running.cancel()
    await asyncio.wait([running])
    return took


async def bare(chunks: Sequence[Fetched]) -> float:
    """Seconds of processor time for decoding, mapping and joining alone."""
    settings = loaded(SETUP)
    neighbours = _Neighbours()
    mapped = {source.topic: mapping_of(settings, at, 1 << 45) for at, source in enumerate(settings.sources)}
    begun = time.process_time()
    for chunk in chunks:
        events = mapped[chunk.topic]([record.value()[5:] for record in chunk.messages])  # type: ignore[index]
        for start in range(0, len(events), _BATCH):
            batch: list[bytes] = events[start : start + _BATCH]  # type: ignore[assignment]  # each can be delivered
            neighbours.take(b'{"events":[' + b",".join(batch) + b"]}")
    return time.process_time() - begun


def compared(events: int, repeats: int) -> Cost:
    """The least of some alternating runs of each: what disturbs a run only ever adds to it."""
    chunks = fetched(events)
    runs = [(asyncio.run(whole(chunks)), asyncio.run(bare(chunks))) for _ in range(repeats)]
    return Cost(*(1e6 * min(times) / events for times in zip(*runs, strict=True)))


if __name__ == "__main__":
    cost = compared(50_000, 5)
    print(f"whole {cost.whole:.2f} µs, bare {cost.bare:.2f} µs an event: {cost.ratio:.0%}")
