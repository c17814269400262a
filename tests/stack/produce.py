"""Produce events by the shipped schemas, as a customer does: with Confluent's serializer, registry and client."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stream_capi.model import Code, EventName
from stream_capi.sandbox.samples import Samples
from tests.stack.asking import Kafka
from tests.stack.registry import SUBJECTS, Registry

_SCHEMAS = Path(__file__).parents[2] / "schemas"
_FILES = {EventName.GENERATE_LEAD: "lead.avsc", EventName.PAGE_VIEW: "page_view.avsc"}
BAD = (Code.INVALID_FIELD, Code.NO_IDENTIFIER, Code.DECODE_ERROR, Code.UNKNOWN_SCHEMA)
_NO_SUCH_SCHEMA = 2_000_000_000
_UNPLACED = -1  # the offset of an event that was acknowledged without one
_IDENTIFIERS = ("aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone")

Encode = Callable[[str, EventName, dict[str, Any], Code | None], bytes]
Key = Callable[[int, Mapping[str, Any]], bytes | None]


class Produced(NamedTuple):
    """One event's place in the log, and the code it must be dead-lettered with (None: it can be delivered)."""

    topic: str
    partition: int
    offset: int
    event_id: str
    name: EventName
    bad_code: Code | None


def by_event_id(index: int, event: Mapping[str, Any]) -> bytes:
    """A record key that spreads the events over the partitions."""
    return str(event["event_id"]).encode()


def encoder(client: SchemaRegistryClient) -> Encode:
    """Encode an event as a customer does, or spoiled, so that it must be dead-lettered with a given code."""
    serializers = {
        name: AvroSerializer(client, (_SCHEMAS / file).read_text(), conf=SUBJECTS) for name, file in _FILES.items()
    }

    def encode(topic: str, name: EventName, event: dict[str, Any], code: Code | None) -> bytes:
        _spoil_event(event, code)
        return _spoil_bytes(serializers[name](event, SerializationContext(topic, MessageField.VALUE)), code)

    return encode


def produce_events(
    broker: Kafka,
    registry: Registry,
    leads_topic: str,
    views_topic: str,
    n: int,
    seed: int,
    bad: int = 0,
    key: Key | None = by_event_id,
    from_ms: int | None = None,
    idempotent: bool = False,
) -> list[Produced]:
    """Produce ``n`` events of both names, ``bad`` of them undeliverable (each kind in turn). Returns them in their order.

    Returns when the broker has acknowledged all of them. The same seed gives the same events, apart from their times. With
    ``from_ms`` the records' timestamps are 10 ms apart, starting there; else they are the time of producing. An
    ``idempotent`` producer writes each event once despite faults of the brokers, but can start only if they have a quorum.
    """
    topics = {EventName.GENERATE_LEAD: leads_topic, EventName.PAGE_VIEW: views_topic}
    faults = dict(zip(sorted(random.Random(seed).sample(range(n), bad)), BAD * (bad // len(BAD) + 1), strict=False))
    settings = {"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}
    producer = Producer({**settings, "enable.idempotence": idempotent})
    produced: dict[int, Produced] = {}
    with registry.client() as client:
        encode = encoder(client)
        for index, (name, event) in enumerate(Samples(seed, bad_share=0).stream(n, from_ms or int(time.time() * 1000))):
            code, topic = faults.get(index), topics[name]
            value = encode(topic, name, event, code)
            acknowledged = _acknowledge(produced, index, event["event_id"], name, code)
            timestamp = 0 if from_ms is None else from_ms + 10 * index  # 0: now
            producer.produce(
                topic, value, key(index, event) if key else None, on_delivery=acknowledged, timestamp=timestamp
            )
            producer.poll(0)
    if left := producer.flush(60):
        raise AssertionError(f"{left} of {n} events not acknowledged within 60 s")
    every = [produced[index] for index in range(n)]
    return every if all(event.offset >= 0 for event in every) else _placed(broker, every)


def _placed(broker: Kafka, every: list[Produced]) -> list[Produced]:
    """Find, by their keys, the offsets of events that were acknowledged without one. Leaves out those not in the log."""
    missing = {event.event_id.encode(): event for event in every if event.offset < 0}
    found = {}
    properties = {"bootstrap.servers": broker.bootstrap, "group.id": "placing", "enable.partition.eof": True}
    with closing(Consumer({**properties, "auto.offset.reset": "earliest", "enable.auto.commit": False})) as consumer:
        left = {(event.topic, event.partition) for event in missing.values()}
        consumer.assign([TopicPartition(*place, 0) for place in left])
        while left:
            if (message := consumer.poll(10)) is None:
                raise AssertionError(f"the ends of {left} are not reached")
            if message.error():
                left.discard((message.topic() or "", message.partition() or 0))
            elif event := missing.get(message.key() or b""):
                found[event.event_id] = event._replace(offset=message.offset() or 0)
    return [found.get(event.event_id, event) for event in every if event.offset >= 0 or event.event_id in found]


def _acknowledge(
    produced: dict[int, Produced], index: int, event_id: str, name: EventName, code: Code | None
) -> Callable[[KafkaError | None, Message], None]:
    def acknowledged(error: KafkaError | None, message: Message) -> None:
        if error is None:
            offset = message.offset()
            place = (message.topic() or "", message.partition() or 0, _UNPLACED if offset is None else offset)
            produced[index] = Produced(*place, event_id, name, code)

    return acknowledged


def _spoil_event(event: dict[str, Any], code: Code | None) -> None:
    if code is Code.INVALID_FIELD:
        event["event_source_url"] = "/no-host"
    elif code is Code.NO_IDENTIFIER:
        event.update(dict.fromkeys(_IDENTIFIERS), event_source_url="https://www.example.com/")


def _spoil_bytes(value: bytes, code: Code | None) -> bytes:
    if code is Code.DECODE_ERROR:
        return value[: len(value) // 2]
    if code is Code.UNKNOWN_SCHEMA:
        return struct.pack(">bI", 0, _NO_SUCH_SCHEMA) + value[5:]
    return value
