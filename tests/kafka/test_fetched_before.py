"""Records that were fetched before the connections were lost do not mean that the brokers answer again. No broker."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from stream_capi.kafka.read_policy import WholeLog
from tests.kafka.sink import RecordedEvents
from tests.kafka.test_hushed import A, Group, started
from tests.kafka.test_parts import message
from tests.stack.waiting import eventually


class Prefetched(Group):
    """Reports at its tenth turn that the brokers don't answer; from then on each turn brings a record of its queue."""

    fetched = 0

    def consume(self, count: int, seconds: float) -> list[Any]:
        super().consume(count, seconds)
        if self.turns == 10:
            self.report_error(KafkaError(KafkaError._TRANSPORT))
        if self.turns < 10:
            return []
        self.fetched += 1
        return [message(A, 4 + self.fetched)]


async def test_a_record_that_was_fetched_before_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    client, events = Prefetched(), RecordedEvents()
    thread = await started(monkeypatch, client, WholeLog(["leads"], "earliest"), events)
    await eventually(lambda: client.fetched > 20, 10, "twenty records")
    assert [event for event, _ in events.lines if event.startswith("brokers")] == ["brokers unreachable"]
    assert await thread.stop(10)
