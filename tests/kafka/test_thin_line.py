"""A slow connection to the broker: a backlog is read nevertheless, however many partitions there are."""

from __future__ import annotations

import random

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewPartitions

from tests.kafka.sink import PROTOCOLS, Member
from tests.stack import Broker, Proxy
from tests.stack.names import Names
from tests.stack.waiting import eventually

pytestmark = pytest.mark.real
LINE = 500_000  # bytes a second
BYTES, RECORD = 8_400_000, 1000


@pytest.mark.repeat(of="tests/kafka/test_hushed.py::test_the_hushed_are_read_again_when_what_had_no_place_is_gone")
@pytest.mark.parametrize("partitions", [100, pytest.param(12, marks=pytest.mark.repeat)])
async def test_a_backlog_behind_a_thin_line_is_read(
    own_broker: Broker, own_proxy: Proxy, names: Names, partitions: int
) -> None:
    topic = own_broker.create_topic(names.topic(), partitions)
    each = BYTES // RECORD // partitions
    _fill(own_broker, topic, partitions, each)
    properties = {**PROTOCOLS["cooperative-sticky"], "session.timeout.ms": 30_000}
    own_proxy.throttle(LINE)
    try:
        async with Member(own_proxy.address, names.group(), [topic], properties) as member:
            await eventually(lambda: member.read == each * partitions, 100, "all records")
            for event in (
                "requests to a broker time out",
                "brokers unreachable",
            ):  # so no request timed out and was repeated
                assert member.reported.count(event) == 0
    finally:
        own_proxy.heal()


@pytest.mark.repeat(of="tests/kafka/test_hushed.py::test_the_hushed_are_read_again_when_what_had_no_place_is_gone")
async def test_a_line_too_thin_to_read_is_named(own_broker: Broker, own_proxy: Proxy, names: Names) -> None:
    topic = own_broker.create_topic(names.topic(), 12)
    _fill(own_broker, topic, 12, 500)
    properties = {**PROTOCOLS["cooperative-sticky"], "session.timeout.ms": 30_000, "socket.timeout.ms": 3000}
    own_proxy.throttle(LINE)
    try:
        async with Member(own_proxy.address, names.group(), [topic], properties) as member:
            for event in ("requests to a broker time out", "behind, and nothing is read"):
                await eventually(lambda event=event: member.reported.count(event) == 1, 20, event)  # type: ignore[misc]
                details = str([details for said, details in member.reported.lines if said == event])
                assert own_proxy.address in details
                assert f"{topic}[0, 1, 2, 3, 4 and 7 more]" in details
            assert member.read == 0
            own_proxy.heal()
            await eventually(lambda: member.reported.count("read again") == 1, 30, "the word of its end")
            await eventually(lambda: member.read == 12 * 500, 30, "all records")
    finally:
        own_proxy.heal()


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_partitions_that_come_while_a_long_answer_is_under_way_are_read_too(
    own_broker: Broker, own_proxy: Proxy, names: Names
) -> None:
    """The query for the start offsets waits behind the answer; if it times out, the connection is closed with the answer."""
    topic = own_broker.create_topic(names.topic(), 12)
    _fill(own_broker, topic, 12, 1500)
    properties = {**PROTOCOLS["cooperative-sticky"], "session.timeout.ms": 30_000}
    own_proxy.throttle(LINE)
    try:
        async with Member(own_proxy.address, names.group(), [topic], properties) as member:
            await eventually(lambda: member.read > 0, 28, "the first records")
            own_broker.admin.create_partitions([NewPartitions(topic, 14)])[topic].result(15)
            _fill(own_broker, topic, 14, 10)
            # The answer under way, two lost queries, and an answer in which the new ones come last: 3 times 13 s, and 12 s.
            await eventually(lambda: len(member.offsets) == 14, 75, "the new partitions")
            await eventually(lambda: member.read == 12 * 1510 + 20, 60, "all records")
    finally:
        own_proxy.heal()


def _fill(broker: Broker, topic: str, partitions: int, each: int) -> None:
    """Produce records that don't compress, in batches of a producer's default size."""
    noise = random.Random(1)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "batch.size": 16_384, "linger.ms": 5, "log_level": 0})
    for index in range(each * partitions):
        producer.produce(topic, noise.randbytes(RECORD), partition=index % partitions)
    assert producer.flush(30) == 0
