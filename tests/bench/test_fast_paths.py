"""Fast paths give the same results as the general code."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.writer_schema import WriterSchema, build
from stream_capi.core.offsets import PartitionOffsets

SCHEMA = {"type": "record", "name": "Times", "fields": [{"name": "at", "type": "long"}, {"name": "of", "type": "long"}]}
SIGNED = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(1_600_000_000_000, 1_900_000_000_000)
NEAR = st.builds(lambda base, by: base + by, TIMES, st.integers(-20_000, 20_000))  # the same high bytes, or neighbours


def encoded(at: int, of: int) -> bytes:
    out = io.BytesIO()
    schema: Any = SCHEMA
    fastavro.schemaless_writer(out, schema, {"at": at, "of": of})
    return out.getvalue()


@pytest.mark.slow
@given(st.lists(st.tuples(SIGNED | TIMES | NEAR | NEAR.map(int.__neg__), SIGNED | NEAR), min_size=1, max_size=30))
def test_times_whose_high_bytes_were_seen_are_read_like_any_other(pairs: list[tuple[int, int]]) -> None:
    schema = build(FILE_KEY, json.dumps(SCHEMA))
    assert isinstance(schema, WriterSchema)
    payloads = [encoded(*pair) for pair in pairs]
    rows = Decoder(schema).decode(payloads * 2)
    assert rows == [{"at": at, "of": of} for at, of in pairs * 2]


@given(st.binary(max_size=20), TIMES)
def test_no_bytes_are_read_otherwise_because_a_time_was_seen(junk: bytes, time: int) -> None:
    schema = build(FILE_KEY, json.dumps(SCHEMA))
    assert isinstance(schema, WriterSchema)
    decode = Decoder(schema).decode
    decode([encoded(time, time)])
    for payload in (junk, encoded(time, time)[: len(junk) % 12] + junk):
        (row,) = decode([payload])
        if isinstance(row, dict):  # the payload is valid, if perhaps with varints longer than necessary
            raw: Any = fastavro.schemaless_reader(io.BytesIO(payload), {**SCHEMA}, None)
            assert row == raw


@given(st.sets(st.integers(0, 60), max_size=40), st.lists(st.integers(0, 80), max_size=60))
def test_outcomes_taken_together_are_those_taken_one_by_one(offsets: set[int], resolved: list[int]) -> None:
    one, many = (PartitionOffsets("leads", 0, 1, 0) for _ in range(2))
    for tracked in (one, many):
        tracked.track(sorted(offsets), [7] * len(offsets), 61)
    for offset in resolved:
        one.resolve(offset)
    many.resolve_all(iter(resolved))
    assert (one.watermark, one.open_bytes, one.unresolved) == (many.watermark, many.open_bytes, many.unresolved)
