"""Schemas whose registry rules encrypt fields: which sources may read their records, also with a union at the top."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from stream_capi.avro.encryption import encrypted, rules_of
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.writer_schema import WriterSchema, build, definitions
from stream_capi.config.settings import SourceSection
from stream_capi.errors import FieldsEncrypted
from stream_capi.events.rules import SourceRules
from stream_capi.events.transform import compile_source
from stream_capi.model import Skipped
from stream_capi.operations.recent_records import unreadable
from stream_capi.pipeline.source import Branches, Codec, SharedTopic, TopicSource
from tests.avro.one_schema import OneSchema
from tests.events.line import encoded
from tests.events.sources_and_records import LEAD, PAGE_VIEW, TOPIC, lead, page_view, rules
from tests.fake_record import FakeRecord

KEY = SchemaKey("id", 7)
LEAD_NAME, VIEW_NAME = "stream_capi.Lead", "stream_capi.PageView"
VIEW = PAGE_VIEW | {
    "fields": [field | {"type": "Esi"} if field["name"] == "esi" else field for field in PAGE_VIEW["fields"]]
}
UNION: Any = ["null", LEAD, VIEW]
CIPHERTEXT = "TTMxMDY1MDU1NTEyMTIxMg=="


def schema(raw: Any, *fields: str, kind: str = "ENCRYPT") -> WriterSchema:
    """A schema whose rules encrypt these fields, given by full names."""
    built = build(KEY, json.dumps(raw))
    stated = rules_of(
        {
            "ruleSet": {"domainRules": [{"name": "r", "type": kind, "tags": ["PII"]}]},
            "metadata": {"tags": {field: ["PII"] for field in fields}},
        }
    )
    assert isinstance(built, WriterSchema)
    assert stated is not None
    return replace(built, encrypted=encrypted(stated, definitions(built.raw)))


def source(one: WriterSchema, of_rules: SourceRules | None = None, record: str | None = None) -> TopicSource:
    mapping = of_rules or rules()
    return TopicSource(
        TOPIC,
        "confluent",
        OneSchema(one),
        lambda schema: compile_source(mapping, schema.raw, schema.name),
        mapping.lane,
        mapping.pixel,
        1.0,
        record=record,
    )


def waits(of: TopicSource) -> str:
    """Why records of the schema wait; empty if they don't."""
    try:
        coded = asyncio.run(of.load(KEY))
    except FieldsEncrypted as error:
        assert of.codec(KEY) is None, "asked again"
        return str(error)
    assert of.codec(KEY) is coded
    return ""


def test_one_encrypted_record_of_a_union_holds_its_records_and_says_which_one_it_is() -> None:
    reason = waits(source(schema(UNION, f"{VIEW_NAME}.email")))
    assert reason.startswith(f"{VIEW_NAME}: the registry's rules encrypt fields that are mapped (ENCRYPT): email")
    assert "ENCRYPT_PAYLOAD" in waits(source(schema(UNION, kind="ENCRYPT_PAYLOAD")))
    assert waits(source(schema(UNION, f"{VIEW_NAME}.absent"))) == ""


def test_what_a_union_encrypts_in_a_record_that_no_source_is_for_is_no_matter() -> None:
    of_lead = source(schema(UNION, f"{VIEW_NAME}.email"), record=LEAD_NAME)
    assert waits(of_lead) == ""
    coded = of_lead.codec(KEY)
    assert isinstance(coded, Branches)
    assert [type(codec) for codec in coded.codecs] == [Skipped, Codec, Skipped]
    assert VIEW_NAME in waits(source(schema(UNION, f"{VIEW_NAME}.email"), record=VIEW_NAME))


@pytest.mark.parametrize(("field", "is_held"), [("email", True), ("zip", True), ("event_id", True), ("absent", False)])
def test_sources_that_share_a_topic_are_held_by_what_one_of_them_maps(field: str, is_held: bool) -> None:
    one = schema(UNION, f"{VIEW_NAME}.{field}")
    members = [source(one, record=LEAD_NAME), source(one, rules(event="page_view"), record=VIEW_NAME)]
    assert bool(waits(SharedTopic(members, None))) is is_held


@pytest.mark.parametrize("target", ["email", "phone"])
def test_ciphertext_is_not_compared_with_a_list_of_people_either(target: str) -> None:
    one = schema(LEAD, f"{LEAD_NAME}.{target}")
    assert waits(source(one, rules(pixel="strict"))) == "", "which sends neither of them"
    assert f"(ENCRYPT): {target}" in waits(source(one, rules(pixel="strict", suppress=True)))


def unread(one: WriterSchema, payload: bytes, of_rules: SourceRules | None = None, **stated: Any) -> str | None:
    """What ``check`` reports on a recent record."""
    section = SourceSection(topic=TOPIC, **stated)
    record: Any = FakeRecord(b"\0\0\0\0\x07" + payload)
    return asyncio.run(unreadable(section, of_rules or rules(), OneSchema(one), [record]))


LEADS = encoded(UNION, (LEAD_NAME, lead(email=CIPHERTEXT)))  # type: ignore[arg-type]  # a pair names the branch
VIEWS = encoded(UNION, (VIEW_NAME, page_view(email=CIPHERTEXT)))  # type: ignore[arg-type]


def test_check_reads_a_recent_record_of_a_union_by_its_own_branch() -> None:
    one = schema(UNION, f"{VIEW_NAME}.email")
    assert unread(one, LEADS) is None
    assert unread(one, b"\0") is None, "a tombstone"
    fault = unread(one, VIEWS)
    assert fault is not None
    assert f"{VIEW_NAME}: the registry's rules encrypt" in fault
    assert CIPHERTEXT not in fault
    assert unread(one, VIEWS, record=LEAD_NAME) is None, "it is of another source"
    assert "no such branch" in str(unread(one, b"\x08" + LEADS[1:]))
    assert "at or after byte" in str(unread(one, LEADS[:-1]))
    assert "ENCRYPT_PAYLOAD" in str(unread(schema(UNION, kind="ENCRYPT_PAYLOAD"), b"\xff\xff"))


def test_check_looks_at_what_is_compared_with_a_list_of_people() -> None:
    one = schema(LEAD, f"{LEAD_NAME}.email")
    payload = encoded(LEAD, lead(email=CIPHERTEXT))
    assert unread(one, payload, rules(pixel="strict")) is None
    assert "(ENCRYPT): email" in str(unread(one, payload, rules(pixel="strict", suppress=True)))
