"""Records that no correct producer writes, produced to a scene's topics and added to its ledger."""

from __future__ import annotations

import io
import json
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import Schema

from stream_capi.model import Code, EventName
from stream_capi.sandbox.samples import Samples
from tests.scene import Scene
from tests.stack import Produced

LEAD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "schemas" / "lead.avsc").read_text())


class Made(NamedTuple):
    """A record to produce. ``code`` is the one that it must be dead-lettered with, None if it can be delivered."""

    value: bytes | None
    code: Code | None = None
    event_id: str = ""
    key: bytes | None = None
    partition: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()


class Maker:
    """Makes leads for one scene, each for a different person."""

    def __init__(self, scene: Scene, seed: int = 1000) -> None:
        self._scene = scene
        self._samples = Samples(seed, bad_share=0)
        self._ids: dict[str, int] = {}

    def event(self, **changes: Any) -> dict[str, Any]:
        """The fields of a valid lead, with these changes."""
        return self._samples.event(EventName.GENERATE_LEAD, int(time.time() * 1000)) | changes

    def lead(self, code: Code | None = None, partition: int = -1, schema: Any = LEAD, **changes: Any) -> Made:
        """A lead, written with ``schema``."""
        event = self.event(**changes)
        event_id = str(event["event_id"])
        return Made(self.framed(schema, encoded(schema, event)), code, event_id, event_id.encode(), partition)

    def framed(self, schema: Any, payload: bytes, kind: str = "AVRO") -> bytes:
        """The payload after the schema's id. The schema is registered if it has no id yet."""
        return struct.pack(">bI", 0, self.id_of(schema, kind)) + payload

    def id_of(self, schema: Any, kind: str = "AVRO") -> int:
        """The registry's id of a schema. Each schema gets its own subject, so that none must be compatible with another."""
        text = json.dumps(schema)
        if text not in self._ids:
            with self._scene.registry.client() as client:
                subject = f"{self._scene.leads}-{len(self._ids)}"
                self._ids[text] = client.register_schema(subject, Schema(text, kind))
        return self._ids[text]

    def put(self, made: Iterable[Made], topic: str = "") -> list[Produced]:
        """Produce the records (to the leads, if no topic is given) and add them, except tombstones, to the ledger."""
        produced = produce(self._scene.broker.bootstrap, topic or self._scene.leads, made)
        self._scene.ledger.add(produced)
        return produced


def poison_in_the_first(maker: Maker) -> None:
    """Produce leads: to partition 0 one that can't be delivered, among good ones, and only good ones to partition 1."""
    maker.put([maker.lead(partition=0), maker.lead(Code.MISSING_FIELD, partition=0, client_user_agent="")])
    maker.put(maker.lead(partition=number % 2) for number in range(100))


def produce(bootstrap: str, topic: str, made: Iterable[Made]) -> list[Produced]:
    """Produce the records. Returns those with a value, once the broker has acknowledged all."""
    return written(
        Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}), topic, made
    )


def written(producer: Producer, topic: str, made: Iterable[Made]) -> list[Produced]:
    """The same with an existing producer, and within its transaction if it has begun one."""
    produced: list[Produced] = []
    for record in made:
        producer.produce(
            topic,
            record.value,
            record.key,
            partition=record.partition,
            headers=list(record.headers),
            on_delivery=_noting(produced, record),
        )
        producer.poll(0)
    if left := producer.flush(60):
        raise AssertionError(f"{left} records not acknowledged within 60 s")
    return produced


def _noting(produced: list[Produced], record: Made) -> Callable[[KafkaError | None, Message], None]:
    def acknowledged(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        if record.value is not None:
            offset = message.offset()
            assert offset is not None, "the broker does not say where the record is"
            place = (message.topic() or "", message.partition() or 0, offset)
            produced.append(Produced(*place, record.event_id, EventName.GENERATE_LEAD, record.code))

    return acknowledged


def encoded(schema: Any, event: Mapping[str, Any]) -> bytes:
    """A record's Avro payload, without framing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event)
    return out.getvalue()


def place_of(schema: Mapping[str, Any], event: Mapping[str, Any], field: str) -> int:
    """The position in the payload, in bytes, at which a field begins."""
    fields = schema["fields"]
    before = fields[: [each["name"] for each in fields].index(field)]
    return len(encoded({**schema, "fields": before}, event))
