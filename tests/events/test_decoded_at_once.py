"""A run whose decoded rows would take far more memory than its bytes is decoded and mapped in slices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_capi.avro.hardening import MAX_DECODED
from stream_capi.model import Code, Rejection
from stream_capi.pipeline import source
from tests.events.line import Line, encoded, line_of, memory
from tests.events.sources_and_records import LEAD, lead

ITEM = {"type": "record", "name": "Item", "fields": [{"name": "x", "type": "int"}]}
RAW: Any = {**LEAD, "fields": [*LEAD["fields"], {"name": "items", "type": {"type": "array", "items": ITEM}}]}


def records(count: int, items: int) -> list[bytes]:
    payloads = [encoded(RAW, lead(event_id=f"e-{at}") | {"items": [{"x": 1}] * items}) for at in range(count)]
    payloads[count // 2] = payloads[count // 2][:-1]
    return payloads


def ids(line: Line, payloads: list[bytes]) -> list[str]:
    made = line.through(payloads)
    return [one.code if isinstance(one, Rejection) else json.loads(one)["dedupe_id"] for one in made]  # type: ignore[arg-type]


def right(count: int) -> list[str]:
    return [Code.DECODE_ERROR if at == count // 2 else f"e-{at}" for at in range(count)]


@pytest.mark.repeat(of="test_a_slice_is_one_record_at_least_and_nothing_is_lost_between_them")
@pytest.mark.slow
def test_rows_of_a_run_take_no_more_than_a_slice_may() -> None:
    line, payloads = line_of(RAW), records(30, 40_000)
    line.through(payloads[:1])
    taken = memory(lambda: line.through(payloads))
    assert ids(line, payloads) == right(30)
    assert taken.peak < 1.5 * source._DECODED_AT_ONCE, "all at once they are 280 MB"


@pytest.mark.parametrize("at_once", [0, 1, 10_000, 100_000, 1 << 40])
def test_a_slice_is_one_record_at_least_and_nothing_is_lost_between_them(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(source, "_DECODED_AT_ONCE", at_once)
    assert ids(line_of(RAW), records(9, 40)) == right(9)
    assert line_of(RAW).through([]) == []


def varint(n: int) -> bytes:
    out, n = bytearray(), n << 1
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


WIDE = {
    "type": "record",
    "name": "Wide",
    "fields": [{"name": "x", "type": "boolean"}, *({"name": f"n{at}", "type": "null"} for at in range(200))],
}
MOST = 700_000  # bytes of a record
# The items' type and the field's bytes, which are few compared with the decoded value.
HOSTILE: dict[str, tuple[Any, bytes]] = {
    "ints": ("int", varint(MOST) + bytes(MOST)),
    "arrays without items": ({"type": "array", "items": "int"}, varint(MOST) + bytes(MOST)),
    "records of one int": (ITEM, varint(MOST) + bytes(MOST)),
    "records of 200 nulls": (WIDE, varint(MOST) + bytes(MOST)),
    "blocks of one record": (ITEM, b"\2\0" * (MOST // 2)),
    "wide records or null": (["null", WIDE], varint(MOST) + b"\2\0" * (MOST // 2)),
    "maps of one null": ({"type": "map", "values": "null"}, b"\2\2\2a\0" * (MOST // 5)),
    "arrays of arrays": (
        {"type": "array", "items": {"type": "array", "items": "boolean"}},
        varint(140) + (varint(5000) + bytes(5000) + b"\0") * 140,
    ),
}
# These are decoded up to the limit, which takes seconds under tracemalloc.
LONG = ("blocks of one record", "maps of one null", "arrays of arrays")


@pytest.mark.cases(2)
@pytest.mark.parametrize("around", [1, 150], ids=["one by one", "at once"])
@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=[pytest.mark.slow, pytest.mark.repeat]) if what in LONG else what for what in HOSTILE],
)
def test_records_that_grow_a_hundredfold_are_rejected_before_they_have_grown(what: str, around: int) -> None:
    items, hostile = HOSTILE[what]
    kind = {"type": "array", "items": items}
    line = line_of({**LEAD, "fields": [*LEAD["fields"], {"name": "items", "type": kind}]})
    good = [encoded(LEAD, lead(event_id=f"e-{at}")) for at in range(around)]
    payloads = [payload + b"\0" for payload in good]
    payloads += [good[0] + hostile + b"\0"] * 2 + payloads
    line.through(payloads[:1])
    made: list[Any] = []
    taken = memory(lambda: made.extend(line.through(payloads)))
    assert taken.peak < 1.5 * MAX_DECODED
    rejected = [one for one in made if isinstance(one, Rejection)]
    assert made[around : around + 2] == rejected
    assert {one.code for one in rejected} == {Code.DECODE_ERROR}
    assert all("it takes more than 32 MiB once decoded" in one.detail for one in rejected)


def test_a_record_of_many_items_that_fit_is_read() -> None:
    strings = [{"name": f"s{at}", "type": "string"} for at in range(20)]
    kind = {"type": "array", "items": ["null", {"type": "record", "name": "Item", "fields": strings}]}
    raw: Any = {**LEAD, "fields": [*LEAD["fields"], {"name": "items", "type": kind}]}
    items = [{f"s{at}": "a value of some length" for at in range(20)}, None] * 2000
    assert ids(line_of(raw), [encoded(raw, lead(event_id="e-1") | {"items": items})]) == ["e-1"]
