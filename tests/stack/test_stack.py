"""Tests of the broker, the registry and the proxy: what other tests rely on when they freeze, cut and kill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stream_capi.model import Code, EventName
from tests.stack import Broker, Proxy, Registry, artefacts, produce_events
from tests.stack.names import Names
from tests.stack.process import free_ports
from tests.stack.records import acknowledged, more, read
from tests.stack.registry import SUBJECTS
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.repeat]


def test_events_are_produced_and_come_back(broker: Broker, registry: Registry, names: Names) -> None:
    leads, views = broker.create_topic(names.topic("leads"), 2), broker.create_topic(names.topic("views"), 2)
    produced = produce_events(broker, registry, leads, views, n=400, seed=7, bad=8)
    messages = read(broker.bootstrap, [leads, views], 400, names.group())
    by_place = {(m.topic(), m.partition(), m.offset()): m for m in messages}
    with registry.client() as client:
        decode = AvroDeserializer(client, conf=SUBJECTS)
        for event in produced:
            message = by_place[event.topic, event.partition, event.offset]
            assert message.key() == event.event_id.encode()
            if event.bad_code in (Code.DECODE_ERROR, Code.UNKNOWN_SCHEMA):
                continue
            event_read = decode(message.value(), SerializationContext(event.topic, MessageField.VALUE))
            assert isinstance(event_read, dict)
            assert event_read["event_id"] == event.event_id
            assert ("currency" in event_read) is (event.name is EventName.GENERATE_LEAD)
    assert Counter(event.bad_code for event in produced) == {
        None: 392,
        Code.INVALID_FIELD: 2,
        Code.NO_IDENTIFIER: 2,
        Code.DECODE_ERROR: 2,
        Code.UNKNOWN_SCHEMA: 2,
    }
    ends = broker.end_offsets(leads), broker.end_offsets(views)
    assert sum(sum(topic.values()) for topic in ends) == 400
    assert all(end > 0 for topic in ends for end in topic.values())


def test_commits_are_read_with_their_metadata(broker: Broker, names: Names) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    assert broker.committed(group, topic) == {}
    config = {"bootstrap.servers": broker.bootstrap, "group.id": group, "log_level": 0}
    with closing(Consumer(config)) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, 1, 5, metadata="canary")], asynchronous=False)
    assert broker.committed(group, topic) == {1: (5, "canary")}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_both_group_protocols_work(broker: Broker, names: Names, protocol: str) -> None:
    topic = broker.create_topic(names.topic())
    assert acknowledged(broker.bootstrap, topic, 10)
    config = {"bootstrap.servers": broker.bootstrap, "group.id": names.group(), "group.protocol": protocol}
    with closing(Consumer(config | {"auto.offset.reset": "earliest", "log_level": 0})) as consumer:
        consumer.subscribe([topic])
        messages: list[Message] = []
        until(lambda: len(more(consumer, messages)) == 1, 15, "the record")


def test_topics_are_not_made_by_asking_and_end_when_deleted(broker: Broker, names: Names) -> None:
    assert not acknowledged(broker.bootstrap, names.topic("unknown"), 2)
    topic = broker.create_topic(names.topic())
    assert acknowledged(broker.bootstrap, topic, 10)
    broker.delete_topic(topic)
    broker.create_topic(topic)
    assert broker.end_offsets(topic) == {0: 0}


def test_records_are_deleted_by_hand_and_by_retention(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic(), config={"internal.segment.bytes": "1024", "retention.bytes": "1024"})
    producer = Producer({"bootstrap.servers": broker.bootstrap, "batch.num.messages": 1, "log_level": 0})
    for _ in range(20):
        producer.produce(topic, os.urandom(600))
    assert producer.flush(10) == 0
    with closing(
        Consumer({"bootstrap.servers": broker.bootstrap, "group.id": names.group(), "log_level": 0})
    ) as reader:

        def first() -> int:
            low, _ = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=5)
            return int(low)

        until(lambda: first() >= 10, 15, "retention")
        broker.delete_records(topic, 0, 20)
        assert first() == 20


def test_a_frozen_registry_is_silent_and_then_answers(registry: Registry, names: Names) -> None:
    registry.freeze()
    try:
        with (
            registry.client(timeout=1, **{"max.retries": 0}) as client,
            pytest.raises(Exception, match=r"timed out|timeout"),
        ):
            client.get_subjects()
    finally:
        registry.thaw()
    with registry.client() as patient:
        assert isinstance(patient.get_subjects(), list)


def test_a_frozen_broker_keeps_connections_and_answers_nothing(own_broker: Broker, names: Names) -> None:
    topic = own_broker.create_topic(names.topic())
    own_broker.freeze()
    try:
        host, port = own_broker.bootstrap.split(":")
        socket.create_connection((host, int(port)), timeout=2).close()
        assert not acknowledged(own_broker.bootstrap, topic, 2)
    finally:
        own_broker.thaw()
    assert acknowledged(own_broker.bootstrap, topic, 15)


def test_a_killed_broker_comes_back_with_its_port_and_data(own_broker: Broker, names: Names) -> None:
    topic = own_broker.create_topic(names.topic())
    assert acknowledged(own_broker.bootstrap, topic, 10)
    own_broker.kill()
    assert not acknowledged(own_broker.bootstrap, topic, 1)
    own_broker.restart()
    assert own_broker.end_offsets(topic) == {0: 1}


@pytest.mark.parametrize("fault", ["cut", "half_open"])
def test_the_proxy_parts_the_program_from_the_broker_but_not_the_test(
    own_broker: Broker, own_proxy: Proxy, names: Names, fault: str
) -> None:
    topic = own_broker.create_topic(names.topic())
    assert acknowledged(own_proxy.address, topic, 10)
    getattr(own_proxy, fault)()
    try:
        assert not acknowledged(own_proxy.address, topic, 2)
        assert acknowledged(own_broker.bootstrap, topic, 10)
    finally:
        own_proxy.heal()
    assert acknowledged(own_proxy.address, topic, 15)


def test_a_slow_proxy_delays(own_broker: Broker, own_proxy: Proxy, names: Names) -> None:
    topic = own_broker.create_topic(names.topic())
    own_proxy.slow(0.6)
    try:
        began = time.monotonic()
        assert acknowledged(own_proxy.address, topic, 20)
        assert time.monotonic() - began > 1.2
    finally:
        own_proxy.heal()


def test_an_artefact_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = next(pin for pin in artefacts.pins() if "slf4j-simple" in pin.coordinate)
    monkeypatch.setenv("STREAM_CAPI_TEST_CACHE", str(tmp_path))
    (tmp_path / "artefacts").mkdir()
    (tmp_path / "artefacts" / "slf4j-simple-1.7.36.jar").write_bytes(b"not the jar")
    monkeypatch.setattr(artefacts, "pins", lambda: [pin])
    with pytest.raises(artefacts.ArtefactError, match=r"slf4j-simple.*pinned is"):
        artefacts.kafka_jars()


def test_a_server_dies_with_a_killed_test_run(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        "from tests.stack.process import Server\n"
        "server = Server('sleeper')\n"
        "server.launch(['sleep', '600'], {}, lambda: True)\n"
        "print(server._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        assert server.name() == "sleep"
        run.kill()
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, 5, "the server's end")


def test_a_port_that_was_handed_out_is_kept_for_the_server_that_comes_later() -> None:
    (port,) = free_ports(1)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
