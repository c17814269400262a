"""Records that no sound producer writes, put into a scene's topics and entered in its books."""

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
    """A record to be produced. ``code``: what it must be dead-lettered with, None where it can be delivered."""

    value: bytes | None
    code: Code | None = None
    event_id: str = ""
    key: bytes | None = None
    partition: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()


class Maker:
    """Makes leads for one scene; each is another person's."""

    def __init__(self, scene: Scene, seed: int = 1000) -> None:
        self._scene = scene
        self._samples = Samples(seed, bad_share=0)
        self._ids: dict[str, int] = {}

    def event(self, **changes: Any) -> dict[str, Any]:
        """A good lead's fields, with some of them changed."""
        return self._samples.event(EventName.GENERATE_LEAD, int(time.time() * 1000)) | changes

    def lead(self, code: Code | None = None, partition: int = -1, schema: Any = LEAD, **changes: Any) -> Made:
        """A lead, written with ``schema``."""
        event = self.event(**changes)
        event_id = str(event["event_id"])
        return Made(self.framed(schema, encoded(schema, event)), code, event_id, event_id.encode(), partition)

    def framed(self, schema: Any, payload: bytes, kind: str = "AVRO") -> bytes:
        """The payload behind the schema's id, which the registry gives it here if it has none yet."""
        return struct.pack(">bI", 0, self.id_of(schema, kind)) + payload

    def id_of(self, schema: Any, kind: str = "AVRO") -> int:
        """The id under which the registry has a schema. Each is a subject of its own: no two need be compatible."""
        text = json.dumps(schema)
        if text not in self._ids:
            with self._scene.registry.client() as client:
                subject = f"{self._scene.leads}-{len(self._ids)}"
                self._ids[text] = client.register_schema(subject, Schema(text, kind))
        return self._ids[text]

    def put(self, made: Iterable[Made], topic: str = "") -> list[Produced]:
        """Produce the records (to the leads, where no topic is given) and enter them, except tombstones, in the books."""
        produced = produce(self._scene.broker.bootstrap, topic or self._scene.leads, made)
        self._scene.ledger.add(produced)
        return produced


def poison_in_the_first(maker: Maker) -> None:
    """In partition 0 of the leads an event that can't be delivered, between good ones; the other partitions are sound."""
    maker.put([maker.lead(partition=0), maker.lead(Code.MISSING_FIELD, partition=0, client_user_agent="")])
    maker.put(maker.lead(partition=number % 2) for number in range(100))


def produce(bootstrap: str, topic: str, made: Iterable[Made]) -> list[Produced]:
    """Produce the records; returns those that have a value when the broker has acknowledged all of them."""
    return written(
        Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}), topic, made
    )


def written(producer: Producer, topic: str, made: Iterable[Made]) -> list[Produced]:
    """The same by a producer that is there already, in its transaction where it has begun one."""
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
            place = (message.topic() or "", message.partition() or 0, message.offset() or 0)
            produced.append(Produced(*place, record.event_id, EventName.GENERATE_LEAD, record.code))

    return acknowledged


def encoded(schema: Any, event: Mapping[str, Any]) -> bytes:
    """A record's payload, without framing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event)
    return out.getvalue()


def place_of(schema: Mapping[str, Any], event: Mapping[str, Any], field: str) -> int:
    """At which byte of the payload a field begins."""
    fields = schema["fields"]
    before = fields[: [each["name"] for each in fields].index(field)]
    return len(encoded({**schema, "fields": before}, event))
