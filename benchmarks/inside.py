"""The program's own share, without a network: the whole pipeline from records to answers, against the parts in a plain loop.

Records are in memory and answers come at once, so that the difference is the cost of the guarantees: offsets, batches,
guards, metrics, accounting of memory. The client libraries cost the same on both sides, and are left out of both.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Message

from benchmarks.contenders.bare import loaded
from benchmarks.contenders.setup import SetUp
from benchmarks.contenders.shapes import SHAPES
from benchmarks.mapping import mapping_of, source_of
from benchmarks.templates import Templates, names_of, varint_of
from stream_capi.avro.framing import SchemaKey
from stream_capi.core.batch import Batch
from stream_capi.events.transform import IDENTIFIER_FIELDS
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
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.telemetry import Telemetry
from stream_capi.pipeline.delivery import Clock
from stream_capi.pipeline.delivery_rules import delivery_rules, lanes_of
from stream_capi.pipeline.pipeline import Pipeline

SETUP = SetUp("127.0.0.1:1", "http://127.0.0.1:1", "g", "leads", "views", "http://127.0.0.1:1/v1/event", "p", "k")
_IDS = {EventName.GENERATE_LEAD: 1, EventName.PAGE_VIEW: 2}
_TOPICS = {EventName.GENERATE_LEAD: SETUP.leads, EventName.PAGE_VIEW: SETUP.views}
_CHUNK = 500
_BATCH = 100
_IN_HAND = 8000  # events between two calls of what a member calls periodically


class Cost(NamedTuple):
    """Microseconds of processor time for an event."""

    whole: float
    bare: float

    @property
    def ratio(self) -> float:
        """The bare parts' share of the whole."""
        return self.bare / self.whole


class Fetched(NamedTuple):
    """The messages that one call of the client returned, of one topic's only partition."""

    topic: str
    messages: list[Message]

    def records(self) -> Records:
        """The messages in the form that the consumer's thread hands over."""
        return Records(self.topic, 0, 1, list(self.messages))


def values(count: int, shape: str) -> dict[str, list[bytes]]:
    """The framed values of a mixed backlog, by topic."""
    templates = Templates(SHAPES[shape], _IDS, seed=1)
    at = varint_of(int(time.time() * 1000))
    of_topics: dict[str, list[bytes]] = {topic: [] for topic in _TOPICS.values()}
    for number, name in enumerate(names_of(count)):
        of_topics[_TOPICS[name]].append(templates.value(name, number, at))
    return of_topics


def chunked(of_topics: Mapping[str, Sequence[bytes]], chunk: int) -> list[Fetched]:
    """A backlog in chunks of this many records, one partition of each topic."""
    now_ms = int(time.time() * 1000)
    return [
        Fetched(
            topic,
            [
                Message(topic, 0, start + at, value=value, timestamp=(1, now_ms))
                for at, value in enumerate(of_topic[start : start + chunk])
            ],
        )
        for topic, of_topic in of_topics.items()
        for start in range(0, len(of_topic), chunk)
    ]


def fetched(count: int, shape: str = SETUP.shape) -> list[Fetched]:
    """A mixed backlog in chunks as large as the bare parts' own."""
    return chunked(values(count, shape), _CHUNK)


class Unsteered:
    """The consumer's side of a pipeline, where pause, resume and credit have no effect."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        return

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        return

    def grant_credit(self, most: int | None) -> None:
        return


class _Neighbours(Unsteered):
    """Stands in for Kafka and the endpoint, at no cost."""

    def __init__(self) -> None:
        self.delivered = 0
        self.committed: Callable[[Sequence[CommitResult]], None] = lambda results: None

    async def post(self, batch: Batch) -> Answer:
        return self.take(batch.body())

    def take(self, body: bytes) -> Answer:
        self.delivered += body.count(b'"user_data":')
        return Answer(200)

    def commit(self, commits: Sequence[Commit]) -> None:
        self.committed([CommitResult(commit, None) for commit in commits])

    async def write(self, dead_letter: DeadLetter) -> None:
        raise AssertionError(f"no event of this backlog is a dead letter: {dead_letter!r}")


def _pipeline(neighbours: _Neighbours, setup: SetUp) -> Pipeline:
    settings = loaded(setup)
    sources = {
        source.topic: source_of(settings, at, setup.shape, SchemaKey("id", _IDS[EventName(str(source.event))]))
        for at, source in enumerate(settings.sources)
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


async def whole(chunks: Sequence[Fetched], setup: SetUp = SETUP) -> float:
    """Seconds of processor time from records to commits."""
    neighbours = _Neighbours()
    pipeline = _pipeline(neighbours, setup)
    neighbours.committed = pipeline.committed
    running = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0)
    pipeline.assigned([Committed(topic, 0, 1, 0, was_committed=False) for topic in sorted(_TOPICS.values())], {})
    begun, taken = time.process_time(), 0
    for chunk in chunks:
        pipeline.fetched([chunk.records()])
        await asyncio.sleep(0)
        before, taken = taken, taken + len(chunk.messages)
        if before // _IN_HAND < taken // _IN_HAND:
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
    mapped = {
        source.topic: mapping_of(settings, at, SETUP.shape, 1 << 45) for at, source in enumerate(settings.sources)
    }
    begun = time.process_time()
    for chunk in chunks:
        events = mapped[chunk.topic]([record.value()[5:] for record in chunk.messages])  # type: ignore[index]
        for start in range(0, len(events), _BATCH):
            batch: list[bytes] = events[start : start + _BATCH]  # type: ignore[assignment]  # each can be delivered
            neighbours.take(b'{"events":[' + b",".join(batch) + b"]}")
    return time.process_time() - begun


def compared(events: int, repeats: int) -> Cost:
    """The minimum of some alternating runs of each: disturbances can only make a run longer."""
    chunks = fetched(events)
    runs = [(asyncio.run(whole(chunks)), asyncio.run(bare(chunks))) for _ in range(repeats)]
    return Cost(*(1e6 * min(times) / events for times in zip(*runs, strict=True)))


if __name__ == "__main__":
    cost = compared(50_000, 5)
    print(f"whole {cost.whole:.2f} µs, bare {cost.bare:.2f} µs an event: {cost.ratio:.0%}")
