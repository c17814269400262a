"""The contenders' plain mapping makes the same bytes as the program's; otherwise the comparison would mean nothing."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import pytest

from benchmarks.contenders import plain
from benchmarks.contenders.bare import loaded
from benchmarks.contenders.setup import SetUp
from benchmarks.contenders.shapes import SHAPES, SHIPPED
from benchmarks.mapping import mapping_of
from benchmarks.templates import Templates, names_of, varint_of
from stream_capi.model import EventName

pytestmark = [pytest.mark.slow, pytest.mark.repeat]

SETUP = SetUp("127.0.0.1:1", "http://127.0.0.1:1", "g", "leads", "views", "http://127.0.0.1:1/v1/event", "p", "k")
PLACES = {EventName.GENERATE_LEAD: 0, EventName.PAGE_VIEW: 1}
NOW_MS = int(time.time() * 1000)


def decoded(shape: str, name: EventName, payload: bytes) -> dict[str, Any]:
    schema: Any = fastavro.parse_schema(json.loads(SHAPES[shape].schemas[name].read_text()))
    out = io.BytesIO(payload)
    record: Any = fastavro.schemaless_reader(out, schema, None)
    assert not out.read(), "bytes are left over behind the record"
    return dict(record)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EventName)
def test_contenders_and_program_make_the_same_bytes(name: EventName, shape: str) -> None:
    templates = Templates(SHAPES[shape], dict.fromkeys(EventName, 7), seed=3)
    payloads = [templates.value(name, number, varint_of(NOW_MS))[5:] for number in range(1000)]
    mapped = mapping_of(loaded(SETUP._replace(shape=shape)), PLACES[name], shape, NOW_MS)(payloads)
    by_hand = plain.mapping_of(shape, name.value)
    assert mapped == [by_hand(decoded(shape, name, payload)) for payload in payloads]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_event_of_a_backlog_has_an_id_of_its_own_and_the_time_it_was_given(shape: str) -> None:
    templates = Templates(SHAPES[shape], dict.fromkeys(EventName, 7), seed=3)
    names = list(names_of(10))
    values = [templates.value(name, number, varint_of(NOW_MS)) for number, name in enumerate(names)]
    assert all(value[:5] == b"\x00\x00\x00\x00\x07" for value in values)
    events = [
        json.loads(plain.mapping_of(shape, name.value)(decoded(shape, name, value[5:])))
        for name, value in zip(names, values, strict=True)
    ]
    assert len({event["dedupe_id"] for event in events}) == len(names)
    assert {event["event_time"] for event in events} == {NOW_MS}
    assert names.count(EventName.GENERATE_LEAD) == 3


def test_the_shipped_contract_is_mapped_by_its_own_names() -> None:
    assert not any(SHIPPED.columns.values())
