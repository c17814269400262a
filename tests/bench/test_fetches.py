"""The limits on what the client fetches into memory, where the program can't count it yet."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer

from benchmarks.contenders.bare import loaded
from benchmarks.inside import SETUP
from stream_capi.app import App
from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.properties import consumer_properties, events_bytes

BUDGET = 64 * 1024 * 1024


@pytest.mark.parametrize("budget", [1024 * 1024, BUDGET, 1024 * BUDGET])
@pytest.mark.parametrize("largest", [None, 500_000, 20_000_000])
def test_the_client_takes_the_sizes_whatever_the_budget_and_the_largest_message(
    budget: int, largest: int | None
) -> None:
    given = {} if largest is None else {"message.max.bytes": largest}
    properties = consumer_properties(KafkaSection(properties=given), budget)
    Consumer(properties | {"log_level": 0}).close()


@pytest.mark.parametrize("budget", [1024 * 1024, BUDGET, 1024 * BUDGET])
def test_an_answer_has_room_for_large_batches_of_many_partitions_and_fits_a_thin_line(budget: int) -> None:
    properties = consumer_properties(KafkaSection(), budget)
    if budget >= BUDGET:
        assert 400_000 < properties["fetch.message.max.bytes"] < 600_000
        assert properties["fetch.max.bytes"] >= 16 * properties["fetch.message.max.bytes"]
    seconds = properties["fetch.max.bytes"] / 400_000
    assert seconds * 1000 < properties["socket.timeout.ms"] * 0.8


def test_open_events_are_given_what_the_client_and_the_chunks_under_way_leave() -> None:
    assert App(loaded(SETUP), {"BENCH_KEY": "k"}).pipeline.backpressure.budget == events_bytes(BUDGET)
