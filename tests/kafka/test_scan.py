"""Ranges and newest records of real topics, with the gaps that retention, compaction and transactions leave."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import KafkaLost, Unavailable
from stream_capi.kafka.ranges import Range
from stream_capi.kafka.scan import latest_records, scan
from stream_capi.model import TopicPartition
from tests.stack import Broker
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]


def write(broker: Broker, topic: str, count: int, partition: int = 0, size: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for number in range(count):
        producer.produce(topic, str(number).encode().ljust(size), partition=partition)
    assert producer.flush(30) == 0


def write_in_transactions(broker: Broker, topic: str, count: int) -> None:
    """Write one record per transaction: every second offset, and so the last one, is a commit marker."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    for number in range(count):
        producer.begin_transaction()
        producer.produce(topic, str(number).encode(), partition=0)
        producer.commit_transaction(30)


def test_what_retention_takes_meanwhile_is_passed_over(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic("scanned"), 2)
    ranges = {TopicPartition(topic, number): Range(0, 100) for number in (0, 1)}
    for number in (0, 1):
        write(broker, topic, 100, number)
    broker.delete_records(topic, 0, 40)
    broker.delete_records(topic, 1, 100)
    kafka = KafkaSection(bootstrap_servers=broker.bootstrap)
    assert [record.offset() for record in scan(kafka, ranges)] == [*range(40, 100)]
    assert [record.offset() for record in scan(kafka, ranges, each=2)] == [40, 41]


def test_of_each_partition_only_its_first_records_are_given(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic("scanned"), 2)
    for number in (0, 1):
        write(broker, topic, 100, number)
    ranges = {TopicPartition(topic, 0): Range(10, 90), TopicPartition(topic, 1): Range(98, 99)}
    kafka = KafkaSection(bootstrap_servers=broker.bootstrap)
    found = sorted((record.partition(), record.offset()) for record in scan(kafka, ranges, each=3))
    assert found == [(0, 10), (0, 11), (0, 12), (1, 98)]
    assert [*scan(kafka, {TopicPartition(topic, 0): Range(5, 5)})] == []


@pytest.mark.repeat(of="test_what_retention_takes_meanwhile_is_passed_over")
def test_a_topic_that_is_deleted_meanwhile_is_lost(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic("scanned"), 1)
    write(broker, topic, 80_000, size=1000)  # more than the client reads ahead
    records = scan(KafkaSection(bootstrap_servers=broker.bootstrap), {TopicPartition(topic, 0): Range(0, 80_000)})
    assert next(records).offset() == 0
    broker.delete_topic(topic)
    with pytest.raises((KafkaLost, Unavailable), match=r"kafka|topic"):
        list(records)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_newest_records_are_found_between_marks_of_transactions(broker: Broker, names: Names, count: int) -> None:
    topic = broker.create_topic(names.topic("scanned"), 1)
    write_in_transactions(broker, topic, 10)
    found = latest_records(KafkaSection(bootstrap_servers=broker.bootstrap), topic, count)
    assert [record.value() for record in found] == [str(number).encode() for number in range(10)][-count:]


@pytest.mark.repeat(of="test_what_retention_takes_meanwhile_is_passed_over")
def test_compaction_leaves_offsets_without_a_record(broker: Broker, names: Names) -> None:
    """Ranges end although their last offsets are gone, and the newest records are found nevertheless."""
    often = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "min.compaction.lag.ms": "0"}
    topic = broker.create_topic(names.topic("compacted"), 1, {"cleanup.policy": "compact", **often})
    kafka, tp = KafkaSection(bootstrap_servers=broker.bootstrap), TopicPartition(topic, 0)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})

    def write_keys(of_each: int) -> None:
        for number in range(of_each * 10):
            producer.produce(topic, str(number).encode(), f"key-{number % 10}".encode(), partition=0)
        assert producer.flush(30) == 0

    def left() -> list[int | None]:
        write_keys(1)  # so that the segment before is closed
        return [record.offset() for record in scan(kafka, {tp: Range(0, 500)})]

    write_keys(50)
    until(lambda: len(left()) < 500, 90, "compaction")
    assert left()[:1] != [0]
    end = broker.end_offsets(topic)[0]
    found = latest_records(kafka, topic, 12)
    assert {record.key() for record in found} >= {f"key-{number}".encode() for number in range(10)}
    assert found[-1].offset() == end - 1
    assert list(scan(kafka, {tp: Range(0, 1)})) == []
