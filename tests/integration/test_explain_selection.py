"""``explain`` for records selected by key, by event_id and by a field, on real topics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.events.real_topic import confluent, encoded, produce, register, settings_of
from tests.events.sources_and_records import LEAD
from tests.events.test_explain_command import now_lead
from tests.integration.test_commands import assert_plain, command
from tests.stack import Broker, Registry
from tests.stack.names import Names

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANARY = "canary.person@example.com"


@pytest.fixture
def config(tmp_path: Path, broker: Broker, registry: Registry, names: Names) -> tuple[str, str, int]:
    """The configuration file, the topic, and its schema id."""
    topic = broker.create_topic(names.topic("leads"), 3)
    settings_of(tmp_path, {
        "kafka": {"bootstrap_servers": broker.bootstrap, "group_id": names.group()},
        "schema_registry": {"url": registry.url},
        "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
        "sources": [{"topic": topic, "event": "generate_lead", "pixel": "main"}],
    })  # fmt: skip
    return str(tmp_path / "stream-capi.toml"), topic, register(registry, f"{topic}-value", LEAD)


def produce_keyed(broker: Broker, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    producer.produce(topic, value, key, partition=partition)
    assert producer.flush(30) == 0


@pytest.mark.repeat(of="tests/events/test_explain_command.py::test_the_newest_records_of_all_partitions_are_explained")
def test_records_are_chosen_by_key_id_and_field(config: tuple[str, str, int], broker: Broker) -> None:
    file, topic, schema_id = config

    def value(**fields: Any) -> bytes:
        return confluent(schema_id, encoded(LEAD, now_lead(**fields)))

    produce_keyed(broker, topic, 0, CANARY.encode(), value(event_id="e-1", email=CANARY))
    produce(broker, topic, [value(event_id=f"other-{at}") for at in range(1200)], partition=1)
    produce_keyed(broker, topic, 2, CANARY.encode(), value(event_id="e-2", email=CANARY, currency="EUR"))
    produce_keyed(broker, topic, 2, b"\x00\xff", b"junk")

    def chosen(*words: str) -> list[str]:
        done = command("explain", "--config", file, "--topic", topic, *words, "--json")
        assert "Traceback" not in done.stderr
        assert "canary" not in done.stdout + done.stderr
        return [one["record"] for one in json.loads(done.stdout)]

    both = [f"{topic}[0]@0", f"{topic}[2]@0"]
    assert chosen("--key", CANARY, "--latest", "9") == both
    assert chosen("--key", CANARY) == both[1:]
    assert chosen("--key", "hex:00ff") == [f"{topic}[2]@1"]
    assert chosen("--event-id", "e-1", "--since", "earliest") == both[:1]
    assert chosen("--event-id", "other-1199") == [f"{topic}[1]@1199"]
    assert chosen("--where", "currency=EUR", "--since", "2h") == both[1:]

    newest = command("explain", "--config", file, "--topic", topic, "--key", CANARY)
    assert "2 records are found, the newest is explained; --latest N explains more" in newest.stderr
    absent = command("explain", "--config", file, "--topic", topic, "--event-id", "e-3")
    assert_plain(absent, 1)
    assert len(absent.stderr.splitlines()) == 1, absent.stderr
    line = absent.stderr.strip()
    assert line.startswith(
        f"stream-capi: {topic}: no record was found: scanned 3 partitions, 1,203 offsets, 1,203 records"
    )
    assert "1 record could not be decoded (decode_error 1): of these only keys were looked at" in line
    assert line.endswith("; --since says how far back to look")
    wrong = command("explain", "--config", file, "--topic", topic, "--where", "curency=EUR")
    assert_plain(wrong, 1)
    assert (
        'no schema of these records has the field: the schema has no "curency"; did you mean "currency"?'
        in wrong.stderr
    )
    assert_plain(command("explain", "--config", file, "--topic", topic, "--key", "a", "--where", "currency=EUR"), 2)
    assert_plain(command("explain", "--config", file, "--topic", topic, "--key", "a", "--file", "b"), 2)
