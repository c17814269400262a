"""Framing ``auto`` takes a record without framing for raw where one file has its schema, and not where a folder has several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stream_capi.avro.framing import Unframed
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.config import Settings
from stream_capi.events.selecting import by_id
from stream_capi.model import Code, Rejection
from stream_capi.operations.explain import explain_records
from stream_capi.operations.recent_records import key_of
from stream_capi.operations.topic_selector import TopicSelector
from stream_capi.pipeline.configured_sources import source_of
from tests.avro.records import LEAD, SCHEMAS, encode, lead
from tests.fake_record import FakeRecord

VALUE = encode(LEAD, lead())
RECORD = FakeRecord(VALUE)


def settings(schemas: Path) -> Settings:
    source = {
        "topic": "leads",
        "event": "generate_lead",
        "pixel": "main",
        "framing": "auto",
        "schema_file": str(schemas),
    }
    pixel = {"name": "main", "pixel_id": "p", "api_key_env": "KEY"}
    return Settings.model_validate({"pixels": [pixel], "sources": [source]})


async def framed(stated: Settings) -> object:
    nothing: Any = None
    source = source_of(stated, "leads", SchemaSources(stated).for_source, lambda _: nothing)
    (found,) = source.frame([RECORD], [VALUE])
    return found.rejection if isinstance(found, Unframed) else found


async def selected(stated: Settings) -> object:
    schemas = SchemaSources(stated)
    selector = TopicSelector(stated, schemas, "leads", lambda rules, schema: by_id(rules, schema, "event_id", "e-1"))
    return (await selector.of([RECORD]))[0]


async def explained(stated: Settings) -> object:
    return (await explain_records(stated, stated.sources, [RECORD]))[0].outcome


async def checked(stated: Settings) -> object:
    return key_of(stated.sources[0], RECORD)


@pytest.mark.parametrize("read", [framed, selected, explained, checked])
async def test_a_record_without_framing_is_raw_only_where_one_file_has_its_schema(
    read: Callable[[Settings], Awaitable[object]],
) -> None:
    said = f"no Confluent prefix: first byte 0x{VALUE[0]:02x}, {len(VALUE)} bytes"
    assert await read(settings(SCHEMAS)) == Rejection(Code.DECODE_ERROR, said)
    found = await read(settings(SCHEMAS / "lead.avsc"))
    assert not (isinstance(found, Rejection) and found.code is Code.DECODE_ERROR)
