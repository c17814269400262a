"""Decimals as connectors and Avro write them, mapped to numbers and to text."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from stream_capi.avro.chunk_parser import ChunkParser
from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.writer_schema import WriterSchema, build
from stream_capi.events.transform import compile_source
from stream_capi.model import Code, Rejection
from tests.events.sources_and_records import LEAD, NOW, apply, lead, nullable, record, rules, sent

VARIABLE: Any = {
    "type": "record",
    "name": "VariableScaleDecimal",
    "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
    "connect.doc": "Variable scaled decimal",
    "connect.version": 1,
    "connect.name": "io.debezium.data.VariableScaleDecimal",
}
BIG = {"type": "bytes", "logicalType": "big-decimal"}


def connect(stated: Any, **more: Any) -> dict[str, Any]:
    name = "org.apache.kafka.connect.data.Decimal"
    return {"type": "bytes", "connect.version": 1, "connect.parameters": {"scale": stated}, "connect.name": name} | more


def unscaled(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def variable(number: int, scale: int) -> dict[str, Any]:
    return {"scale": scale, "value": unscaled(number)}


def big(number: int, scale: int) -> bytes:
    """As Avro's Java library writes it: bytes, then an int."""
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, {"type": "record", "name": "B", "fields": VARIABLE["fields"][::-1]}, variable(number, scale)
    )
    return out.getvalue()


def without(name: str) -> dict[str, Any]:
    return {field["name"]: field["type"] for field in LEAD["fields"] if field["name"] != name}


def made(target: str, kind: Any, given: Any) -> Any:
    raw = record(**without(target), **{target: kind})
    return apply(compile_source(rules(), raw), lead(**{target: given}))


GOOD: list[tuple[Any, Any, str]] = [
    (VARIABLE, variable(3050, 2), "30.50"),
    (VARIABLE, variable(42, 0), "42"),
    (VARIABLE, variable(42, -3), "42000"),
    (VARIABLE, variable(0, 0), "0"),
    (VARIABLE, variable(1, 12), "0.000000000001"),
    (nullable(VARIABLE), variable(3050, 2), "30.50"),
    ({**VARIABLE, "connect.name": "x"}, variable(3050, 2), "30.50"),  # known by its record name
    ({**VARIABLE, "namespace": "com.acme"}, variable(3050, 2), "30.50"),  # known by its connect.name
    (connect("2"), unscaled(3050), "30.50"),
    (connect("0"), unscaled(42), "42"),
    (connect("-3"), unscaled(42), "42000"),
    (connect("2", logicalType="decimal", precision=10, scale=2), unscaled(3050), "30.50"),
    (connect("-3", logicalType="decimal", precision=10, scale=-3), unscaled(42), "42000"),
    (nullable(connect("2")), unscaled(3050), "30.50"),
    (BIG, big(3050, 2), "30.50"),
    (BIG, big(42, -3), "42000"),
    (BIG, big(0, 0), "0"),
    (BIG, big(1 << 100, 2), "12676506002282294014967032053.76"),
    (nullable(BIG), big(3050, 2), "30.50"),
]


@pytest.mark.parametrize(("kind", "given", "right"), GOOD)
def test_a_decimal_is_a_lead_s_value(kind: Any, given: Any, right: str) -> None:
    assert sent(made("value", kind, given))["data"]["value"] == float(right)


@pytest.mark.parametrize(("kind", "given", "right"), GOOD)
def test_a_decimal_is_text_where_text_is_wanted(kind: Any, given: Any, right: str) -> None:
    assert sent(made("user_id", kind, given))["user_data"]["user_id"] == right


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (VARIABLE, variable(-1, 0)),
        (VARIABLE, variable(1, 301)),
        (VARIABLE, variable(1, -301)),
        (VARIABLE, {"scale": 0, "value": b"\1" * 65}),
        ({**VARIABLE, "fields": [{"name": "scale", "type": "string"}]}, {"scale": "2"}),
        ({**VARIABLE, "name": "Other", "connect.name": "com.acme.Other"}, variable(3050, 2)),
        (connect("2"), unscaled(-1)),
        (connect("2"), b"\1" * 65),
        (connect("301"), b"\1"),
        (connect("two"), b"\1"),
        (connect(None), b"\1"),
        (connect("9" * 5000), b"\1"),
        (connect("2", **{"connect.parameters": "2"}), b"\1"),
        (connect("2", **{"connect.name": ["x"]}), b"\1"),
        (BIG, b""),
        (BIG, big(-1, 0)),
        (BIG, big(1, 301)),
        (BIG, big(1, 2)[:-1]),
        (BIG, big(1, 2) + b"\0"),
        (BIG, b"\1\2\4"),  # a negative length
        (BIG, b"\xff" * 20),
        (BIG, b"\x82\x01" + b"\1" * 65 + b"\0"),
    ],
)
def test_what_is_no_decimal_is_refused(kind: Any, given: Any) -> None:
    outcome = made("value", kind, given)
    assert isinstance(outcome, Rejection)
    assert outcome.code is Code.INVALID_FIELD


@pytest.mark.parametrize("count", [1, 300])
def test_a_record_within_a_chunk_is_read_as_a_number(count: int) -> None:
    raw = record(**without("value"), value=nullable(VARIABLE))
    schema = build(FILE_KEY, json.dumps(raw))
    assert isinstance(schema, WriterSchema)
    transform = compile_source(rules(), raw)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw), lead(value=variable(3050, 2)))
    table = ChunkParser(schema, transform.paths).parse([out.getvalue()] * count)
    made_of = transform.apply(table, "leads", 0, range(count), NOW)
    assert [sent(one)["data"]["value"] for one in made_of] == [30.5] * count
