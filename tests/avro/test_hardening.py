from __future__ import annotations

import json
from typing import Any

import pytest

from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.hardening import MAX_FIELDS, parse
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build
from stream_capi.model import Code
from tests.avro.records import LEAD, decoder, record, schema


def laughs(levels: int, leaf: Any) -> Any:
    """Nested records of two fields each ("billion laughs"): 2 ** levels of ``leaf`` from a schema of a few lines."""
    for level in range(levels):
        name = f"L{level}"
        fields = [{"name": "a", "type": leaf}, {"name": "b", "type": leaf if isinstance(leaf, str) else leaf["name"]}]
        leaf = {"type": "record", "name": name, "fields": fields}
    return leaf


def nested(levels: int) -> Any:
    raw: Any = "int"
    for level in range(levels):
        raw = {"type": "record", "name": f"N{level}", "fields": [{"name": "n", "type": raw}]}
    return raw


LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
EMPTY = {"type": "record", "name": "Empty", "fields": []}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (LIST, "recursive: L contains itself"),
        (record({"type": "array", "items": "null"}), "items take no bytes"),
        (record({"type": "array", "items": EMPTY}), "items take no bytes"),
        (record({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}), "items take no bytes"),
        (laughs(30, "null"), "too much memory"),
        (nested(70), "deeper than 64"),
        (record(*["int"] * (MAX_FIELDS + 1)), "more than 2000 fields"),
        (record({"type": "fixed", "name": "F", "size": -1}), "no size"),
        (record({"type": "fixed", "name": "F", "size": 10**15}), "no size"),
        (record({"type": "fixed", "name": "F", "size": True}), "no size"),
        (record("nonsuch"), "unknown type nonsuch"),
        (record([]), "a union is empty"),
        (record(["null", ["int"]]), "holds a union"),
        (record({"type": "enum", "name": "E", "symbols": []}), "no symbols"),
        (record({"type": "array"}), "neither a name, a list nor an object"),
        (record(EMPTY, EMPTY), "defined twice"),
        ({"type": "record", "name": "R"}, "no list of fields"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}] * 2}, "no name of its own"),
        ({"type": "record", "name": "R", "fields": [7]}, "no type"),
        ({"type": "record", "fields": []}, "has no name"),
        ("string", "its top level is string"),
        (["null", "string"], "its top level is a union with string"),
        (7, "neither a name"),
    ],
)
def test_a_schema_that_is_not_safe_or_not_avro_is_refused_with_its_rule(raw: Any, reason: str) -> None:
    refused = build(FILE_KEY, json.dumps(raw))
    assert isinstance(refused, RefusedSchema)
    assert reason in refused.reason
    rejection = refused.rejection(FILE_KEY)
    assert rejection.code is Code.DECODE_ERROR
    assert rejection.detail.startswith("schema file is refused: ")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"type":' * 100_000, "\ufeff"])
def test_a_text_that_is_no_json_is_refused(text: str) -> None:
    assert isinstance(build(FILE_KEY, text), RefusedSchema)


def test_the_shipped_contract_is_read_with_names_resolved() -> None:
    lead = schema(LEAD)
    assert lead.name == "stream_capi.Lead"
    assert repr(lead) == "WriterSchema(stream_capi.Lead, schema file)"
    fields = dict(lead.parsed.fields)
    assert fields["esi"].name == "stream_capi.Esi"
    assert [branch.type for branch in fields["email"].branches] == ["null", "string"]
    assert lead.raw["fields"][1]["type"]["logicalType"] == "timestamp-millis"


def test_a_name_is_looked_up_in_its_own_namespace_and_then_without_one() -> None:
    inner = {"type": "enum", "name": "E", "symbols": ["a"]}
    outer = {"type": "record", "name": "x.R", "fields": [{"name": "a", "type": inner}, {"name": "b", "type": "E"}]}
    fields = dict(parse(outer).fields)
    assert fields["a"] is fields["b"]
    assert fields["a"].name == "x.E"


def test_the_limits_leave_room_for_what_people_have() -> None:
    assert parse(nested(60)).depth == 61
    items = {"type": "record", "name": "Item", "fields": [{"name": f"i{k}", "type": "string"} for k in range(20)]}
    many = decoder(record({"type": "array", "items": items}))
    block = [b"\x14" + b"ten bytes!"] * (20 * 2500)  # strings as short as those of an order's items
    payload = b"\x88\x27" + b"".join(block) + b"\0"
    assert len(payload) > 512 * 1024
    assert isinstance(many.decode([payload])[0], dict)
    assert isinstance(build(FILE_KEY, json.dumps(record(*["int"] * MAX_FIELDS))), WriterSchema)


def test_the_digest_is_equal_for_equal_schemas_only() -> None:
    again = json.loads(json.dumps(LEAD))
    assert schema(again).digest == schema(LEAD).digest
    again["fields"][1]["type"] = "long"
    assert schema(again).digest != schema(LEAD).digest


def test_references_are_put_in_where_they_are_first_used() -> None:
    address = {"type": "record", "name": "Address", "namespace": "geo", "fields": [
        {"name": "country", "type": {"type": "enum", "name": "Country", "symbols": ["DE", "US"]}},
        {"name": "plain", "type": "Plain"},
    ]}  # fmt: skip
    plain = {"type": "fixed", "name": "Plain", "size": 2}
    main = {"type": "record", "name": "Lead", "namespace": "sales", "fields": [
        {"name": "first", "type": "geo.Country"},
        {"name": "home", "type": ["null", "geo.Address"]},
        {"name": "work", "type": "geo.Address"},
        {"name": "plain", "type": {"type": "array", "items": "Plain"}},
    ]}  # fmt: skip
    from stream_capi.avro.writer_schema import definitions

    built = build(FILE_KEY, json.dumps(main), definitions(address) | definitions(plain))
    assert isinstance(built, WriterSchema), built
    fields = dict(built.parsed.fields)
    assert fields["home"].branches[1] is fields["work"]
    assert dict(fields["work"].fields)["country"] is fields["first"]
    assert fields["plain"].items is dict(fields["work"].fields)["plain"]
    assert isinstance(build(FILE_KEY, json.dumps(built.raw)), WriterSchema)  # self-contained
    assert isinstance(build(FILE_KEY, json.dumps(main)), RefusedSchema)


def test_a_reference_to_itself_is_recursive_too() -> None:
    refused = build(FILE_KEY, json.dumps(record("L")), {"L": LIST})
    assert isinstance(refused, RefusedSchema)
    assert "recursive" in refused.reason
