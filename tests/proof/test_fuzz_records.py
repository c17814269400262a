"""Damaged records of the shipped schemas, from bytes to an outcome: framing, decoding, mapping."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.avro.framing import Run, frame
from stream_capi.avro.schemas import FileSchema
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.events.transform import compile_source
from stream_capi.model import EventName, Lane
from stream_capi.pipeline.source import Codec, TopicSource
from tests.events.sources_and_records import LEAD, NOW, SCHEMAS, TOPIC, is_outcome, lead, rules
from tests.fake_record import FakeRecord
from tests.proof.corpus import keeping, kept
from tests.proof.profile import tries


def encoded(**fields: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(LEAD), lead(**fields))
    return out.getvalue()


GOOD = (encoded(), encoded(email="a@b.example", zip="é", value=0.0), encoded(aleid="x" * 300))
DAMAGE = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 4), st.binary(max_size=5)), max_size=4)


@pytest.fixture(scope="module")
def source() -> TopicSource:
    def compiled(schema: WriterSchema) -> Any:
        return compile_source(rules(), schema.raw)

    schema = FileSchema(SCHEMAS / "lead.avsc")
    return TopicSource(TOPIC, "raw", schema, compiled, Lane("main", EventName.GENERATE_LEAD), "main", 1.0)


@pytest.mark.slow
@tries(600)
@given(st.lists(st.tuples(st.sampled_from(GOOD), DAMAGE), min_size=1, max_size=4))
def test_any_damage_leaves_an_outcome_for_every_record(
    source: TopicSource, damaged: list[tuple[bytes, list[tuple[int, int, bytes]]]]
) -> None:
    values = []
    for good, damage in damaged:
        value = good
        for at, length, other in damage:
            value = value[:at] + other + value[at + length :]
        values.append(value)
    with keeping("records", values[0]):
        outcomes(source, values)


def test_what_was_found_before(source: TopicSource) -> None:
    for value in kept("records"):
        outcomes(source, [value, GOOD[0]])


def outcomes(source: TopicSource, values: list[bytes]) -> None:
    records: Any = [FakeRecord(value) for value in values]
    for run in frame("raw", records, values):
        assert isinstance(run, Run)
        codec = source.codec(run.key)
        assert isinstance(codec, Codec)
        made = source.transform(codec, run.payloads, 0, range(len(values)), NOW)
        assert len(made) == len(values)
        assert all(map(is_outcome, made))
