"""The program's decoding and mapping, without the rest. No other module of the benchmark knows how these parts are joined.

As long as ``before.COMMIT`` has no worker of its own, this module and ``inside`` must also run with that commit's program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.contenders.shapes import SHAPES
from stream_capi.avro.framing import FILE_KEY, SchemaKey
from stream_capi.avro.schemas import WriterSchema
from stream_capi.avro.writer_schema import RefusedSchema, build
from stream_capi.config import Settings
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import compile_source
from stream_capi.model import EventName, Lane, Rejection, Transformed
from stream_capi.pipeline.source import Codec, TopicSource


class Known:
    """Schemas that are known from the start, by key."""

    def __init__(self, schemas: Mapping[SchemaKey, WriterSchema]) -> None:
        self._schemas = schemas

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        return self._schemas[key]

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        return self._schemas[key]

    async def aclose(self) -> None:
        return


def source_of(settings: Settings, at: int, shape: str, key: SchemaKey = FILE_KEY) -> TopicSource:
    """The source with this index in the settings, with its schema under ``key``."""
    source = settings.sources[at]
    schema = build(key, SHAPES[shape].schemas[str(source.event)].read_text())
    assert not isinstance(schema, RefusedSchema)
    rules = rules_from(source, settings)
    return TopicSource(
        source.topic,
        source.framing,
        Known({key: schema}),
        lambda writer: compile_source(rules, writer.raw),
        Lane(str(source.pixel), EventName(str(source.event))),
        source.pixel,
        settings.batch.window_ms / 1000,
    )


def mapping_of(settings: Settings, at: int, shape: str, now_ms: int) -> Callable[[Sequence[bytes]], list[Transformed]]:
    """A function that decodes and maps payloads of the source with this index in the settings."""
    source = source_of(settings, at, shape)
    codec = _codec(source)
    return lambda payloads: source.transform(codec, payloads, 0, range(len(payloads)), now_ms)


class Halves(NamedTuple):
    """Decoding and mapping, apart."""

    decode: Callable[[Sequence[bytes]], Any]
    map: Callable[[Any, int], list[Transformed]]  # what was decoded, and the number of records


def halves_of(settings: Settings, at: int, shape: str, now_ms: int) -> Halves:
    """The decoder and the mapping of the source with this index in the settings."""
    source = source_of(settings, at, shape)
    codec = _codec(source)
    apply = codec.transform.apply
    return Halves(codec.parser.parse, lambda table, count: apply(table, source.topic, 0, range(count), now_ms))


def _codec(source: TopicSource) -> Codec:
    codec = source.codec(FILE_KEY)
    assert isinstance(codec, Codec), codec
    return codec
