"""Backlogs of mixed events, produced once and kept: a million of the shipped contract, fewer of the other shapes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from benchmarks.contenders.shapes import SHAPES, SHIPPED
from benchmarks.stack import Stack
from benchmarks.templates import Templates, names_of, varint_of
from stream_capi.model import EventName

PARTITIONS = 4
BATCH = 100
_VERSION = 3  # of the records' content; a backlog with another version is produced again
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Two topics with ``events`` events in all, and ``partitions`` partitions each."""

    leads: str
    views: str
    events: int
    partitions: int = PARTITIONS
    shape: str = SHIPPED.name

    @property
    def topics(self) -> dict[EventName, str]:
        """The topic of each event's name."""
        return {EventName.GENERATE_LEAD: self.leads, EventName.PAGE_VIEW: self.views}


Ids = Mapping[str, Mapping[EventName, int]]  # by the shape's name


def schema_ids(url: str) -> Ids:
    """Register all schemas, always in the same order: an empty registry then gives the same ids each time."""
    client = SchemaRegistryClient({"url": url})
    return {
        shape.name: {
            name: client.register_schema(
                f"{shape.name}-{name.value}-value", Schema(shape.schemas[name].read_text(), "AVRO")
            )
            for name in EventName
        }
        for shape in SHAPES.values()
    }


class Writer:
    """Produces records of both names and checks that all are acknowledged."""

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
        """Produce events that have this time, spread over the partitions."""
        for name in names:
            number = self._number
            self._number += 1
            value = self._templates.value(name, number, at)
            while True:
                try:
                    # Hundreds in a row go to one partition, as with a producer whose partitioner sticks to one for a batch.
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
    """Create the topics and produce all of a backlog's events."""
    for topic in backlog.topics.values():
        stack.broker.create_topic(topic, backlog.partitions)
    writer = Writer(stack, templates, backlog)
    writer.produce(names_of(backlog.events), varint_of(int(time.time() * 1000)))
    writer.flush()
    return backlog


class Backlogs:
    """The backlogs of a stack: left by an earlier run, or produced now."""

    def __init__(self, stack: Stack, manifest: Path) -> None:
        self._stack = stack
        self._manifest = manifest
        self._ids = schema_ids(stack.registry.url)
        self._templates: dict[str, Templates] = {}

    def templates(self, shape: str) -> Templates:
        """The records of a shape."""
        if shape not in self._templates:
            self._templates[shape] = Templates(SHAPES[shape], self._ids[shape], seed=1)
        return self._templates[shape]

    def of(self, events: int, partitions: int = PARTITIONS, shape: str = SHIPPED.name) -> Backlog:
        """The backlog of this size, partition count and shape."""
        of = f"{shape}-{events}x{partitions}"
        backlog = Backlog(f"leads-{of}", f"page-views-{of}", events, partitions, shape)
        ids = {name.value: number for name, number in self._ids[shape].items()}
        wanted = {"version": _VERSION, "ids": ids, **asdict(backlog)}
        found = json.loads(self._manifest.read_text()) if self._manifest.exists() else []
        broker = self._stack.broker
        there = broker.admin.list_topics(timeout=15).topics
        whole = wanted in found and all(
            topic in there and sum(broker.end_offsets(topic).values()) == count
            for topic, count in _counts(backlog).items()
        )
        if not whole:
            for topic in backlog.topics.values():
                if topic in there:
                    broker.delete_topic(topic)
            fill(self._stack, self.templates(shape), backlog)
            self._manifest.write_text(json.dumps([*(one for one in found if one["leads"] != backlog.leads), wanted]))
        return backlog


def _counts(backlog: Backlog) -> dict[str, int]:
    leads = sum(name is EventName.GENERATE_LEAD for name in names_of(backlog.events))
    return {backlog.leads: leads, backlog.views: backlog.events - leads}
