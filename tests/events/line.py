"""A source of one schema from payload to event: framing, decoding, mapping. ``explain`` must give the same outcome."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import fastavro

from stream_capi.avro.branches import branch_of
from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import FILE_KEY, Run
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build
from stream_capi.events.explain import explain
from stream_capi.events.rules import SourceRules
from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import Rejection, Routed, Skipped, Transformed
from stream_capi.pipeline.source import Codec, Coded, Source, TopicSource, parts_of
from tests.avro.one_schema import OneSchema
from tests.events.random_schemas import plain
from tests.events.sources_and_records import NOW, TOPIC, rules
from tests.fake_record import FakeRecord


def mapped_run(
    source: Source, coded: Coded, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
) -> list[Transformed]:
    """The outcomes of a run's payloads, in order."""
    made: dict[int, Transformed] = {}
    for codec, of_part, indexes in parts_of(coded, payloads):
        places = range(len(payloads)) if indexes is None else indexes
        results: Sequence[Transformed] = [codec] * len(of_part) if not isinstance(codec, Codec) else ()
        if isinstance(codec, Codec):
            results = source.transform(codec, of_part, partition, [offsets[at] for at in places], now_ms)
        made |= zip(places, results, strict=True)
    return [made[at] for at in range(len(payloads))]


class Line:
    """A source of one schema with its mapping, assembled as in ``app``."""

    def __init__(self, schema_text: Any, of_rules: SourceRules | None = None) -> None:
        self.rules = of_rules or rules()
        self.transforms: list[Transform] = []
        self._decoders: dict[str, Decoder] = {}
        built = build(FILE_KEY, schema_text)
        self.schemas = OneSchema(built.rejection(FILE_KEY) if isinstance(built, RefusedSchema) else built)
        self.source = TopicSource(TOPIC, "raw", self.schemas, self._compile, self.rules.lane, self.rules.pixel, 1.0)

    def _compile(self, schema: WriterSchema) -> Transform:
        self.transforms.append(compile_source(self.rules, schema.raw, schema.name))
        return self.transforms[-1]

    def codec(self) -> Codec | Rejection:
        """The codec of a schema that is a record, or why the schema is refused."""
        codec = self.source.codec(FILE_KEY)
        assert isinstance(codec, Codec | Rejection)
        return codec

    def through(self, payloads: Sequence[bytes]) -> list[Transformed]:
        """The outcomes of a chunk's payloads."""
        records: Any = [FakeRecord(payload) for payload in payloads]
        made: list[Transformed] = []
        for run in self.source.frame(records, payloads):
            assert isinstance(run, Run)
            coded = self.source.codec(FILE_KEY)
            assert coded is not None
            offsets = range(7 + len(made), 7 + len(made) + len(run.payloads))
            made += mapped_run(self.source, coded, run.payloads, 3, offsets, NOW)
        return made

    def explained(self, payload: bytes) -> Transformed:
        """The outcome that ``explain`` gives for the first record of a chunk."""
        schema = self.schemas.schema
        if isinstance(schema, Rejection):
            return schema
        found = branch_of(schema, payload)
        if isinstance(found, Rejection):
            return found
        one, rest = found
        if one is None:
            return Skipped("tombstone")
        if one.name not in self._decoders:
            self._decoders[one.name] = Decoder(one)
        (row,) = self._decoders[one.name].decode([rest])
        if isinstance(row, Rejection):
            return row
        return explain(self.rules, one.raw, row, (TOPIC, 3, 7), NOW, one.name).outcome

    def outcome(self, payload: bytes) -> Transformed:
        """The outcome of one record; asserts that mapping and ``explain`` agree."""
        (made,) = self.through([payload])
        assert self.explained(payload) == made
        return made

    def dropped(self) -> dict[tuple[str, str], int]:
        """Fields counted as left out since the last call."""
        counted: dict[tuple[str, str], int] = {}
        for transform in self.transforms:
            counted |= transform.counts.dropped
            transform.counts.dropped.clear()
        return counted

    def suspect(self) -> dict[tuple[str, str], int]:
        """Values counted as suspect since the last call."""
        counted: dict[tuple[str, str], int] = {}
        for transform in self.transforms:
            counted |= {(field, reason): n for (_, field, reason), n in transform.counts.suspect.items()}
            transform.counts.suspect.clear()
        return counted


def encoded(raw: Any, row: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(raw)), row)
    return out.getvalue()


def line_of(raw: Any, delivery: Mapping[str, Any] | None = None, **source: Any) -> Line:
    return Line(json.dumps(raw), rules(delivery, **source))


def payload_of(made: Transformed) -> bytes:
    assert isinstance(made, bytes | Routed), made
    return made.payload if isinstance(made, Routed) else made


class Memory(NamedTuple):
    """Bytes that a call allocates at its peak, and bytes still allocated after it."""

    peak: int
    kept: int


def memory(work: Callable[[], Any]) -> Memory:
    """The memory that a call takes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Memory(peak - before, after - before)


def took(work: Callable[[], Any]) -> float:
    """Processor seconds of a call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun
