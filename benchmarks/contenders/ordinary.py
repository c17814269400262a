"""An ordinary hand-written consumer: one message at a time through Confluent's deserializer, ``requests``, a commit after
each batch. It does nothing while it waits for an answer, and ends if a request fails."""

from __future__ import annotations

import requests
from confluent_kafka import DeserializingConsumer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer

from benchmarks.contenders.plain import body, mapping_of
from benchmarks.contenders.setup import BATCH, SetUp, set_up

# By default the deserializer queries a subject's "associations" first: a registry that knows of none may never answer, and
# the client waits for it without end.
_SUBJECTS = {"subject.name.strategy": topic_subject_name_strategy}


def _run(setup: SetUp) -> None:
    registry = SchemaRegistryClient({"url": setup.registry})
    consumer = DeserializingConsumer(
        {
            "bootstrap.servers": setup.bootstrap,
            "group.id": setup.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "value.deserializer": AvroDeserializer(registry, conf=_SUBJECTS),
        }
    )
    consumer.subscribe(list(setup.names))
    mapped = {topic: mapping_of(setup.shape, name) for topic, name in setup.names.items()}
    batches: dict[str, list[bytes]] = {topic: [] for topic in setup.names}
    with requests.Session() as session:

        def send(topic: str) -> None:
            session.post(setup.target, data=body(batches[topic]), headers=setup.headers, timeout=10).raise_for_status()
            batches[topic].clear()
            consumer.commit(asynchronous=False)

        while True:
            message = consumer.poll(1.0)
            if message is None:
                for topic, batch in batches.items():
                    if batch:
                        send(topic)
                continue
            if message.error():
                raise SystemExit(str(message.error()))
            topic = str(message.topic())
            batches[topic].append(mapped[topic](message.value()))  # type: ignore[arg-type]
            if len(batches[topic]) == BATCH:
                send(topic)


if __name__ == "__main__":
    _run(set_up())
