"""The wide and the nested backlog are as docs/performance.md describes them."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from benchmarks.contenders.bare import loaded
from benchmarks.contenders.shapes import NESTED, SHAPES, WIDE, Shape
from benchmarks.settings import settings_of
from benchmarks.templates import Templates, varint_of
from stream_capi.model import EventName
from tests.bench.test_plain import NOW_MS, SETUP

RECORDS = 300


def schema_of(shape: Shape, name: EventName) -> Any:
    return json.loads(shape.schemas[name].read_text())


def records(shape: Shape, name: EventName) -> list[dict[str, Any]]:
    templates = Templates(shape, dict.fromkeys(EventName, 7), seed=5)
    schema: Any = fastavro.parse_schema(schema_of(shape, name))
    values = [templates.value(name, number, varint_of(NOW_MS)) for number in range(RECORDS)]
    found: Any = [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in values]
    return list(found)


@pytest.mark.parametrize("name", EventName)
def test_a_wide_record_has_131_fields_of_which_15_are_mapped_in_each_third_some(name: EventName) -> None:
    fields = [field["name"] for field in schema_of(WIDE, name)["fields"]]
    places = sorted(fields.index(path) for path in WIDE.paths(name).values())
    assert len(fields) == len(set(fields)) == 131
    assert len(places) == len(set(places)) == 15
    assert all(sum(3 * place // 131 == third for place in places) >= 4 for third in range(3))


@pytest.mark.repeat
@pytest.mark.slow
@pytest.mark.parametrize("name", EventName)
def test_three_in_ten_fields_of_a_wide_record_may_be_null_and_are(name: EventName) -> None:
    others = {field["name"] for field in schema_of(WIDE, name)["fields"]} - set(WIDE.paths(name).values())
    found = records(WIDE, name)
    nulls = {field for field in others if all(record[field] is None for record in found)}
    assert len(nulls) == round(0.3 * 131)
    assert all(record[field] is not None for record in found for field in others - nulls)


@pytest.mark.repeat
@pytest.mark.slow
@pytest.mark.parametrize("name", EventName)
def test_a_nested_record_is_an_envelope_that_is_mapped_through_its_row_after(name: EventName) -> None:
    found = records(NESTED, name)
    assert [field["name"] for field in schema_of(NESTED, name)["fields"]][:5] == [
        "before",
        "after",
        "source",
        "op",
        "ts_ms",
    ]
    assert all(path.startswith("after.") for path in NESTED.paths(name).values())
    updates = [record for record in found if record["op"] == "u"]
    assert 0.2 * RECORDS < len(updates) < 0.4 * RECORDS
    assert all((record["before"] is not None) == (record["op"] == "u") for record in found)
    assert all(record["before"]["event_id"] != record["after"]["event_id"] for record in updates)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_program_is_given_the_same_mapping_as_the_others(shape: str) -> None:
    given = settings_of(SETUP._replace(shape=shape))["sources"]
    read = loaded(SETUP._replace(shape=shape)).sources
    for source, as_read, name in zip(given, read, (EventName.GENERATE_LEAD, EventName.PAGE_VIEW), strict=True):
        assert source["fields"] == SHAPES[shape].paths(name)
        assert {target: rule.paths for target, rule in as_read.fields.items()} == {
            target: (path,) for target, path in source["fields"].items()
        }
