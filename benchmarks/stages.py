"""The cost of each stage by itself, in microseconds of processor time for an event.

Each is timed alone, on the same events. Their sum is less than the whole program's cost, which also waits, wakes and switches
threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks import inside
from benchmarks.backlog import BATCH, Backlog
from benchmarks.contenders.bare import loaded
from benchmarks.contenders.setup import SetUp
from benchmarks.mapping import halves_of
from benchmarks.stack import KEY, PIXEL_ID, Stack
from stream_capi.avro.framing import frame
from stream_capi.endpoint.client import EndpointClient
from stream_capi.kafka.properties import consumer_properties
from stream_capi.model import Records

_CHUNK = 500
_CONSUMED = 200_000
_COMMITS = 200
_COMMIT_SECONDS = 0.5  # between two commits, by the default


def measured(stack: Stack, backlog: Backlog, setup: SetUp, per_second: float) -> dict[str, float]:
    """The stages in their order. ``per_second``: the events in a second, among which the cost of commits is divided."""
    chunks = [fetched.records() for fetched in inside.fetched(50_000)]
    costs = {"consume": _consume(backlog, setup)}
    costs |= _mapping(chunks)
    cost = inside.compared(50_000, 3)
    costs["track, batch, count"] = max(0.0, cost.whole - cost.bare - costs["frame"])
    costs["post"] = asyncio.run(_post(stack))
    costs["commit"] = _commit(backlog, setup) / max(1.0, per_second * _COMMIT_SECONDS)
    return costs


def _consumer(setup: SetUp) -> Consumer:
    settings = loaded(setup)
    properties = consumer_properties(settings.kafka, settings.delivery.max_buffered_bytes)
    return Consumer({**properties, "enable.auto.commit": False, "auto.offset.reset": "earliest"})


def _consume(backlog: Backlog, setup: SetUp) -> float:
    consumer = _consumer(setup)
    consumer.subscribe(list(backlog.topics.values()))
    wanted, taken, begun = min(_CONSUMED, backlog.events // 2), 0, 0.0
    first: list[Message] = []
    while not first:
        first = consumer.consume(_CHUNK, 1.0)
    begun = time.process_time()
    while taken < wanted:
        taken += len(consumer.consume(_CHUNK, 1.0))
    took = time.process_time() - begun
    consumer.close()
    return 1e6 * took / taken


def _mapping(chunks: Sequence[Records]) -> dict[str, float]:
    settings = loaded(inside.SETUP)
    costs = dict.fromkeys(("frame", "decode", "map, hash, serialise"), 0.0)
    events = sum(len(chunk.records) for chunk in chunks)
    for at, source in enumerate(settings.sources):
        halves = halves_of(settings, at, inside.SETUP.shape, 1 << 45)
        own: list[Any] = [chunk for chunk in chunks if chunk.topic == source.topic]  # none has a tombstone
        framed: list[Any] = [frame("confluent", c.records, c.values) for c in own]
        costs["frame"] += _least(lambda own=own: (frame("confluent", c.records, c.values) for c in own))  # type: ignore[misc]
        payloads = [runs[0].payloads for runs in framed]
        costs["decode"] += _least(lambda h=halves, p=payloads: map(h.decode, p))  # type: ignore[misc]
        decoded: list[Any] = [(halves.decode(of_chunk), len(of_chunk)) for of_chunk in payloads]
        costs["map, hash, serialise"] += _least(lambda h=halves, d=decoded: (h.map(*one) for one in d))  # type: ignore[misc]
    return {stage: 1e6 * seconds / events for stage, seconds in costs.items()}


def _least(work: Callable[[], Iterator[Any]]) -> float:
    """Seconds of processor time: the minimum of some runs. What a step returns is freed before the next step."""
    times = []
    for _ in range(4):
        begun = time.process_time()
        for _made in work():
            pass
        times.append(time.process_time() - begun)
    return min(times)


async def _post(stack: Stack) -> float:
    stack.endpoint.reset()
    payload = b'{"name":"page_view","user_data":{' + b"x" * 540 + b"}}"
    body = b'{"events":[' + b",".join([payload] * BATCH) + b"]}"
    client = EndpointClient(url=stack.endpoint.url)
    await client.start()
    rounds, at_once = 150, 16
    begun = time.process_time()
    for _ in range(rounds):
        await asyncio.gather(*(client.post(PIXEL_ID, KEY, body) for _ in range(at_once)))
    took = time.process_time() - begun
    await client.close()
    return 1e6 * took / (rounds * at_once * BATCH)


def _commit(backlog: Backlog, setup: SetUp) -> float:
    """Microseconds for one commit of one partition."""
    consumer = _consumer(setup._replace(group=f"{setup.group}-commits"))
    begun = time.process_time()
    for offset in range(1, _COMMITS + 1):
        consumer.commit(offsets=[TopicPartition(backlog.leads, 0, offset)], asynchronous=False)
    took = time.process_time() - begun
    consumer.close()
    return 1e6 * took / _COMMITS
