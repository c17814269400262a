from __future__ import annotations

import ctypes
import logging
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from stream_capi.config.consistency import OWNED_PROPERTIES
from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.properties import (
    ClientLog,
    admin_properties,
    consumer_properties,
    events_bytes,
    prefetch_bytes,
    producer_properties,
)
from stream_capi.kafka.property_names import CONSUMER_ONLY, PRODUCER_ONLY, SHARED

BUDGET = 64 * 1_048_576
# Properties that users set for their group, their cluster and their dead letters, all in one table.
USERS: dict[str, str | int] = {
    "security.protocol": "PLAINTEXT",
    "client.rack": "a",
    "group.instance.id": "pod-0",
    "session.timeout.ms": 30_000,
    "partition.assignment.strategy": "range",
    "fetch.min.bytes": 10,
    "linger.ms": 3,
    "compression.type": "zstd",
    "client.id": "theirs",
}


def warnings_of(client: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    client.poll(0.2)
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("group_protocol", ["classic", "consumer", "CONSUMER"])
def test_no_client_warns_of_a_property(group_protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    users = USERS | {"group.protocol": group_protocol}
    if group_protocol != "classic":
        for refused in ("session.timeout.ms", "partition.assignment.strategy"):
            del users[refused]
    kafka = KafkaSection(bootstrap_servers="127.0.0.1:1", properties=users)
    consumer = Consumer(consumer_properties(kafka, BUDGET))
    assert warnings_of(consumer, caplog) == []
    consumer.close()
    assert warnings_of(Producer(producer_properties(kafka)), caplog) == []
    admin = admin_properties(kafka) | {"log_level": 6, "logger": ClientLog()}
    assert warnings_of(AdminClient(admin), caplog) == []


def test_a_warning_of_the_client_is_logged_as_one(caplog: pytest.LogCaptureFixture) -> None:
    kafka = KafkaSection(bootstrap_servers="127.0.0.1:1")
    producer = Producer(producer_properties(kafka) | {"session.timeout.ms": 6000})
    assert "session.timeout.ms" in warnings_of(producer, caplog)[0]


@pytest.mark.slow
def test_nothing_of_the_client_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    kafka = KafkaSection(bootstrap_servers="127.0.0.1:1")
    producer = Producer(producer_properties(kafka))
    producer.produce("topic", b"")
    producer.flush(1)
    producer.purge()
    consumer = Consumer(consumer_properties(kafka, BUDGET))
    consumer.subscribe(["topic"])
    consumer.poll(1)
    consumer.close()
    assert capfd.readouterr() == ("", "")


def test_a_log_that_fails_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientLog._log, "log", lambda *args: 1 / 0)
    ClientLog().log(logging.ERROR, "%s [%s] %s", "FAIL", "client", "text")


def test_the_lists_are_the_clients_own(tmp_path: Path) -> None:
    table = _table(tmp_path)
    callbacks = {name for name in table if name.endswith("_cb")}
    known = {kind: {name for name, of in table.items() if of == kind} - callbacks for kind in "CP"}
    assert {name for name in CONSUMER_ONLY if name in table} == known["C"] - {"share.acknowledgement.mode"}
    assert {name for name in PRODUCER_ONLY if name in table} == known["P"]
    shared = {name for name, of in table.items() if of == "*"} - callbacks
    assert {name for name in shared if "." in name or name in ("debug", "log_level")} == SHARED


def _table(folder: Path) -> dict[str, str]:
    """librdkafka's table of properties: by name, C (consumer), P (producer) or * (both)."""
    (library,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    libc, client, target = ctypes.CDLL(None), ctypes.CDLL(str(library)), folder / "table"
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(str(target).encode(), b"w"))
    client.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    rows = [line.split("|") for line in target.read_text().splitlines() if line.count("|") > 4]
    return {row[0].strip(): row[1].strip() for row in rows if row[1].strip() in ("C", "P", "*")}


def test_what_the_program_owns_is_as_it_must_be() -> None:
    kafka = KafkaSection(bootstrap_servers="one:1,two:2", group_id="leads")
    consumer, producer = consumer_properties(kafka, BUDGET), producer_properties(kafka)
    assert (consumer["bootstrap.servers"], consumer["group.id"]) == ("one:1,two:2", "leads")
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"
    assert consumer["isolation.level"] == "read_committed"
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", "true")
    for properties in (consumer, producer, admin_properties(kafka)):
        assert properties["client.id"] == "stream-capi"
        assert properties["allow.auto.create.topics"] == "false"


def test_the_users_properties_come_last() -> None:
    kafka = KafkaSection(properties=USERS)
    consumer, producer = consumer_properties(kafka, BUDGET), producer_properties(kafka)
    assert consumer["partition.assignment.strategy"] == "range"
    assert (consumer["client.id"], producer["compression.type"]) == ("theirs", "zstd")
    assert "group.instance.id" not in producer
    assert "linger.ms" not in consumer
    assert {name for name in admin_properties(kafka) if name in CONSUMER_ONLY | PRODUCER_ONLY} == set()


@pytest.mark.parametrize(
    ("users", "session", "heartbeat"),
    [
        ({}, 9000, 1000),
        ({"group.protocol": "classic"}, 9000, 1000),
        ({"partition.assignment.strategy": "range"}, 9000, 1000),
        # If only one of the two is set, the other still fits: a session must last several heartbeats.
        ({"session.timeout.ms": 6000}, 6000, 1000),
        ({"session.timeout.ms": 45_000}, 45_000, 1000),
        ({"session.timeout.ms": 2000}, 2000, 500),
        ({"session.timeout.ms": "2000"}, "2000", 500),
        ({"session.timeout.ms": 3}, 3, 1),
        ({"heartbeat.interval.ms": 300}, 9000, 300),
        ({"heartbeat.interval.ms": 3000}, 12_000, 3000),
        ({"heartbeat.interval.ms": "5000"}, 20_000, "5000"),
        ({"heartbeat.interval.ms": 3_600_000}, 3_600_000, 3_600_000),
        ({"session.timeout.ms": 6000, "heartbeat.interval.ms": 3000}, 6000, 3000),
        # A pod of a stateful set needs time to come back under its name.
        ({"group.instance.id": "pod-0"}, 45_000, 1000),
        ({"group.instance.id": "pod-0", "session.timeout.ms": 9000}, 9000, 1000),
        ({"group.instance.id": "pod-0", "heartbeat.interval.ms": 20_000}, 80_000, 20_000),
    ],
)
def test_a_killed_member_is_missed_soon_unless_the_user_says_otherwise(
    users: dict[str, str | int], session: str | int, heartbeat: str | int
) -> None:
    properties = consumer_properties(KafkaSection(bootstrap_servers="127.0.0.1:1", properties=users), BUDGET)
    assert (properties["session.timeout.ms"], properties["heartbeat.interval.ms"]) == (session, heartbeat)


@pytest.mark.parametrize("instance", [{}, {"group.instance.id": "pod-0"}])
def test_the_broker_decides_the_session_under_its_own_protocol(instance: dict[str, str]) -> None:
    users = {"group.protocol": "consumer", **instance}
    properties = consumer_properties(KafkaSection(bootstrap_servers="127.0.0.1:1", properties=users), BUDGET)
    assert not {"session.timeout.ms", "heartbeat.interval.ms"} & set(properties)
    Consumer(properties).close()


def test_what_is_set_from_the_budget_is_refused_in_the_settings() -> None:
    assert {"queued.max.messages.kbytes", "queued.min.messages"} <= set(OWNED_PROPERTIES)


@pytest.mark.parametrize("budget", [1_048_576, BUDGET, 16 * 1024**3])
def test_what_is_read_ahead_fits_the_budget(budget: int) -> None:
    properties = consumer_properties(KafkaSection(bootstrap_servers="127.0.0.1:1"), budget)
    assert properties["queued.max.messages.kbytes"] * 1024 <= prefetch_bytes(budget)
    assert 3 * prefetch_bytes(budget) + events_bytes(budget) <= budget
    Consumer(properties).close()
