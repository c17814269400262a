"""Schemas whose top level is a union: each payload is decoded by the branch that wrote it, or is rejected alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_capi.avro.branches import Share, split
from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.hardening import MAX_FIXED_MEMORY
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build, definitions
from stream_capi.model import Code, Rejection
from tests.avro.records import encode, record, schema


def named(name: str, *types: Any) -> dict[str, Any]:
    return record(*types) | {"name": name, "namespace": "acme"}


LEAD, VIEW = named("Lead", "string", "long"), named("View", "long")
UNION = ["null", LEAD, VIEW]


def of(name: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return f"acme.{name}", fields


def test_a_union_of_records_and_null_has_a_schema_for_each_branch() -> None:
    union = schema(UNION)
    assert union.name == "acme.Lead | acme.View"
    null, lead, view = union.records
    assert null is None
    assert lead is not None
    assert view is not None
    assert [lead.name, view.name] == ["acme.Lead", "acme.View"]
    assert [lead.parsed.type, view.parsed.type] == ["record", "record"]
    assert lead.raw == union.raw, "types that another branch defines are found there"
    alone = schema(LEAD)
    assert alone.records == (alone,)


def test_a_union_may_name_records_that_it_refers_to() -> None:
    """Confluent's way to have several event types in one topic: a union of references."""
    union = build(FILE_KEY, json.dumps(["null", "acme.Lead", "acme.View"]), definitions(LEAD) | definitions(VIEW))
    assert isinstance(union, WriterSchema)
    assert [record and record.name for record in union.records] == [None, "acme.Lead", "acme.View"]
    shares, _ = split(union.parsed, [encode(UNION, of("View", f0=7))])
    view = union.records[2]
    assert view is not None
    assert Decoder(view).decode(shares[2].payloads) == [{"f0": 7}]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (["null"], "its top level is a union without a record"),
        (["null", LEAD, "string"], "its top level is a union with string, but an event must be a record"),
        ([{"type": "map", "values": "int"}, LEAD], "its top level is a union with map"),
        ([LEAD, LEAD], "defined twice"),
        ([LEAD, "acme.Lead"], "its top level has acme.Lead twice"),
        (["null", "null", LEAD], "its top level has null twice"),
        ([], "a union is empty"),
    ],
)
def test_a_union_of_anything_else_is_refused_with_its_rule(raw: Any, reason: str) -> None:
    refused = build(FILE_KEY, json.dumps(raw))
    assert isinstance(refused, RefusedSchema)
    assert reason in refused.reason


def test_the_smallest_value_of_a_branch_is_bounded_as_that_of_a_record_is() -> None:
    leaf: Any = "null"
    for level in range(30):
        again = leaf if isinstance(leaf, str) else leaf["name"]
        fields = [{"name": "a", "type": leaf}, {"name": "b", "type": again}]
        leaf = {"type": "record", "name": f"L{level}", "fields": fields}
    refused = build(FILE_KEY, json.dumps(["null", leaf]))
    assert isinstance(refused, RefusedSchema)
    assert "too much memory" in refused.reason
    assert MAX_FIXED_MEMORY < 2**30


def test_payloads_are_shared_out_in_their_order() -> None:
    payloads = [
        encode(UNION, of("View", f0=7)),
        encode(UNION, of("Lead", f0="ä", f1=-1)),
        encode(UNION, None),
        encode(UNION, of("View", f0=-8)),
    ]
    shares, faults = split(schema(UNION).parsed, payloads)
    assert faults == {}
    assert shares == {
        2: Share([0, 3], [payloads[0][1:], payloads[3][1:]]),
        1: Share([1], [payloads[1][1:]]),
        0: Share([2], [b""]),
    }
    lead = schema(UNION).records[1]
    assert lead is not None
    assert Decoder(lead).decode(shares[1].payloads) == [{"f0": "ä", "f1": -1}]


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b"", "the value ends early (at or after byte 0 of 0)"),
        (b"\x06", "no such branch of a union (at or after byte 0 of 1)"),
        (b"\x01", "no such branch of a union (at or after byte 0 of 1)"),
        (b"\x84\x00\x02", "no such branch of a union (at or after byte 0 of 3)"),
        (b"\x00\x00", "bytes are left over (at or after byte 1 of 2)"),
    ],
)
def test_a_payload_of_no_branch_is_rejected_alone(payload: bytes, detail: str) -> None:
    good = encode(UNION, of("View", f0=7))
    shares, faults = split(schema(UNION).parsed, [good, payload, good])
    assert faults == {1: Rejection(Code.DECODE_ERROR, detail)}
    assert shares == {2: Share([0, 2], [good[1:]] * 2)}


def test_a_union_of_more_branches_than_a_byte_counts() -> None:
    many = [named(f"R{at}", "int") for at in range(200)]
    payloads = [encode(many, of(f"R{at}", f0=at)) for at in (0, 63, 64, 199)]
    union = schema(many)
    shares, faults = split(union.parsed, [*payloads, b"\x90\x03", b"\x83\x01", b"\x80"])
    assert sorted(shares) == [0, 63, 64, 199]
    for branch, share in shares.items():
        one = union.records[branch]
        assert one is not None
        assert Decoder(one).decode(share.payloads) == [{"f0": branch}]
    assert {at: fault.detail for at, fault in faults.items()} == {
        4: "no such branch of a union (at or after byte 0 of 2)",
        5: "no such branch of a union (at or after byte 0 of 2)",
        6: "the value ends early (at or after byte 0 of 1)",
    }
