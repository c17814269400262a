"""Partitions are paused so that a query gets through on a slow connection. No broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.kafka.range_policy import RangePolicy
from stream_capi.kafka.ranges import Range
from stream_capi.kafka.read_policy import ReadPolicy, WholeLog
from stream_capi.model import TopicPartition
from tests.kafka.sink import RecordedEvents
from tests.kafka.test_parts import Client
from tests.stack.waiting import eventually

A, B = TopicPartition("leads", 0), TopicPartition("leads", 1)


class Group(Client):
    """A client that gets A and B assigned at once. It records only which partitions are being read."""

    def __init__(self) -> None:
        super().__init__()
        self.group |= {A: (5, ""), B: (5, "")}
        self.high |= {A: 50, B: 50}
        self.turns = 0
        self.reading: set[int] = set()
        self.report_error: Callable[[KafkaError], None] = lambda error: None
        self._next: Callable[[], None] | None = None

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self._revoke = on_revoke
        self._next = lambda: on_assign(self, [ClientPartition(*A), ClientPartition(*B)])

    def revoke(self, tp: TopicPartition) -> None:
        self._next = lambda: self._revoke(self, [ClientPartition(*tp)])

    def consume(self, count: int, seconds: float) -> list[Any]:
        due, self._next = self._next, None
        if due:
            due()
        time.sleep(min(seconds, 0.01))
        self.turns += 1
        return []

    def pause(self, partitions: list[ClientPartition]) -> None:
        self.reading -= {at.partition for at in partitions}

    def resume(self, partitions: list[ClientPartition]) -> None:
        self.reading |= {at.partition for at in partitions}

    def get_watermark_offsets(self, partition: ClientPartition, cached: bool) -> None:
        return None

    def unsubscribe(self) -> None:
        return

    def assignment(self) -> list[Any]:
        return []

    def memberid(self) -> str:
        return ""

    def close(self) -> None:
        return


class Nobody:
    """A sink with nothing to commit."""

    async def revoke(self, partitions: Any, seconds: float) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def started(
    monkeypatch: pytest.MonkeyPatch, client: Group, policy: ReadPolicy, events: RecordedEvents | None = None
) -> ConsumerThread:
    """Start a member and let it get its first assignment while a long answer is under way."""

    def made(properties: dict[str, Any]) -> Group:
        client.report_error = properties["error_cb"]
        return client

    monkeypatch.setattr("stream_capi.kafka.consumer.Consumer", made)
    monkeypatch.setattr("stream_capi.kafka.consumer._REASSURE_SECONDS", 0.0)
    properties = {"partition.assignment.strategy": "cooperative-sticky"}
    thread = ConsumerThread(properties, policy, lambda topics: {}, events or RecordedEvents(), 1.0)
    thread.watch.busy = True
    sink: Any = Nobody()
    thread.start(sink)
    for _ in range(1000):
        thread.grant_credit()
    return thread


async def test_what_is_in_no_range_hushes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Group()
    thread = await started(monkeypatch, client, RangePolicy({A: Range(5, 50)}))
    await eventually(lambda: client.turns > 20, 10, "twenty turns")
    assert client.reading == {0}
    assert await thread.stop(10)


async def test_the_hushed_are_read_again_when_what_had_no_place_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Group()
    client.faults[B] = KafkaError._TIMED_OUT
    thread = await started(monkeypatch, client, WholeLog(["leads"], "earliest"))
    await eventually(lambda: client.turns > 20, 10, "twenty turns")
    assert client.reading == set(), "the question for the place of B comes first"
    client.revoke(B)
    await eventually(lambda: client.reading == {0}, 10, "A is read again")
    assert await thread.stop(10)


async def test_a_topic_that_is_denied_hushes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The brokers have answered the query: only a query without an answer pauses the other partitions."""
    client = Group()
    client.faults[B] = KafkaError.TOPIC_AUTHORIZATION_FAILED
    thread = await started(monkeypatch, client, WholeLog(["leads"], "earliest"))
    await eventually(lambda: client.turns > 20, 10, "twenty turns")
    assert client.reading == {0}
    assert await thread.stop(10)
