"""Any text as a schema, and any bytes as its records: refused or read at a bounded cost, and never an exception.

Most of the schemas drawn here look like Avro, with parts sometimes replaced by something else: with random text only, the
parser would never get past the first brace.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.names import PRIMITIVES
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build, definitions
from stream_capi.model import Code, Rejection
from tests.events.line import Line
from tests.events.sources_and_records import is_outcome, rules
from tests.proof.corpus import keeping, kept
from tests.proof.profile import tries

NAMES = st.sampled_from(
    ("A", "B", "n.C", "n", "", "__proto__", "a'b", 'q"', "l\n", "\u2028", "{x}", "\\", "null", "A.B", "." * 3, "a\0", "\ud800",
     "n.string", "string", "class", "row", "f0", "x" * 1_025)
)  # fmt: skip
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**20),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just([[]]),
)
PARTS = (
    "type",
    "name",
    "namespace",
    "fields",
    "items",
    "values",
    "symbols",
    "size",
    "logicalType",
    "default",
    "aliases",
)
PAYLOADS = st.lists(
    st.one_of(
        st.binary(max_size=60), st.binary(max_size=3).map(lambda head: head + b"\x80\x01" * 20), st.just(b"\0" * 80)
    ),
    min_size=1,
    max_size=4,
)


def _with_foreign_attributes(kinds: st.SearchStrategy[Any], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Add attributes of other types, or unknown ones; the type's own attributes stay."""
    foreign = st.dictionaries(st.sampled_from((*PARTS, "precision", "scale")), st.one_of(inner, JUNK), max_size=3)
    return st.tuples(foreign, kinds).map(lambda both: {**both[0], **both[1]} if isinstance(both[1], dict) else both[1])


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    inner = st.one_of(inner, _with_foreign_attributes(inner, inner))
    fields = st.lists(st.fixed_dictionaries({"name": NAMES, "type": inner}), max_size=4)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("record"), "name": NAMES, "fields": fields}, optional={"namespace": NAMES}
        ),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"type": st.just("map"), "values": inner}),
        st.fixed_dictionaries({"type": st.just("enum"), "name": NAMES, "symbols": st.lists(NAMES, max_size=70)}),
        st.fixed_dictionaries({"type": st.just("fixed"), "name": NAMES, "size": st.one_of(st.integers(-1, 9), JUNK)}),
        st.fixed_dictionaries({"type": inner}, optional={"logicalType": st.sampled_from(("decimal", "uuid", "date"))}),
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(PARTS), st.one_of(inner, JUNK), max_size=5),
    )


TYPES = st.recursive(st.one_of(st.sampled_from(sorted(PRIMITIVES)), NAMES, JUNK), _objects, max_leaves=25)
RECORDS = st.fixed_dictionaries(
    {
        "type": st.just("record"),
        "name": st.sampled_from(("Event", "n.Event", "a'b")),
        "fields": st.lists(st.fixed_dictionaries({"name": st.text(max_size=6), "type": TYPES}), max_size=6),
    }
)
SOUND = st.recursive(
    st.sampled_from(sorted(PRIMITIVES - {"null"})),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"type": st.just("map"), "values": inner}),
        inner.map(lambda kind: ["null", kind] if not isinstance(kind, list) else kind),
    ),
    max_leaves=6,
)
SOUND_RECORDS = st.lists(SOUND, min_size=1, max_size=6).map(
    lambda kinds: {
        "type": "record",
        "name": "R",
        "fields": [{"name": f"f{at}", "type": kind} for at, kind in enumerate(kinds)],
    }
)


@pytest.mark.slow
@tries(500)
@given(st.one_of(RECORDS, TYPES), PAYLOADS)
def test_any_schema_is_refused_or_read_with(raw: Any, payloads: list[bytes]) -> None:
    text = json.dumps(raw)
    with keeping("schemas", text.encode()):
        refused_or_read(text, payloads)


@pytest.mark.slow
@tries(300)
@given(SOUND_RECORDS, PAYLOADS)
def test_any_bytes_under_a_sound_schema_are_a_record_or_a_rejection(raw: Any, payloads: list[bytes]) -> None:
    text = json.dumps(raw)
    with keeping("schemas", text.encode()):
        assert refused_or_read(text, payloads)


@pytest.mark.slow
@tries(300)
@given(st.one_of(st.text(max_size=60), st.text('{}[]":,typenamrcodfil0', max_size=60)), RECORDS)
def test_any_text_and_any_references(text: str, other: Any) -> None:
    with keeping("schemas", text.encode("utf-8", "surrogatepass")):
        refused_or_read(text, [b"\0"])
        known = definitions(other)
        referring = {"type": "record", "name": "Top", "fields": [{"name": "f", "type": name} for name in known]}
        built = build(FILE_KEY, json.dumps(referring), known)
        assert isinstance(built, WriterSchema | RefusedSchema)


def test_what_was_found_before() -> None:
    for text in kept("schemas"):
        refused_or_read(text.decode("utf-8", "surrogatepass"), [b"", b"\0" * 80, b"\2" * 80, b"\x80\x01" * 40])


def refused_or_read(text: str, payloads: list[bytes]) -> bool:
    """Whether the schema was accepted. The memory of its records must stay below the estimate of the schema's decoder."""
    built = build(FILE_KEY, text)
    if isinstance(built, RefusedSchema):
        assert built.reason
        return False
    through_the_line(text, payloads)
    decoder = Decoder(built)
    rows = decoder.decode(payloads)
    assert len(rows) == len(payloads)
    for row, payload in zip(rows, payloads, strict=True):
        if isinstance(row, Rejection):
            assert row.detail
        else:
            assert _size(row) <= decoder.overhead + decoder.amplification * len(payload) + 1024
    return True


FIELDS = {
    "event_time": {"path": "f0", "unit": "s"},
    "user_data.user_id": ["f0.A", "f1[0]", "f2.B", "f0"],
    "user_data.email": ["f1.A.B", "f1"],
    "user_data.phone": "f2",
    "data.value": ["f3", "f0"],
}


def through_the_line(text: str, payloads: list[bytes]) -> None:
    """Map and explain the records. Both must agree, and must not end in an internal error."""
    line = Line(text, rules(fields=FIELDS))
    for payload in payloads:
        made = line.outcome(payload)
        assert is_outcome(made)
        assert not (isinstance(made, Rejection) and made.code is Code.INTERNAL_ERROR), made


def _size(value: Any) -> int:
    """The size of a decoded value in bytes; a shared part counts as often as it occurs."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(_size(key) + _size(part) for key, part in value.items() if key is not None)
    if isinstance(value, list):
        return size + sum(map(_size, value))
    return size
