"""The mapping of one configuration, applied to chunks of records as a member applies it, with nothing sent.

A source or pixel that is paused is mapped as if it were not. What is rejected is no dead letter here: it is only counted.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stream_capi.avro.framing import SchemaKey, Unframed
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.schemas import WriterSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.core.batch import longest_event, sized
from stream_capi.errors import FieldsEncrypted, StreamCapiError, Unavailable
from stream_capi.events.counts import CountSink
from stream_capi.events.rules import SourceRules, rules_from
from stream_capi.events.shared_values import SharedValues
from stream_capi.events.suspects import SHARED
from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import Columns, Lane, Records, Skipped, Transformed, internal_error
from stream_capi.operations.explain import forgotten
from stream_capi.pipeline.configured_sources import source_of
from stream_capi.pipeline.mapper import judge_by_record_times
from stream_capi.pipeline.source import Codec, Coded, Source, TopicSource, parts_of

_PATIENCE_SECONDS = 10.0  # with a registry that doesn't answer
_REST_SECONDS = 0.5
_TOMBSTONE = Skipped("tombstone")


@dataclass(frozen=True, slots=True)
class Waits:
    """The record would wait, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoSource:
    """The configuration has no source for the record's topic."""


ENCRYPTED, NO_SOURCE = Waits("encrypted"), NoSource()
Outcome = Transformed | Waits | NoSource


class MappedPart(NamedTuple):
    """Records of one source and what became of each. ``rules`` are None where no source is known."""

    lane: Lane | None
    rules: SourceRules | None
    offsets: Sequence[int]
    outcomes: Sequence[Outcome]

    def __repr__(self) -> str:
        return f"MappedPart({self.lane}, {len(self.outcomes)} records)"


class DryRunMapper:
    """Maps chunks by the sources of these settings. To be used within one event loop.

    :param now_ms: what event times are measured against, epoch milliseconds.
    :param waits: is told what it waits for, and an empty text when it goes on.
    :raises ConfigurationError: a file of schemas or of suppressed people can't be read.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], now_ms: int, waits: Callable[[str], None]) -> None:
        self.notes: dict[str, None] = {}  # why records would wait, each once
        self._settings = settings
        self._now_ms = now_ms
        self._waits = waits
        self._longest = longest_event(settings.batch.max_bytes)
        self._people = forgotten(settings)
        self._schemas = SchemaSources(settings)
        self._transforms: list[tuple[SourceRules, Transform]] = []
        self._shared: list[tuple[SourceRules, SharedValues]] = []
        self._rules: dict[tuple[str, str | None], SourceRules] = {}
        self._sources: dict[str, TopicSource] = {
            topic: source_of(settings, topic, self._schemas.for_source, self._compile_for)
            for topic in topics
            if settings.sources_of(topic)
        }

    async def aclose(self) -> None:
        """Close the registry's client."""
        await self._schemas.aclose()

    def drain_into(self, sink_of: Callable[[SourceRules], CountSink]) -> None:
        """Hand over what the mappings counted since the last time, to the sink of each source."""
        for rules, transform in self._transforms:
            transform.counts.drain_into(sink_of(rules))

    def tell_shared(self, sink_of: Callable[[SourceRules], CountSink]) -> None:
        """At the end: hand over in how many events of each source one value is, where that is too many."""
        for rules, shared in self._shared:
            for event, field, n in shared.suspects():
                sink_of(rules).suspect(event, field, SHARED, n)

    def _compile_for(self, section: SourceSection) -> Callable[[WriterSchema], Transform]:
        rules = self._rules[section.topic, section.record] = rules_from(section, self._settings)
        shared = SharedValues(os.urandom(16), looks=math.inf)
        self._shared.append((rules, shared))

        def compile_for(schema: WriterSchema) -> Transform:
            transform = compile_source(rules, schema.raw, schema.name, people=self._people, shared=shared)
            self._transforms.append((rules, transform))
            return transform

        return compile_for

    async def map(self, chunk: Records) -> list[MappedPart]:
        """Map a chunk. Raises Unavailable where the registry doesn't answer for a while."""
        source = self._sources.get(chunk.topic)
        columns = chunk.columns
        if source is None:
            return [MappedPart(None, None, columns.offsets, [NO_SOURCE] * len(columns.offsets))]
        values = [value for value in chunk.values if value is not None]
        parts: list[MappedPart] = []
        if len(values) < len(chunk.values):
            kept = [at for at, value in enumerate(chunk.values) if value is not None]
            gone = [offset for offset, value in zip(columns.offsets, chunk.values, strict=True) if value is None]
            columns = columns.pick(kept)
            parts.append(self._part(source, gone, [_TOMBSTONE] * len(gone)))
        for run in source.frame(columns.records, values):
            if isinstance(run, Unframed):
                parts.append(self._part(source, [columns.offsets[run.index]], [run.rejection]))
                continue
            of_run = columns.cut(run.start, run.start + len(run.payloads))
            coded = await self._coded(source, run.key)
            if isinstance(coded, Waits):
                parts.append(self._part(source, of_run.offsets, [coded] * len(run.payloads)))
            else:
                parts += self._of_run(source, coded, run.payloads, chunk.partition, of_run)
        return parts

    def _of_run(
        self, source: TopicSource, coded: Coded, payloads: Sequence[bytes], partition: int, columns: Columns
    ) -> Iterator[MappedPart]:
        for codec, of_part, indexes in parts_of(coded, payloads):
            places = columns if indexes is None else columns.pick(indexes)
            if not isinstance(codec, Codec):
                yield self._part(source, places.offsets, [codec] * len(of_part))
                continue
            made = source.transform(codec, of_part, partition, places.offsets, self._now_ms)
            judge_by_record_times(source, codec, of_part, partition, places, made, self._now_ms)
            yield self._part(codec.source or source, places.offsets, [sized(one, self._longest) for one in made])

    def _part(self, source: Source, offsets: Sequence[int], outcomes: Sequence[Outcome]) -> MappedPart:
        record = source.record if isinstance(source, TopicSource) else None
        return MappedPart(source.lane, self._rules.get((source.topic, record)), offsets, outcomes)

    async def _coded(self, source: TopicSource, key: SchemaKey) -> Coded | Waits:
        """What is known of a schema. Raises Unavailable after some attempts."""
        coded = source.codec(key)
        until = time.monotonic() + _PATIENCE_SECONDS
        while coded is None:
            try:
                coded = await source.load(key)
            except FieldsEncrypted as error:
                self.notes[f"{source.topic}: {error}; its records would wait"] = None
                return ENCRYPTED
            except Unavailable as error:
                if time.monotonic() > until:
                    raise
                self._waits(f"{error}; asking again")
                await asyncio.sleep(_REST_SECONDS)
            except (MemoryError, StreamCapiError):
                raise
            except Exception as error:  # the schema's fault, as nothing else is under way
                return internal_error(error)
        self._waits("")
        return coded
