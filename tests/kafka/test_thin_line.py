"""A line to the broker that carries little: a backlog is read all the same, however many partitions there are."""

from __future__ import annotations

import random

import pytest
from confluent_kafka import Producer

from tests.kafka.sink import PROTOCOLS, Member, eventually
from tests.stack import Broker, Proxy
from tests.stack.names import Names

pytestmark = pytest.mark.real
LINE = 500_000  # bytes a second
BYTES, RECORD = 8_400_000, 1000


@pytest.mark.parametrize("partitions", [12, 100])
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
            await eventually(lambda: member.read > 0, 28, "the first records")
            await eventually(lambda: member.read == each * partitions, 40, "all records")
            assert member.told.count("brokers unreachable") == 0
    finally:
        own_proxy.heal()


def _fill(broker: Broker, topic: str, partitions: int, each: int) -> None:
    """Records that don't compress, in batches of the size that producers have by default."""
    noise = random.Random(1)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "batch.size": 16_384, "linger.ms": 5, "log_level": 0})
    for index in range(each * partitions):
        producer.produce(topic, noise.randbytes(RECORD), partition=index % partitions)
    assert producer.flush(30) == 0
