"""A record from JSON equals what the decoder returns for it."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_capi.events.plain_json import NotOfSchema, row_from_json
from tests.avro.hostile_schemas import forks
from tests.avro.records import decoder
from tests.avro.records import record as numbered
from tests.events.random_schemas import plain, schemas, values
from tests.events.sources_and_records import nullable, record
from tests.proof.profile import SHORT

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
CENTS = {"type": "fixed", "name": "Cents", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}
INNER = {"type": "record", "name": "Inner", "namespace": "a.b", "fields": [{"name": "x", "type": nullable("string")}]}
OTHER = {"type": "record", "name": "Other", "fields": [{"name": "y", "type": "long"}]}


@pytest.mark.slow
@settings(deadline=None, max_examples=40 if SHORT else 200, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_avro_writes_as_json_is_read_as_the_decoder_reads_its_bytes(data: st.DataObject) -> None:
    raw = plain(data.draw(schemas()))
    value = values(data.draw, raw)
    parsed = fastavro.parse_schema(raw)
    wire, text = io.BytesIO(), io.StringIO()
    fastavro.schemaless_writer(wire, parsed, value)
    fastavro.json_writer(text, parsed, [value])
    (row,) = decoder(raw).decode([wire.getvalue()])
    assert repr(row_from_json(raw, text.getvalue())) == repr(row)  # by repr, since NaN doesn't equal itself


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "x", "x"),
        (nullable("string"), "x", "x"),
        (nullable("string"), {"string": "x"}, "x"),
        (nullable("string"), None, None),
        (["null", "string", "long"], {"long": 7}, 7),
        (["null", "string", "long"], 7, 7),
        (nullable("long"), {"long": 7}, 7),
        (["null", INNER, "string"], {"string": "x"}, "x"),
        (["string", {"type": "map", "values": "long"}], {"k": 1}, {"k": 1}),
        (nullable({"type": "map", "values": "long"}), {"k": 1}, {"k": 1}),
        (nullable({"type": "map", "values": "long"}), {"k": 1, "l": 2}, {"k": 1, "l": 2}),
        (["null", INNER, {"type": "map", "values": "long"}], {"k": 1, "l": 2}, {"k": 1, "l": 2}),
        (["string"], {"string": "x"}, "x"),
        ({"type": ["null", "string"]}, {"string": "x"}, "x"),
        ({"type": "map", "values": "string"}, {"map": "v"}, {"map": "v"}),
        ("int", 2**31 - 1, 2**31 - 1),
        ("int", -(2**31), -(2**31)),
        ("long", 2**63 - 1, 2**63 - 1),
        ("long", -(2**63), -(2**63)),
        ("boolean", False, False),
        ("double", 3, 3.0),
        ("float", 1.5, 1.5),
        ("bytes", "\xff\x00", b"\xff\x00"),
        ({"type": "fixed", "name": "F", "size": 2}, "\x01\x02", b"\x01\x02"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9}, 7, b"\x07"),
        (MONEY, 1.27, b"\x7f"),
        (MONEY, 1.28, b"\x00\x80"),
        (MONEY, 327.67, b"\x7f\xff"),
        (MONEY, 327.68, b"\x00\x80\x00"),
        (MONEY, 0.005, b"\x00"),
        (MONEY, 0.015, b"\x02"),
        (MONEY, 12.5, (1250).to_bytes(2, "big")),
        (MONEY, "\x04\xe2", b"\x04\xe2"),
        (MONEY, -1, (-100).to_bytes(1, "big", signed=True)),
        (CENTS, 12.5, (1250).to_bytes(4, "big")),
        (nullable(INNER), {"x": "v"}, {"x": "v"}),
        (nullable(INNER), {"a.b.Inner": {"x": {"string": "v"}}}, {"x": "v"}),
        (["null", INNER, OTHER], {"y": 7}, {"y": 7}),
        (["null", INNER, OTHER], {"Other": {"y": 7}}, {"y": 7}),
        (INNER, {}, {"x": None}),
        ({"type": "array", "items": nullable("int")}, [1, None, {"int": 2}], [1, None, 2]),
        ({"type": "map", "values": "string"}, {"k": "v"}, {"k": "v"}),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, "a", "a"),
    ],
)
def test_a_value_may_be_written_in_more_ways_than_one(kind: Any, given: Any, value: Any) -> None:
    assert row_from_json(record(f=kind), json.dumps({"f": given})) == {"f": value}


def test_a_field_that_is_left_out_has_its_default() -> None:
    raw = record(a="string", b=nullable("string"))
    raw["fields"][0]["default"] = "d"
    assert row_from_json(raw, "{}") == {"a": "d", "b": None}


@pytest.mark.parametrize(
    ("kind", "given", "fault"),
    [
        ("string", 5, "f is not of type string"),
        ("string", None, "f is null"),
        ("int", 2**31, "f is not of type int"),
        ("int", -(2**31) - 1, "f is not of type int"),
        ("int", 1.5, "f is not of type int"),
        ("long", 2**63, "f is not of type long"),
        ("long", -(2**63) - 1, "f is not of type long"),
        ("long", True, "f is not of type long"),
        ("double", True, "f is not of type double"),
        ("bytes", 5, "f is not of type bytes"),
        (MONEY, True, "f is not of type bytes"),
        (nullable("string"), {"long": 5}, "f is not of type string"),
        (nullable("string"), {"string": 5}, "f is not of type string"),
        (nullable("string"), {"string": "x", "long": 5}, "f is not of type string"),
        ("string", {"string": "x"}, "f is not of type string"),
        (["null", "string", "long"], {"string": 5}, "f is not of type string"),
        ("null", 5, "f fits none of the types it may have"),
        ("boolean", "true", "f is not of type boolean"),
        ("double", "1", "f is not of type double"),
        ("bytes", "€", "f is not of type bytes"),
        (CENTS, 10**9, "f is not of type fixed"),
        (MONEY, float("nan"), "f is not of type bytes"),
        (MONEY, float("inf"), "f is not of type bytes"),
        ({"type": "fixed", "name": "F", "size": 2}, "x", "f is not of type fixed"),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, "b", "f is not of type enum"),
        (INNER, {"x": 5}, "f.x is not of type string"),
        (INNER, {"z": 5}, "f has no field z"),
        (INNER, [], "f is not a record"),
        ({"type": "array", "items": "string"}, ["a", 5], "f[1] is not of type string"),
        ({"type": "array", "items": "string"}, "ab", "f is not of type array"),
        ({"type": "map", "values": "string"}, ["a"], "f is not of type map"),
        ("string", ["a"], "f is not of type string"),
        ({"type": "map", "values": "string"}, {"k": 5}, 'f."k" is not of type string'),
        (["null", "string", "long"], True, "f fits none of the types it may have"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_without_its_value(kind: Any, given: Any, fault: str) -> None:
    with pytest.raises(NotOfSchema) as told:
        row_from_json(record(f=kind), json.dumps({"f": given}))
    assert str(told.value) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not a record"),
        ("null", "it is null"),
        ("{}", "f is missing"),
        ('{"f": "a", "g": 1}', "the schema has no field g"),
    ],
)
def test_what_is_no_record_at_all_is_told(text: str, fault: str) -> None:
    with pytest.raises(NotOfSchema) as told:
        row_from_json(record(f="string"), text)
    assert str(told.value) == fault


def test_a_schema_of_something_else_than_records_is_told() -> None:
    with pytest.raises(NotOfSchema, match="it is not one record"):
        row_from_json("string", '"x"')


def test_unions_of_the_same_records_are_asked_each_once() -> None:
    inner: Any = "x"
    for name in reversed("abcdefgh"):
        inner = {name: inner}
    begun = time.perf_counter()
    with pytest.raises(NotOfSchema, match="f0 fits none of the types"):
        row_from_json(numbered(forks("abcdefgh", 10)), json.dumps({"f0": inner}))
    assert time.perf_counter() - begun < 2


def test_a_number_that_no_decimal_holds_is_no_json() -> None:
    with pytest.raises(NotOfSchema, match="it is not JSON"):
        row_from_json(numbered("double"), '{"f0": 1e99999999999999999999}')


def test_records_within_records_without_end_are_refused() -> None:
    chain = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"], "default": None}]}
    with pytest.raises(NotOfSchema, match="nested too deep"):
        row_from_json(chain, '{"next": ' * 600 + "null" + "}" * 600)
