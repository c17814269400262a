"""The events of these runs: the smallest page views that are valid, each with its pixel's name, produced at full speed."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import KafkaException, Producer
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from benchmarks.stack import ROOT, Stack
from tests.stack.asking import Kafka
from tests.stack.waiting import until

_SCHEMA = ROOT / "schemas" / "page_view.avsc"
_RUN = 2_000  # records that are handed to the client in one call
_QUEUED = 400_000
_SECONDS = 180.0
_ID, _PIXEL = "9" * 12, "pixel-00"


def pixel_name(number: int) -> str:
    """The name of a pixel; all names have the same length."""
    return f"pixel-{number:02d}"


class Events:
    """Records of one registered schema, built from a record that was encoded once."""

    def __init__(self, registry: str) -> None:
        text = _SCHEMA.read_text()
        self.schema_id = SchemaRegistryClient({"url": registry}).register_schema("growth-value", Schema(text, "AVRO"))
        schema: Any = fastavro.parse_schema(json.loads(text))
        out = io.BytesIO()
        event = {
            "event_id": _ID,
            "event_time": int(time.time() * 1000),
            "event_source_url": "https://www.example.com/",
            "user_id": _PIXEL,
            "client_ip_address": "93.184.216.34",
            "client_user_agent": "Mozilla/5.0",
            "esi": "web",
        }
        fastavro.schemaless_writer(out, schema, event)
        before, rest = (b"\x00" + self.schema_id.to_bytes(4, "big") + out.getvalue()).split(_ID.encode())
        between, after = rest.split(_PIXEL.encode())
        self._parts = before, between, after

    def run(self, first: int, count: int, pixels: int) -> list[dict[str, bytes]]:
        """Records from number ``first`` on, in the form that ``produce_batch`` takes."""
        before, between, after = self._parts
        names = [pixel_name(number).encode() for number in range(pixels)]
        return [
            {"value": b"%b%012d%b%b%b" % (before, number, between, names[number % pixels], after)}
            for number in range(first, first + count)
        ]


def make(broker: Kafka, topic: str, partitions: int) -> None:
    """Create a topic and wait until each partition has a leader that serves it, which takes a while for a thousand."""
    broker.admin.create_topics([NewTopic(topic, partitions)], request_timeout=_SECONDS)[topic].result(_SECONDS)

    def led() -> bool:
        try:
            return len(broker.end_offsets(topic)) == partitions
        except KafkaException:
            return False

    until(led, _SECONDS, f"leaders of {topic}")


def produce(
    broker: Kafka, events: Events, topics: Mapping[str, int], count: int, pixels: int = 1, run: int = _RUN
) -> None:
    """Spread ``count`` records evenly over the partitions of all topics, and check that the broker has them.

    :param run: how many records a partition gets in a row.
    """
    places = [(topic, partition) for topic, partitions in topics.items() for partition in range(partitions)]
    before = _held(broker, topics)
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "acks": "all",
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2 * _QUEUED,
            "delivery.report.only.error": True,
            "log_level": 0,
        }
    )
    share, more = divmod(count, len(places))
    left = {place: share + (at < more) for at, place in enumerate(places)}
    number = 0
    while left:
        for (topic, partition), of_place in list(left.items()):
            records = events.run(number, min(of_place, run), pixels)
            assert producer.produce_batch(topic, records, partition=partition) == len(records), "the queue is full"
            number += len(records)
            left[topic, partition] -= len(records)
            if len(producer) > _QUEUED:
                producer.flush(_SECONDS)
        left = {place: of_place for place, of_place in left.items() if of_place}
    assert not producer.flush(_SECONDS), "the broker didn't acknowledge in time"
    assert _held(broker, topics) - before == count, "the broker refused a record"


def _held(broker: Kafka, topics: Mapping[str, int]) -> int:
    return sum(sum(broker.end_offsets(topic).values()) for topic in topics)


class Lag(NamedTuple):
    """A topic with this many records, produced once and kept with the broker's data."""

    topic: str
    records: int


def kept(stack: Stack, events: Events, records: int, partitions: int, manifest: Path) -> Lag:
    """The backlog of this many records: left by an earlier run, or produced now."""
    lag = Lag(f"growth-lag-{records}x{partitions}", records)
    wanted = {**lag._asdict(), "schema_id": events.schema_id}
    found: list[dict[str, object]] = json.loads(manifest.read_text()) if manifest.exists() else []
    there = lag.topic in stack.broker.metadata().topics
    if not (wanted in found and there and _held(stack.broker, {lag.topic: partitions}) == records):
        if there:
            stack.broker.delete_topic(lag.topic)
        make(stack.broker, lag.topic, partitions)
        produce(stack.broker, events, {lag.topic: partitions}, records)
        manifest.write_text(json.dumps([*(one for one in found if one["topic"] != lag.topic), wanted]))
    return lag
