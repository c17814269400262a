"""`check` on a source's records: their framing, their schema's subject, and encrypted fields."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema

from stream_capi.model import EventName
from stream_capi.sandbox.samples import Samples
from tests.faults.registry_gateway import Front
from tests.integration.test_commands import assert_plain, command, settings, write
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

__all__ = ["settings"]

pytestmark = [pytest.mark.slow, pytest.mark.real]

_LEAD = (Path(__file__).parents[2] / "schemas" / "lead.avsc").read_text()


@pytest.fixture(autouse=True, scope="module")
def _coordinator(broker: Broker) -> None:
    """Have the broker create its offsets topic: requests for groups, and so `check`, fail until it exists."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "first"})

    def answers() -> bool:
        try:
            consumer.committed([TopicPartition("any", 0)], 5)
        except KafkaException:
            return False
        return True

    until(answers, 60, "a coordinator of groups")
    consumer.close()


def _put(broker: Broker, topic: str, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(topic, value, partition=0, headers=list(headers))
    assert producer.flush(30) == 0


def _avro(schema: Any, **changes: Any) -> bytes:
    """A lead encoded with a schema that has at least its fields."""
    event = Samples(1, bad_share=0).event(EventName.GENERATE_LEAD, int(time.time() * 1000)) | changes
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event)
    return out.getvalue()


def _confluent(id_: int, payload: bytes) -> bytes:
    return b"\0" + id_.to_bytes(4, "big") + payload


_UUID = bytes(range(16))


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("value", "headers", "words"),
    [
        (b"\x03\x00" + _UUID + b"payload", [], "AWS Glue"),
        (b"\x03\x05" + _UUID + b"payload", [], "AWS Glue"),
        (b"\0\0\0\0" + _UUID.hex().encode() + b"payload", [], "Azure"),
        (b"payload", [("content-type", b"avro/binary+" + _UUID.hex().encode())], "Azure"),
        (b"\0" + (1).to_bytes(8, "big") + b"payload", [], 'framing = "apicurio"'),
        (b"payload", [("apicurio.value.contentId", (1).to_bytes(8, "big"))], 'framing = "apicurio"'),
        (b"\xc3\x01" + bytes(8) + b"payload", [], 'framing = "single_object"'),
        (b'{"event_id": "1"}', [], "JSON"),
    ],
)
def test_check_names_a_framing_that_is_not_the_configured_one(
    tmp_path: Path,
    settings: dict[str, Any],
    broker: Broker,
    value: bytes,
    headers: list[tuple[str, bytes]],
    words: str,
) -> None:
    topic = settings["sources"][0]["topic"]
    _put(broker, topic, value, headers)
    _put(broker, topic, None)
    done = command("check", "--config", write(tmp_path, settings))
    assert_plain(done, 1)
    (line,) = [line for line in done.stdout.splitlines() if f"FAIL  records of {topic}" in line]
    assert words in line
    assert "payload" not in line
    assert f"{topic}[0]@0" in line


def test_check_passes_where_a_recent_record_can_be_read(
    tmp_path: Path, settings: dict[str, Any], broker: Broker, registry: Registry
) -> None:
    topic = settings["sources"][0]["topic"]
    with registry.client() as client:
        id_ = client.register_schema(f"{topic}-value", Schema(_LEAD, "AVRO"))
    empty = command("check", "--config", write(tmp_path, settings))
    assert f"pass  records of {topic}: there is no record yet to look at" in empty.stdout
    _put(broker, topic, _confluent(id_, _avro(json.loads(_LEAD))))
    _put(broker, topic, b"\xff damaged")
    done = command("check", "--config", write(tmp_path, settings))
    assert f"pass  records of {topic}: have the framing confluent" in done.stdout


@pytest.mark.repeat(of="test_check_finds_the_schema_of_each_source_that_shares_a_topic")
@pytest.mark.parametrize("strategy", ["RecordName", "TopicRecordName", "none"])
def test_check_finds_the_newest_schema_by_a_record_where_no_subject_has_the_topic_s_name(
    tmp_path: Path, settings: dict[str, Any], broker: Broker, registry: Registry, names: Names, strategy: str
) -> None:
    topic = broker.create_topic(names.topic("renamed"))
    settings["sources"][0]["topic"] = topic
    name = f"R{names.topic('x').replace('-', '_').replace('.', '_')}"
    old = json.loads(_LEAD) | {"name": name, "namespace": "acme"}
    new = {**old, "fields": [field for field in old["fields"] if field["name"] != "esi"]}
    subject = {"RecordName": f"acme.{name}", "TopicRecordName": f"{topic}-acme.{name}", "none": f"{name}-of-nobody"}
    with registry.client() as client:
        id_ = client.register_schema(subject[strategy], Schema(json.dumps(old), "AVRO"))
        client.register_schema(subject[strategy], Schema(json.dumps(new), "AVRO"))
    before = command("check", "--config", write(tmp_path, settings))
    assert f"no subject {topic}-value" in before.stdout
    _put(broker, topic, _confluent(id_, _avro(old)))
    done = command("check", "--config", write(tmp_path, settings))
    assert f"pass  records of {topic}" in done.stdout
    if strategy == "none":
        assert f"pass  mapping of {topic}: fits acme.{name}" in done.stdout
    else:  # the subject's newest version lacks a field that the record's version has
        assert f"FAIL  mapping of {topic}: acme.{name}: TODO user_data.esi" in done.stdout


@pytest.mark.cases(1)
@pytest.mark.parametrize("strategy", ["RecordName", "TopicRecordName"])
def test_check_finds_the_schema_of_each_source_that_shares_a_topic(
    tmp_path: Path, settings: dict[str, Any], broker: Broker, registry: Registry, names: Names, strategy: str
) -> None:
    """It finds them whichever type the newest record has."""
    topic = broker.create_topic(names.topic("shared"))
    name = f"R{names.topic('x').replace('-', '_').replace('.', '_')}"
    types = [json.loads(_LEAD) | {"name": f"{name}{kind}", "namespace": "acme"} for kind in ("Lead", "Quote", "Wrong")]
    types[2]["fields"] = [field for field in types[2]["fields"] if field["name"] != "esi"]
    full = [f"acme.{one['name']}" for one in types]
    before = f"{topic}-" if strategy == "TopicRecordName" else ""
    with registry.client() as client:
        ids = [
            client.register_schema(f"{before}{subject}", Schema(json.dumps(one), "AVRO"))
            for subject, one in zip(full, types, strict=True)
        ]
    source = settings["sources"][0] | {"topic": topic}
    settings["sources"] = [source | {"record": record} for record in [*full, "acme.Nothing"]]
    _put(broker, topic, _confluent(ids[1], _avro(types[1])))
    done = command("check", "--config", write(tmp_path, settings))
    for record in full[:2]:
        assert f"pass  mapping of {topic} ({record}): fits {record}" in done.stdout
    assert f"FAIL  mapping of {topic} ({full[2]}): {full[2]}: TODO user_data.esi" in done.stdout
    assert f'FAIL  mapping of {topic} (acme.Nothing): record: the schema has no record "acme.Nothing"' in done.stdout
    settings["sources"] = [
        {name: value for name, value in source.items() if name != "event"}
        | {"event_field": "$record", "events": {full[0]: "generate_lead", full[2]: "generate_lead"}}
    ]
    routed = command("check", "--config", write(tmp_path, settings))
    assert f"pass  mapping of {topic}: fits {full[0]}" in routed.stdout
    assert f"FAIL  mapping of {topic}: {full[2]}: TODO user_data.esi" in routed.stdout
    assert f'event_field: "{full[1]}" is not in events' in routed.stdout


@pytest.mark.repeat(of="test_check_passes_where_a_recent_record_can_be_read")
def test_check_and_explain_refuse_what_the_registry_s_rules_encrypt(
    tmp_path: Path, settings: dict[str, Any], broker: Broker, registry: Registry
) -> None:
    topic = settings["sources"][0]["topic"]
    with registry.client() as client:
        id_ = client.register_schema(f"{topic}-value", Schema(_LEAD, "AVRO"))
    _put(broker, topic, _confluent(id_, _avro(json.loads(_LEAD), email="Y2lwaGVydGV4dA==")))
    rule = {"name": "r", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"]}
    with Front(registry.url) as front:
        front.adds["stream_capi"] = {"ruleSet": {"domainRules": [rule]}, "metadata": {"tags": {"**.email": ["PII"]}}}
        settings["schema_registry"]["url"] = f"http://127.0.0.1:{front.port}{front.path}"
        config = write(tmp_path, settings)
        checked = command("check", "--config", config)
        explained = command("explain", "--config", config, "--topic", topic, "--latest", "1")
    for subject in ("records", "mapping"):
        (line,) = [line for line in checked.stdout.splitlines() if f"FAIL  {subject} of {topic}" in line]
        assert line.endswith("the registry's rules encrypt fields that are mapped (ENCRYPT): email")
    assert_plain(explained, 1)
    assert "encrypt fields that are mapped (ENCRYPT): email; its records wait" in explained.stderr
    assert "Y2lwaGVydGV4dA" not in explained.stdout + explained.stderr
