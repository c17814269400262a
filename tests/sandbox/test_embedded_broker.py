from __future__ import annotations

import socket
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_capi.sandbox.embedded_broker import EmbeddedBroker


def _consume(bootstrap: str, group: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    try:
        values: list[bytes | None] = []
        for _ in range(200):
            values += [message.value() for message in consumer.consume(count, 0.1) if message.error() is None]
            if len(values) >= count:
                break
        consumer.commit(offsets=[TopicPartition(topic, 0, 3, metadata="beyond")], asynchronous=False)
        found = consumer.committed([TopicPartition(topic, 0)], timeout=5)
        assert (found[0].offset, found[0].metadata) == (3, "beyond")
        return values
    finally:
        consumer.close()


@pytest.mark.slow
def test_other_clients_produce_consume_and_commit() -> None:
    topic = f"topic-{uuid4().hex}"
    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for number in range(50):
            producer.produce(topic, b"%d" % number, partition=0)
        assert producer.flush(10) == 0
        assert _consume(broker.bootstrap, "group", topic, 50) == [b"%d" % number for number in range(50)]


def test_every_broker_is_told() -> None:
    with EmbeddedBroker(brokers=3) as broker:
        assert len(set(broker.bootstrap.split(","))) == 3


def test_it_ends_with_its_context() -> None:
    with EmbeddedBroker() as broker:
        host, port = broker.bootstrap.split(":")
        socket.create_connection((host, int(port)), timeout=2).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=2)
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.bootstrap
