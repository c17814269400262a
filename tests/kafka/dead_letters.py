"""Helpers for tests of dead letters: made-up failed records, and reading dead letters back from the topic."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.model import Code, DeadLetter
from tests.fake_record import FakeRecord
from tests.stack.waiting import until


def dead_letter(offset: int = 42, **record: Any) -> DeadLetter:
    record.setdefault("key", b"key")
    return DeadLetter(FakeRecord(place=("leads", 3, offset), **record), Code.REFUSED, "the API answered 400", 7)


def read_back(bootstrap: str, topic: str, count: int, partitions: int = 1) -> list[Message]:
    """Read the first ``count`` records of a topic, and wait a little for one more, which must not come."""
    config = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0}
    with closing(Consumer(config)) as consumer:
        consumer.assign([ClientPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        found: list[Message] = []

        def more() -> bool:
            found.extend(message for message in consumer.consume(500, 0.1) if message.error() is None)
            return len(found) >= count

        until(more, 30, f"{count} records of {topic}")
        found.extend(message for message in consumer.consume(500, 0.3) if message.error() is None)
    return found


def headers_of(message: Message) -> dict[str, bytes]:
    pairs: Any = message.headers()
    headers = dict(pairs)
    assert len(headers) == len(pairs), "no header is there twice"
    return headers
