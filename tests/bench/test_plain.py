"""The mapping that the contenders share makes the same bytes as the program's own, or the comparison means nothing."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import pytest

from benchmarks.backlog import Templates, names_of, varint_of
from benchmarks.contenders.bare import loaded, mapping_of
from benchmarks.contenders.plain import server_event
from benchmarks.contenders.setup import SCHEMAS, SetUp
from stream_capi.model import EventName

pytestmark = pytest.mark.slow

SETUP = SetUp("127.0.0.1:1", "http://127.0.0.1:1", "g", "leads", "views", "http://127.0.0.1:1/v1/event", "p", "k")
PLACES = {EventName.GENERATE_LEAD: 0, EventName.PAGE_VIEW: 1}
NOW_MS = int(time.time() * 1000)


def decoded(name: EventName, payload: bytes) -> dict[str, Any]:
    schema: Any = fastavro.parse_schema(json.loads(SCHEMAS[name].read_text()))
    record: Any = fastavro.schemaless_reader(io.BytesIO(payload), schema, None)
    return dict(record)


@pytest.mark.parametrize("name", EventName)
def test_contenders_and_program_make_the_same_bytes(name: EventName) -> None:
    templates = Templates(dict.fromkeys(EventName, 7), seed=3)
    payloads = [templates.value(name, number, varint_of(NOW_MS))[5:] for number in range(1000)]
    mapped = mapping_of(loaded(SETUP), PLACES[name], NOW_MS)(payloads)
    assert mapped == [server_event(name.value, decoded(name, payload)) for payload in payloads]


def test_each_event_of_a_backlog_has_an_id_of_its_own_and_the_time_it_was_given() -> None:
    templates = Templates(dict.fromkeys(EventName, 7), seed=3)
    names = list(names_of(10))
    records = [decoded(name, templates.value(name, n, varint_of(NOW_MS))[5:]) for n, name in enumerate(names)]
    assert len({record["event_id"] for record in records}) == len(names)
    assert {int(record["event_time"].timestamp() * 1000) for record in records} == {NOW_MS}
    assert names.count(EventName.GENERATE_LEAD) == 3
