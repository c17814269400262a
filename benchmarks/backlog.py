"""A million mixed events, produced once with the framing that a customer's serializer writes, and kept.

To encode a million events would take longer than to deliver them. So some thousands of different ones are encoded, and each
record is one of them with an id and a time of its own, put in as bytes: both lead the encoding, at a fixed width.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from benchmarks.contenders.setup import SCHEMAS
from benchmarks.stack import Stack
from stream_capi.model import EventName
from stream_capi.sandbox.samples import Samples

PARTITIONS = 4
LEAD_SHARE = 0.3
BATCH = 100
_VERSION = 2  # of what is produced; a backlog of another one is produced anew
_DIFFERENT = 4000
_ID_DIGITS = 24
_TIME_BYTES = 6  # of a varint that holds epoch milliseconds, from 2004 to 2109
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Two topics with ``events`` events in all, each of so many partitions."""

    leads: str
    views: str
    events: int
    partitions: int = PARTITIONS

    @property
    def topics(self) -> dict[EventName, str]:
        """The topic of each event's name."""
        return {EventName.GENERATE_LEAD: self.leads, EventName.PAGE_VIEW: self.views}


class Templates:
    """Framed records, each in two parts: what goes before the id and time, and what goes behind them."""

    def __init__(self, ids: Mapping[EventName, int], seed: int) -> None:
        samples = Samples(seed, bad_share=0.0)
        self._tails: dict[EventName, list[bytes]] = {}
        self._heads: dict[EventName, bytes] = {}
        for name in EventName:
            schema: Any = fastavro.parse_schema(json.loads(SCHEMAS[name].read_text()))
            self._heads[name] = b"\x00" + ids[name].to_bytes(4, "big") + bytes([_ID_DIGITS * 2])
            self._tails[name] = [_tail(schema, samples, name) for _ in range(_DIFFERENT)]

    def value(self, name: EventName, number: int, at: bytes) -> bytes:
        """Record ``number``, at a time that ``varint_of`` gave."""
        return b"%b%024d%b%b" % (self._heads[name], number, at, self._tails[name][number % _DIFFERENT])


def varint_of(epoch_ms: int) -> bytes:
    """A time as Avro's long."""
    number, out = epoch_ms << 1, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    assert len(out) == _TIME_BYTES
    return bytes(out)


def _tail(schema: Any, samples: Samples, name: EventName) -> bytes:
    event = samples.event(name, int(time.time() * 1000))
    event["event_id"] = ""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, event)
    return out.getvalue()[1 + _TIME_BYTES :]


def schema_ids(url: str) -> dict[EventName, int]:
    """Register both schemas, always in the same order: an empty registry then gives the same ids each time."""
    client = SchemaRegistryClient({"url": url})
    return {
        name: client.register_schema(f"{name.value}-value", Schema(SCHEMAS[name].read_text(), "AVRO"))
        for name in EventName
    }


def names_of(count: int) -> Iterator[EventName]:
    """The names of ``count`` events, of which the share of leads is exact in each ten."""
    for number in range(count):
        yield EventName.GENERATE_LEAD if number % 10 < LEAD_SHARE * 10 else EventName.PAGE_VIEW


class Writer:
    """Produces records of both names and sees that each one is acknowledged."""

    def __init__(self, stack: Stack, templates: Templates, backlog: Backlog, linger_ms: int = 20) -> None:
        self._templates = templates
        self._topics = backlog.topics
        self._partitions = backlog.partitions
        self._failed: KafkaError | None = None
        self._number = 0
        self._producer = Producer(
            {
                "bootstrap.servers": stack.broker.bootstrap,
                "acks": "all",
                "linger.ms": linger_ms,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
                "on_delivery": self._delivered,
                "delivery.report.only.error": True,
                "log_level": 0,
            }
        )

    def produce(self, names: Iterator[EventName], at: bytes) -> None:
        """Hand over events of one time, spread over the partitions."""
        for name in names:
            number = self._number
            self._number += 1
            value = self._templates.value(name, number, at)
            while True:
                try:
                    # A partition takes runs of hundreds, as a producer that sticks to one for a batch fills them.
                    self._producer.produce(self._topics[name], value, partition=number // 500 % self._partitions)
                    break
                except BufferError:
                    self._producer.poll(0.05)

    def flush(self) -> None:
        """Wait until all is acknowledged."""
        assert not self._producer.flush(_SECONDS), "the broker didn't acknowledge in time"
        assert self._failed is None, f"the broker refused a record: {self._failed}"

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failed = error or self._failed


def fill(stack: Stack, templates: Templates, backlog: Backlog) -> Backlog:
    """Make the topics and produce all of a backlog's events."""
    for topic in backlog.topics.values():
        stack.broker.create_topic(topic, backlog.partitions)
    writer = Writer(stack, templates, backlog)
    writer.produce(names_of(backlog.events), varint_of(int(time.time() * 1000)))
    writer.flush()
    return backlog


def kept(
    stack: Stack,
    templates: Templates,
    ids: Mapping[EventName, int],
    events: int,
    manifest: Path,
    partitions: int = PARTITIONS,
) -> Backlog:
    """The backlog of so many events, as an earlier run left it, or produced now."""
    of = f"{events}x{partitions}"
    backlog = Backlog(f"leads-{of}", f"page-views-{of}", events, partitions)
    wanted = {"version": _VERSION, "ids": {name.value: number for name, number in ids.items()}, **asdict(backlog)}
    found = json.loads(manifest.read_text()) if manifest.exists() else []
    there = stack.broker.admin.list_topics(timeout=15).topics
    whole = wanted in found and all(
        topic in there and sum(stack.broker.end_offsets(topic).values()) == count
        for topic, count in _counts(backlog).items()
    )
    if not whole:
        for topic in backlog.topics.values():
            if topic in there:
                stack.broker.delete_topic(topic)
        fill(stack, templates, backlog)
        manifest.write_text(json.dumps([*(one for one in found if one["leads"] != backlog.leads), wanted]))
    return backlog


def _counts(backlog: Backlog) -> dict[str, int]:
    leads = sum(name is EventName.GENERATE_LEAD for name in names_of(backlog.events))
    return {backlog.leads: leads, backlog.views: backlog.events - leads}
