"""Old and new writers on one topic, and every framing, through a real topic and one long-lived source."""

from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference

from stream_capi.model import Code, Rejection
from tests.events.real_topic import (
    ApicurioIds,
    Header,
    Member,
    apicurio_ids,
    confluent,
    encoded,
    map_newest,
    newest,
    produce,
    register,
    settings_of,
)
from tests.events.sources_and_records import LEAD, SCHEMAS, lead, nullable, sent
from tests.stack import Broker, Registry
from tests.stack.names import Names

pytestmark = pytest.mark.real


def with_fields(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Quote", "namespace": "acme", "fields": [*BASE, *fields]}


BASE = [field for field in LEAD["fields"] if field["name"] not in ("email", "phone", "dedupe_id")]
OLD = with_fields({"name": "mail", "type": nullable("string"), "default": None})
CUSTOMER = {"type": "record", "name": "Customer", "fields": [{"name": "email", "type": nullable("string")}]}
NEW = with_fields(
    {"name": "mail", "type": nullable("string"), "default": None},
    {"name": "customer", "type": nullable(CUSTOMER), "default": None},
)
FIELDS = {"user_data.email": ["customer.email", "mail"]}


def now_lead(**fields: Any) -> dict[str, Any]:
    return lead(event_time=int(time.time() * 1000) - 1000, **fields)


def tables(broker: Broker, topic: str, registry: Registry | None = None, **source: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kafka": {"bootstrap_servers": broker.bootstrap},
        "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
        "sources": [{"topic": topic, "event": "generate_lead", "pixel": "main", "fields": FIELDS, **source}],
        "delivery": {"hash": "passthrough"},
    }
    return made if registry is None else made | {"schema_registry": {"url": registry.url}}


async def test_a_new_writer_joins_in_mid_stream_without_a_restart(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path
) -> None:
    topic = names.topic("quotes")
    broker.create_topic(topic)
    settings = settings_of(tmp_path, tables(broker, topic, registry))
    old_id = register(registry, f"{topic}-value", OLD)

    def old(email: str) -> bytes:
        return confluent(old_id, encoded(OLD, now_lead(mail=email)))

    member = Member(settings)
    try:
        produce(broker, topic, [old("one@old.example")])
        (first,) = await member.map(await asyncio.to_thread(newest, settings, 10))
        assert sent(first)["user_data"]["email"] == "one@old.example"

        new_id = register(registry, f"{topic}-value", NEW)
        assert new_id != old_id
        new = [
            confluent(new_id, encoded(NEW, now_lead(customer={"email": "two@new.example"}, mail="not@this.example"))),
            confluent(new_id, encoded(NEW, now_lead(customer=None, mail="four@new.example"))),
        ]
        produce(broker, topic, [new[0], old("three@old.example"), new[1]])
        made = await member.map(await asyncio.to_thread(newest, settings, 3))
        emails = [sent(one)["user_data"]["email"] for one in made]
        assert emails == ["two@new.example", "three@old.example", "four@new.example"]
    finally:
        await member.aclose()


async def test_a_field_that_a_newer_writer_no_longer_has_reads_as_null(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path
) -> None:
    topic = names.topic("quotes")
    broker.create_topic(topic)
    without = {**OLD, "fields": [field for field in OLD["fields"] if field["name"] not in ("user_id", "esi")]}
    schema_id = register(registry, f"{topic}-value", without)
    produce(broker, topic, [confluent(schema_id, encoded(without, now_lead(mail="a@b.example")))])
    (made,) = await map_newest(settings_of(tmp_path, tables(broker, topic, registry)), 1)
    assert made == Rejection(Code.MISSING_FIELD, 'user_data.esi: is absent (from "esi")', "main")


def single_object(schema: Any, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    out.write(b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")))
    out.write(encoded(schema, record))
    return out.getvalue()


@pytest.mark.parametrize("framing", ["confluent", "auto"])
@pytest.mark.parametrize("in_header", [False, True])
async def test_the_id_may_stand_before_the_payload_or_in_a_header(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path, framing: str, in_header: bool
) -> None:
    topic = names.topic("leads")
    broker.create_topic(topic)
    schema_id = register(registry, f"{topic}-value", LEAD)
    payload = encoded(LEAD, now_lead(event_id="e-9"))
    headers: list[Header] = [("__value_schema_id", b"\x00" + schema_id.to_bytes(4, "big"))] if in_header else []
    produce(broker, topic, [payload if in_header else confluent(schema_id, payload)], headers)
    (made,) = await map_newest(settings_of(tmp_path, tables(broker, topic, registry, framing=framing, fields={})), 1)
    assert sent(made)["dedupe_id"] == "e-9"


@pytest.mark.parametrize(
    ("framing", "schema", "value"),
    [
        ("single_object", str(SCHEMAS), lambda record: single_object(LEAD, record)),
        ("auto", str(SCHEMAS), lambda record: single_object(LEAD, record)),
        ("raw", str(SCHEMAS / "lead.avsc"), lambda record: encoded(LEAD, record)),
        ("auto", str(SCHEMAS / "lead.avsc"), lambda record: encoded(LEAD, record)),
    ],
)
async def test_without_a_registry_schemas_come_from_a_folder_or_a_file(
    broker: Broker, names: Names, tmp_path: Path, framing: str, schema: str, value: Any
) -> None:
    topic = names.topic("leads")
    broker.create_topic(topic)
    # A value counts as framed by its first bytes alone, so the id, its first field, must not look like a framing.
    produce(broker, topic, [value(now_lead(event_id="an-event-of-theirs"))])
    (made,) = await map_newest(
        settings_of(tmp_path, tables(broker, topic, framing=framing, schema_file=schema, fields={})), 1
    )
    assert sent(made)["dedupe_id"] == "an-event-of-theirs"


async def test_a_folder_of_files_by_id_stands_for_a_registry(broker: Broker, names: Names, tmp_path: Path) -> None:
    topic, folder = names.topic("leads"), tmp_path / "schemas"
    folder.mkdir()
    (folder / "7.avsc").write_text(json.dumps(LEAD))
    broker.create_topic(topic)
    payload = encoded(LEAD, now_lead(event_id="e-7"))
    produce(broker, topic, [confluent(7, payload), confluent(8, payload)])
    made = await map_newest(settings_of(tmp_path, tables(broker, topic, schema_file=str(folder), fields={})), 2)
    assert sent(made[0])["dedupe_id"] == "e-7"
    assert isinstance(made[1], Rejection)
    assert made[1].code is Code.UNKNOWN_SCHEMA


async def test_a_recursive_schema_is_refused_and_the_process_lives(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path
) -> None:
    topic = names.topic("leads")
    broker.create_topic(topic)
    tree = {"type": "record", "name": "Tree", "fields": [{"name": "child", "type": nullable("Tree")}]}
    schema_id = register(registry, f"{topic}-value", tree)
    produce(broker, topic, [confluent(schema_id, b"\x02" * 5000)])
    (made,) = await map_newest(settings_of(tmp_path, tables(broker, topic, registry, fields={})), 1)
    assert isinstance(made, Rejection)
    assert made.code is Code.DECODE_ERROR
    assert "recursive" in made.detail


ADDRESS = {
    "type": "record",
    "name": "Address",
    "namespace": "acme.common",
    "fields": [{"name": "street", "type": "string"}],
}
REFERRING = with_fields(
    {"name": "mail", "type": nullable("string"), "default": None}, {"name": "address", "type": "acme.common.Address"}
)
WHOLE = {**REFERRING, "fields": [*REFERRING["fields"][:-1], {"name": "address", "type": ADDRESS}]}


def registered_at_apicurio(registry: Registry, names: Names) -> ApicurioIds:
    """Register a schema with a reference for two artifacts; its content id and the second one's global id differ."""
    address, quote = names.topic("address"), names.topic("quote")
    register(registry, address, ADDRESS)
    reference = SchemaReference("acme.common.Address", address, 1)
    with registry.client() as client:
        for subject in (quote, f"{quote}-again"):
            client.register_schema(subject, Schema(json.dumps(REFERRING), "AVRO", [reference]))
    return apicurio_ids(registry, f"{quote}-again")


@pytest.mark.parametrize("kind", ["content", "global"])
@pytest.mark.parametrize("in_header", [False, True])
async def test_apicurio_s_own_framing_by_content_id_and_by_global_id(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path, kind: str, in_header: bool
) -> None:
    topic = names.topic("quotes")
    broker.create_topic(topic)
    ids = await asyncio.to_thread(registered_at_apicurio, registry, names)
    assert ids.content != ids.of_version
    payload = encoded(WHOLE, now_lead(mail="one@example.com", address={"street": "s"}))
    name = {"content": "apicurio.value.contentId", "global": "apicurio.value.globalId"}[kind]
    produce(
        broker,
        topic,
        [payload if in_header else b"\0" + ids.wire(kind) + payload],
        [(name, ids.wire(kind))] if in_header else [],
    )
    # A header's name states the kind of the id; for an id before the payload the settings do.
    of_source = {"framing": "apicurio"} | ({} if in_header else {"apicurio_id": kind})
    (made,) = await map_newest(settings_of(tmp_path, tables(broker, topic, registry, **of_source)), 1)
    assert sent(made)["user_data"]["email"] == "one@example.com"


@pytest.mark.parametrize("kind", ["content", "global"])
@pytest.mark.parametrize("id_", [2**31 - 1, 2**31, 2**40, 2**63 - 1])
async def test_an_id_that_apicurio_does_not_know_is_an_unknown_schema(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path, kind: str, id_: int
) -> None:
    topic = names.topic("quotes")
    broker.create_topic(topic)
    produce(broker, topic, [b"\0" + id_.to_bytes(8, "big") + b"payload"])
    settings = settings_of(tmp_path, tables(broker, topic, registry, framing="apicurio", apicurio_id=kind))
    (made,) = await map_newest(settings, 1)
    assert isinstance(made, Rejection)
    assert made.code is Code.UNKNOWN_SCHEMA
