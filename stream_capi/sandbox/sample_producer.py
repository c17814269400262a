"""Produces sample events into Kafka: into each source's topic, in the source's framing.

Samples are events of the shipped contract (``samples``), so a source with a mapping of its own is refused.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stream_capi import resources
from stream_capi.avro.registry_client import made
from stream_capi.avro.schemas import FolderSchemas
from stream_capi.config import Settings, SourceSection
from stream_capi.errors import ConfigurationError, KafkaLost, RegistryUnavailable
from stream_capi.kafka.client_errors import error_of
from stream_capi.kafka.client_errors import made as make_client
from stream_capi.kafka.properties import producer_properties
from stream_capi.model import EventName
from stream_capi.sandbox.samples import Samples

Encode = Callable[[dict[str, Any]], bytes]
_SECONDS = 30.0  # within which the broker must acknowledge


class SampleTopic(NamedTuple):
    """A topic that takes samples of one event, and the encoding of its records."""

    topic: str
    event: EventName
    encode: Encode


def sample_topics(settings: Settings) -> list[SampleTopic]:
    """The topics of all sources that read the shipped contract.

    Raises ConfigurationError for a source that doesn't, RegistryUnavailable if the registry can't be reached.
    """
    faults, topics = [], []
    for at, source in enumerate(settings.sources):
        if source.event is None or source.fields or source.where or source.consent_field or source.record:
            faults.append(
                f"sources[{at}]: {source.topic} has a mapping of its own; samples are events of the shipped contract "
                "(schemas/lead.avsc, schemas/page_view.avsc)"
            )
            continue
        if source.framing == "apicurio":
            faults.append(f"sources[{at}]: {source.topic} has Apicurio's framing, in which no samples can be written")
            continue
        event = EventName(source.event)
        topics.append(SampleTopic(source.topic, event, _encoder(source, event, settings)))
    if faults:
        raise ConfigurationError(faults)
    return topics


def _encoder(source: SourceSection, event: EventName, settings: Settings) -> Encode:
    text = resources.read_shipped(resources.EVENT_SCHEMAS[event])
    if source.framing == "raw":
        return _framed(b"", text)
    if source.schema_file is not None and source.has_folder:
        return _framed(_prefix(source.schema_file, source.framing, text), text)
    assert settings.schema_registry is not None  # noqa: S101 -- the settings have a registry where no folder is given
    return _registered(source.topic, text, settings.schema_registry.url, settings.schema_registry.properties)


def _registered(topic: str, text: str, url: str, properties: Mapping[str, Any]) -> Encode:
    """Encode as a customer's producer does: with Confluent's own serializer, which registers the schema."""
    serialize = AvroSerializer(
        made(SchemaRegistryClient, url, properties, 5),
        text,
        conf={"subject.name.strategy": topic_subject_name_strategy},  # the default asks the registry twice for nothing
    )
    context = SerializationContext(topic, MessageField.VALUE)

    def encode(event: dict[str, Any]) -> bytes:
        try:
            return bytes(serialize(event, context) or b"")
        except Exception as error:  # the client passes on its HTTP library's exceptions, some with the URL
            raise RegistryUnavailable(
                f"schema_registry: the schema of {topic} can't be registered ({type(error).__name__}); "
                "check schema_registry.url and that the registry runs"
            ) from None

    return encode


def _prefix(folder: str, framing: str, text: str) -> bytes:
    schemas = FolderSchemas(folder)
    wanted = fastavro.schema.to_parsing_canonical_form(json.loads(text))
    fingerprint = str(fastavro.schema.fingerprint(wanted, "CRC-64-AVRO"))
    if framing == "single_object":
        return b"\xc3\x01" + bytes.fromhex(fingerprint)
    for number in schemas.ids_of(fingerprint):
        return b"\x00" + number.to_bytes(4, "big")
    raise ConfigurationError(
        [f"{folder}: no file <id>.avsc in it holds the shipped schema, so samples have no schema id"]
    )


def _framed(prefix: bytes, text: str) -> Encode:
    schema = fastavro.parse_schema(json.loads(text))

    def encode(event: dict[str, Any]) -> bytes:
        out = io.BytesIO(prefix)
        out.seek(len(prefix))
        fastavro.schemaless_writer(out, schema, event)
        return out.getvalue()

    return encode


class SampleProducer:
    """Produces samples and counts what the broker acknowledged, by topic."""

    def __init__(self, settings: Settings, topics: list[SampleTopic], seed: int = 1, bad_share: float = 0.01) -> None:
        self.acknowledged: Counter[str] = Counter()
        self._topics = topics
        self._samples = Samples(seed, bad_share)
        self._producer = make_client(Producer, producer_properties(settings.kafka))
        self._failure: KafkaError | None = None

    def produce(self, count: int) -> Iterator[int]:
        """Produce ``count`` events, mixed by the share of each name; yields the number so far after each one.

        Raises KafkaLost if the broker refuses one.
        """
        topics = {topic.event: [t for t in self._topics if t.event is topic.event] for topic in self._topics}
        share = 0.3 if len(topics) > 1 else float(EventName.GENERATE_LEAD in topics)
        for at, (name, event) in enumerate(self._samples.stream(count, int(time.time() * 1000), share)):
            of_name = topics[name]
            topic = of_name[at % len(of_name)]
            self._hand_over(topic, event)
            yield at + 1

    def _hand_over(self, topic: SampleTopic, event: dict[str, Any]) -> None:
        value = topic.encode(event)
        while True:
            try:
                self._producer.produce(topic.topic, value, event["event_id"], on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise KafkaLost(f"kafka: a sample was not accepted: {error_of(error).str()}") from None
        self._producer.poll(0)
        self._raise_failure()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged[message.topic() or ""] += 1
        else:
            self._failure = error

    def flush(self) -> None:
        """Wait until the broker has acknowledged everything. Raises KafkaLost if it doesn't within half a minute."""
        try:
            left = self._producer.flush(_SECONDS)
        except KafkaException as error:
            raise KafkaLost(f"kafka: {error.args[0].str()}") from None
        self._raise_failure()
        if left:
            raise KafkaLost(f"kafka: {left} samples were not acknowledged within {_SECONDS:g} s; check the brokers")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise KafkaLost(f"kafka: a sample was not accepted: {self._failure.str()}")
