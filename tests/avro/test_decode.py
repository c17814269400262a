from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_capi.avro.hardening import MAX_PAYLOAD
from stream_capi.model import Code, Rejection
from tests.avro.records import CANARY, LEAD, decoder, encode, lead, record
from tests.proof.profile import SHORT

LEAD_DECODER = decoder(LEAD)


def fault(raw: Any, payload: bytes) -> str:
    (result,) = decoder(raw).decode([payload])
    assert isinstance(result, Rejection), result
    assert result.code is Code.DECODE_ERROR
    return result.detail


def varint(n: int) -> bytes:
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def test_a_lead_comes_out_as_it_went_in_with_its_time_as_written() -> None:
    full = lead(zip="94025", os="iOS", dedupe_id="")
    assert LEAD_DECODER.decode([encode(LEAD, full), encode(LEAD, lead())]) == [full, lead()]


def test_nothing_in_nothing_out() -> None:
    assert LEAD_DECODER.decode([]) == []


def test_a_corrupt_record_leaves_its_neighbours_alone() -> None:
    good = encode(LEAD, lead())
    for cut in range(len(good)):
        first, bad, last = LEAD_DECODER.decode([good, good[:cut], good])
        assert first == last == lead()
        assert isinstance(bad, Rejection)
        assert bad.code is Code.DECODE_ERROR


def test_an_event_holds_no_more_than_its_bytes() -> None:
    assert fault(record("int"), b"\x02\x02") == "bytes are left over (at or after byte 1 of 2)"
    assert fault(record("null"), b"\0") == "bytes are left over (at or after byte 0 of 1)"


ENUM = {"type": "enum", "name": "E", "symbols": ["a", "b"]}
MANY = {"type": "enum", "name": "M", "symbols": [f"s{k}" for k in range(100)]}
WIDE = ["null", *({"type": "fixed", "name": f"F{k}", "size": 1} for k in range(99))]


BROKEN_RULES: list[tuple[Any, bytes, str]] = [
    (["null", "string"], varint(-1) + b"\x02x", "no such branch"),
    (["null", "string"], varint(2), "no such branch"),
    (["null", "string"], b"", "ends early"),
    (WIDE, varint(-1), "no such branch"),
    (WIDE, varint(100) + b"x", "no such branch"),
    (ENUM, varint(-1), "no such enum symbol"),
    (ENUM, varint(2), "no such enum symbol"),
    (MANY, varint(-1), "no such enum symbol"),
    (MANY, varint(100), "no such enum symbol"),
    ("boolean", b"\x02", "no such enum symbol or boolean"),
    ("string", varint(-1), "a length is negative"),
    ("string", varint(-(2**40)), "a length is negative"),
    ("bytes", varint(-1), "a length is negative"),
    ("string", varint(5) + b"abc", "ends early"),
    ("string", varint(2**60), "ends early"),
    ("bytes", varint(2**62), "ends early"),
    ("string", b"\x06\xff\xfe\xfd", "not UTF-8"),
    ("string", varint(2) + b"\xed\xa0", "not UTF-8"),
    ("long", b"\x80" * 9, "ends early"),
    ("long", b"\xff" * 11, "longer than 64 bits"),
    ("long", b"\xff" * 9 + b"\x02", "longer than 64 bits"),
    ("double", b"\0" * 7, "ends early"),
    ("float", b"\0" * 3, "ends early"),
    ({"type": "fixed", "name": "F", "size": 4}, b"abc", "ends early"),
    ({"type": "array", "items": "int"}, varint(2**60) + b"\x02", "more items than the bytes left"),
    ({"type": "array", "items": "int"}, varint(-(2**60)) + varint(1) + b"\x02", "more items than the bytes left"),
    ({"type": "array", "items": "int"}, varint(-(2**63)) + varint(1) + b"\x02", "more items than the bytes left"),
    ({"type": "array", "items": "double"}, varint(2) + b"\0" * 15, "more items than the bytes left"),
    ({"type": "map", "values": "null"}, varint(10**8) + b"\0", "more items than the bytes left"),
    ({"type": "array", "items": "int"}, varint(1) + b"\x02", "ends early"),
]


@pytest.mark.parametrize(("kind", "payload", "detail"), BROKEN_RULES)
def test_bytes_that_break_a_rule_are_rejected_with_it(kind: Any, payload: bytes, detail: str) -> None:
    assert detail in fault(record(kind), payload)


def test_no_error_repeats_what_stood_in_the_event() -> None:
    good = encode(LEAD, lead())
    for position in range(len(good)):
        for byte in (0, 1, 0x7F, 0xFF):
            (result,) = LEAD_DECODER.decode([good[:position] + bytes([byte]) + good[position + 1 :]])
            if isinstance(result, Rejection):
                assert not any(part in repr(result) for part in (CANARY, "canary", "example.com", "shop.", "172."))
    assert CANARY not in repr(LEAD_DECODER)


def test_a_payload_beyond_the_schemas_limit_is_rejected_before_it_is_read() -> None:
    text = record("string")
    at_most = MAX_PAYLOAD - 4
    (result,) = decoder(text).decode([varint(at_most) + b"x" * at_most])
    assert isinstance(result, dict)
    assert "larger than" in fault(text, varint(at_most + 1) + b"x" * (at_most + 1))


def test_blocks_with_a_size_and_several_blocks_are_read() -> None:
    ints = record({"type": "array", "items": "int"})
    payload = varint(-2) + varint(2) + b"\x02\x04" + varint(1) + b"\x06" + b"\0"
    assert decoder(ints).decode([payload]) == [{"f0": [1, 2, 3]}]
    pairs = record({"type": "map", "values": "long"})
    assert decoder(pairs).decode([varint(-1) + varint(3) + b"\x02a" + b"\x02" + b"\0"]) == [{"f0": {"a": 1}}]


def test_logical_types_stay_as_written() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 900_000, "scale": 2}
    raw = record(decimal, {"type": "int", "logicalType": "date"}, {"type": "string", "logicalType": "uuid"})
    big = b"\x7f" * 400_000  # converting it takes 16 s
    payload = varint(len(big)) + big + varint(20_000) + varint(2) + b"no"
    assert decoder(raw).decode([payload]) == [{"f0": big, "f1": 20_000, "f2": "no"}]


def test_names_from_a_schema_are_never_code() -> None:
    name = "a': 1}; raise SystemExit('{\\"
    raw = {"type": "record", "name": name, "fields": [{"name": name, "type": ENUM | {"symbols": [name]}}]}
    assert decoder(raw).decode([b"\0"]) == [{name: name}]


def test_a_type_that_many_fields_share_is_compiled_once() -> None:
    raw: Any = {"type": "record", "name": "L0", "fields": [{"name": "a", "type": ["null", "int"]}]}
    for level in range(1, 12):  # 2 ** 12 types if it were expanded
        fields = [{"name": "a", "type": ["null", raw]}, {"name": "b", "type": ["null", f"L{level - 1}"]}]
        raw = {"type": "record", "name": f"L{level}", "fields": fields}
    assert decoder(raw).decode([b"\0\0", b"\x02\0\x02\0\0\0", b"\x02"])[:1] == [{"a": None, "b": None}]


# Random schemas and values, compared with fastavro's writer and reader

PRIMITIVE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=80),
    "string": st.text(max_size=80),
}


@st.composite
def types_and_values(draw: st.DrawFn, depth: int = 3) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type, and a strategy for values of it."""
    kinds = [*PRIMITIVE, "enum", "fixed", *(["array", "map", "union", "record"] if depth else [])]
    kind = draw(st.sampled_from(kinds))
    name = f"T{draw(st.uuids()).hex}"
    if kind in PRIMITIVE:
        return kind, PRIMITIVE[kind]
    if kind == "enum":
        symbols = [f"s{k}" for k in range(draw(st.integers(1, 130)))]
        return {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
    if kind == "fixed":
        size = draw(st.integers(0, 20))
        return {"type": "fixed", "name": name, "size": size}, st.binary(min_size=size, max_size=size)
    if kind == "record":
        parts = draw(st.lists(types_and_values(depth=depth - 1), max_size=4))
        fields = [{"name": f"f{k}", "type": raw} for k, (raw, _) in enumerate(parts)]
        values = st.fixed_dictionaries({f"f{k}": value for k, (_, value) in enumerate(parts)})
        return {"type": "record", "name": name, "fields": fields}, values
    raw, values = draw(types_and_values(depth=depth - 1).filter(lambda drawn: not isinstance(drawn[0], list)))
    if kind == "union":
        other = "string" if raw == "null" else "null"
        return ["null", raw] if other == "null" else ["string", "null"], st.one_of(st.none(), values)
    if kind == "array":
        item = {"type": "record", "name": name, "fields": [{"name": "n", "type": "int"}, {"name": "v", "type": raw}]}
        return {"type": "array", "items": item}, st.lists(
            st.fixed_dictionaries({"n": PRIMITIVE["int"], "v": values}), max_size=4
        )
    return {"type": "map", "values": raw}, st.dictionaries(st.text(max_size=5), values, max_size=4)


@st.composite
def events(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    parts = draw(st.lists(types_and_values(), min_size=1, max_size=5))
    raw = record(*(part for part, _ in parts))
    values = st.fixed_dictionaries({f"f{k}": value for k, (_, value) in enumerate(parts)})
    return raw, draw(st.lists(values, min_size=1, max_size=3))


BOUNDED = settings(
    max_examples=30 if SHORT else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.slow
@BOUNDED
@given(events())
def test_any_record_of_any_schema_is_read_as_fastavro_reads_it(event: tuple[Any, list[Any]]) -> None:
    raw, values = event
    payloads = [encode(raw, value) for value in values]
    oracle = [fastavro.schemaless_reader(io.BytesIO(p), fastavro.parse_schema(raw), None) for p in payloads]
    assert decoder(raw).decode(payloads) == oracle


@pytest.mark.slow
@BOUNDED
@given(events(), st.data())
def test_damaged_bytes_give_a_rejection_or_a_record_but_never_an_exception(
    event: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    raw, values = event
    good = encode(raw, values[0])
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    before, middle, after = decoder(raw).decode([good, bytes(damaged), good])
    assert before == after
    assert isinstance(before, dict)
    if isinstance(middle, Rejection):
        assert middle.code is Code.DECODE_ERROR
        assert len(middle.detail) < 120


@BOUNDED
@given(st.lists(st.binary(max_size=400), max_size=4))
def test_random_bytes_are_never_more_than_a_rejection(payloads: list[bytes]) -> None:
    results = LEAD_DECODER.decode(payloads)
    assert [type(result) in (dict, Rejection) for result in results] == [True] * len(payloads)


GREEDY: list[tuple[Any, bytes]] = [
    (record({"type": "array", "items": {"type": "array", "items": "int"}}), varint(4000) + b"\0" * 4001),
    (record({"type": "array", "items": "boolean"}), varint(4000) + b"\1" * 4000 + b"\0"),
    (
        record({"type": "array", "items": {**record("boolean", *["null"] * 200), "name": "Item"}}),
        varint(500) + b"\1" * 500 + b"\0",
    ),
    (record({"type": "map", "values": {"type": "map", "values": "null"}}), varint(128) + b"".join(bytes([2, k, 0]) for k in range(128)) + b"\0"),
    (record("string"), varint(4003) + "😀".encode() + b"x" * 3999),
    (record({"type": "array", "items": ["null", "string"]}), varint(2000) + b"\2\0" * 2000 + b"\0"),
    (record({"type": "array", "items": "long"}), varint(2000) + b"\xfe\x7f" * 2000 + b"\0"),
    (record({"type": "map", "values": "double"}), varint(100) + b"".join(b"\2" + bytes([k]) + b"\1" * 8 for k in range(100)) + b"\0"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "payload"), GREEDY)
def test_the_memory_of_the_greediest_payloads_is_within_what_the_schema_states(raw: Any, payload: bytes) -> None:
    decode = decoder(raw)
    decode.decode([payload])
    tracemalloc.start()
    (result,) = decode.decode([payload])
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(result, dict)
    assert used <= decode.overhead + decode.amplification * len(payload) + 4096


HOSTILE = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.writer_schema import RefusedSchema, build
from stream_capi.avro.decode import Decoder
from stream_capi.model import Rejection
from tests.avro.records import decoder, record
started = time.process_time()
recursive = '{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}'
assert isinstance(build(FILE_KEY, recursive), RefusedSchema)
deep = '{"type":"array","items":' * 200_000 + '"int"' + '}' * 200_000
assert isinstance(build(FILE_KEY, deep), RefusedSchema)
assert isinstance(build(FILE_KEY, '[' * 5_000_000), RefusedSchema)
inner = record({"type": "array", "items": {"type": "array", "items": {"type": "array", "items": "boolean"}}})
big = b"\\x80\\x80\\x80\\x04" + bytes(4 << 20)
for payload in (big, b"\\xff" * (4 << 20), bytes(4 << 20), b"\\x80" * (4 << 20)):
    (result,) = decoder(inner).decode([payload])
    assert isinstance(result, Rejection), type(result)
print("alive", time.process_time() - started < 20)
"""


@pytest.mark.slow
def test_hostile_schemas_and_payloads_leave_the_process_alive_within_a_gibibyte() -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "alive True\n"), done.stderr[-2000:]
