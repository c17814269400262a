"""Records in a real topic, written with schemas of a real registry, as a customer's producer writes them."""

from __future__ import annotations

import asyncio
import io
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import tomli_w
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import Schema, SchemaReference

from stream_capi import config
from stream_capi.avro.framing import Run
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.config import Settings
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import compile_source
from stream_capi.kafka.scan import latest_records
from stream_capi.model import Record, Transformed
from stream_capi.pipeline.source import TopicSource
from tests.events.line import mapped_run
from tests.stack import Broker, Registry

Header = tuple[str, bytes]


def register(registry: Registry, subject: str, schema: Any, references: Sequence[tuple[str, str, int]] = ()) -> int:
    """Register a schema, with references (name, subject, version); returns its id."""
    named = [SchemaReference(*reference) for reference in references]
    with registry.client() as client:
        return client.register_schema(subject, Schema(json.dumps(schema), "AVRO", named))


class ApicurioIds(NamedTuple):
    """The ids that Apicurio gives a version of an artifact: its content's, and the version's own."""

    content: int
    of_version: int

    def wire(self, kind: str) -> bytes:
        return (self.content if kind == "content" else self.of_version).to_bytes(8, "big")


def apicurio_ids(registry: Registry, subject: str) -> ApicurioIds:
    """The ids of the first version of a subject, by Apicurio's own API."""
    own = registry.url.replace("ccompat/v7", f"registry/v3/groups/default/artifacts/{subject}/versions/1")
    with urllib.request.urlopen(own, timeout=10) as answer:  # noqa: S310 -- our own http URL
        said = json.load(answer)
    return ApicurioIds(said["contentId"], said["globalId"])


def encoded(schema: Any, record: Mapping[str, Any], named: Sequence[Any] = ()) -> bytes:
    """The record as Avro, without framing; ``named`` are the schemas that its schema refers to."""
    known: dict[str, Any] = {}
    for other in named:
        fastavro.parse_schema(other, named_schemas=known)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas=known), record)
    return out.getvalue()


def confluent(schema_id: int, payload: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + payload


def produce(
    broker: Broker, topic: str, values: Sequence[bytes | None], headers: Sequence[Header] = (), partition: int = 0
) -> None:
    """Produce values to one partition in order, and wait until the broker has acknowledged them."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0})
    failed: list[str] = []

    def told(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    for value in values:
        producer.produce(topic, value, partition=partition, headers=list(headers), on_delivery=told)
    assert producer.flush(60) == 0
    assert not failed


def settings_of(folder: Path, tables: Mapping[str, Any]) -> Settings:
    """Write a configuration file with these tables, and load it."""
    file = folder / "stream-capi.toml"
    file.write_text(tomli_w.dumps(tables))
    return config.load(file, {}, keys=False)


def newest(settings: Settings, count: int) -> list[Record]:
    """The newest records of the first source's topic, without tombstones."""
    records: list[Record] = [*latest_records(settings.kafka, settings.sources[0].topic, count)]
    return [record for record in records if record.value() is not None]


class Member:
    """Maps records of the first source as a member does, with one source object for the life of the process."""

    def __init__(self, settings: Settings) -> None:
        stated, self._schemas = settings.sources[0], SchemaSources(settings)
        rules = rules_from(stated, settings)
        self._source = TopicSource(
            stated.topic,
            stated.wire_format,
            self._schemas.for_source(stated),
            lambda schema: compile_source(rules, schema.raw, schema.name),
            rules.lane,
            rules.pixel,
            1.0,
        )

    async def map(self, records: Sequence[Record]) -> list[Transformed]:
        """The outcomes of the records, in order."""
        made: list[Transformed] = []
        for framed in self._source.frame(records, [record.value() or b"" for record in records]):
            if not isinstance(framed, Run):
                made.append(framed.rejection)
                continue
            codec = self._source.codec(framed.key) or await self._source.load(framed.key)
            offsets = [int(record.offset() or 0) for record in records[framed.start :][: len(framed.payloads)]]
            made += mapped_run(self._source, codec, framed.payloads, 0, offsets, int(time.time() * 1000))
        return made

    async def aclose(self) -> None:
        await self._schemas.aclose()


async def map_newest(settings: Settings, count: int) -> list[Transformed]:
    """The outcomes of the newest records."""
    member = Member(settings)
    try:
        return await member.map(await asyncio.to_thread(newest, settings, count))
    finally:
        await member.aclose()
