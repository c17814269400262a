"""What one answer of a broker may bring into memory, before any account of ours sees it."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer

from stream_capi.config.settings import Kafka
from stream_capi.kafka.properties import consumer_properties

BUDGET = 64 * 1024 * 1024


@pytest.mark.parametrize("budget", [1024 * 1024, BUDGET, 1024 * BUDGET])
@pytest.mark.parametrize("largest", [None, 500_000, 20_000_000])
def test_the_client_takes_the_sizes_whatever_the_budget_and_the_largest_message(
    budget: int, largest: int | None
) -> None:
    given = {} if largest is None else {"message.max.bytes": largest}
    properties = consumer_properties(Kafka(properties=given), budget)
    Consumer(properties | {"log_level": 0}).close()


def test_an_answer_has_room_for_a_large_batch_of_each_partition_and_not_for_much_more() -> None:
    properties = consumer_properties(Kafka(), BUDGET)
    assert 400_000 < properties["fetch.message.max.bytes"] < 600_000
    assert "fetch.max.bytes" not in properties, "a bound on the whole answer starves the partitions at its end"
