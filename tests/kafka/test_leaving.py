"""A member's last calls after a rebalance has overtaken the client."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.kafka.read_policy import WholeLog
from tests.kafka.sink import RecordedEvents


class Overtaken:
    """A client that can't answer a rebalance, during which it is to leave."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.left = self.closed = False

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        pass

    def unsubscribe(self) -> None:
        self.left = True

    def consume(self, count: int, seconds: float) -> list[Any]:
        if self.left:
            raise self.error
        time.sleep(seconds)
        return []

    def close(self) -> None:
        self.closed = True


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [SystemError("returned a result with an exception set"), KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))],
    ids=lambda error: type(error).__name__,
)
async def test_a_member_that_a_rebalance_overtakes_as_it_leaves_ends_well(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, nobody, reported = Overtaken(error), Any, RecordedEvents()
    monkeypatch.setattr("stream_capi.kafka.consumer.Consumer", lambda properties: client)
    thread = ConsumerThread({}, WholeLog(["leads"], "earliest"), lambda topics: {}, reported, 1.0)
    before: list[bool] = []
    thread.on_leave = lambda: before.append(not client.left)
    ended = thread.start(nobody)  # type: ignore[arg-type]  # its methods are never called
    assert await thread.stop(10)
    async with asyncio.timeout(10):
        await ended
    assert before == [True], "the alarm is armed before the first call that may hold the interpreter's lock"
    assert client.closed, "the group would wait for it"
    assert reported.count("the client could not take back its assignment") == 1
