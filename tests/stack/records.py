"""Write and read plain records with the client for Python."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, Message, Producer

from tests.stack.waiting import until


def acknowledged(bootstrap: str, topic: str, seconds: float, **properties: Any) -> bool:
    """Whether a record written at ``bootstrap`` is acknowledged in time. Properties are named with _ in place of a dot."""
    errors: list[object] = []
    config = {"bootstrap.servers": bootstrap, "message.timeout.ms": int(seconds * 1000)}
    producer = Producer(config | {"log_level": 0} | {name.replace("_", "."): v for name, v in properties.items()})
    producer.produce(topic, b"one", on_delivery=lambda error, _: errors.append(error))
    producer.flush(seconds + 2)
    # By identity: comparing the client's error with ``== None`` sets an exception that the next call would raise.
    return len(errors) == 1 and errors[0] is None


def write(bootstrap: str, topic: str, values: list[bytes], partition: int = 0, acks: str = "all") -> None:
    """Write records in order, and wait until all are acknowledged."""
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": acks, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=lambda error, _: errors.append(error))
    left = producer.flush(30)
    failed = [error for error in errors if error is not None]
    assert not left, f"{left} of {len(values)} records not acknowledged within 30 s"
    assert not failed, f"{failed[0]}"


def read(bootstrap: str, topics: list[str], count: int, group: str) -> list[Message]:
    """Read the first ``count`` records of some topics, as a member of a group."""
    config = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "log_level": 0}
    with closing(Consumer(config | {"enable.auto.commit": False})) as consumer:
        consumer.subscribe(topics)
        messages: list[Message] = []
        until(lambda: len(more(consumer, messages)) >= count, 30, f"{count} messages")
        return messages


def more(consumer: Consumer, messages: list[Message]) -> list[Message]:
    """Append the messages that have arrived since, and return all."""
    messages += [message for message in consumer.consume(500, 0.1) if message.error() is None]
    return messages
