"""Frames and decodes records of one topic as its sources do, and applies a selection in the place of their mapping."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from stream_capi.avro.framing import Run, Unframed
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config import Settings
from stream_capi.errors import FieldsEncrypted
from stream_capi.events.paths import Schema
from stream_capi.events.rules import SourceRules, rules_from
from stream_capi.events.selecting import PASSED_OVER, Selection
from stream_capi.model import Record, Transformed
from stream_capi.pipeline.source import Codec, TopicSource, parts_of

Selected = Transformed | FieldsEncrypted | None
Select = Callable[[Sequence[SourceRules], Schema], Selection]


class TopicSelector:
    """What a selection says of the records of a topic that has sources. ``select`` makes it for a writer's schema."""

    def __init__(self, settings: Settings, schemas: SchemaSources, topic: str, select: Select) -> None:
        sections = settings.sources_of(topic)
        self._rules = {one.record: rules_from(one, settings) for one in sections}
        self._select = select
        first = sections[0]  # all of them have the same framing and schemas
        self._source = TopicSource(
            topic, first.wire_format, schemas.for_source(first), self._selection, None, None, 0.0
        )

    def _selection(self, schema: WriterSchema) -> Selection:
        own = self._rules.get(schema.name) or self._rules.get(None)
        # A record that no source is for is looked at as any of them would.
        return self._select([own] if own else [*self._rules.values()], Schema(schema.raw, schema.name))

    async def of(self, records: Sequence[Record]) -> list[Selected]:
        """What is said of each, of a chunk of one partition; None of one without a value. Raises Unavailable."""
        said: list[Selected] = [None] * len(records)
        places = [at for at, record in enumerate(records) if record.value() is not None]
        whole = [records[at] for at in places]
        for run in self._source.frame(whole, [record.value() or b"" for record in whole]):
            if isinstance(run, Unframed):
                said[places[run.index]] = run.rejection
                continue
            span = slice(run.start, run.start + len(run.payloads))
            for at, one in zip(places[span], await self._of_run(run, whole[span]), strict=True):
                said[at] = one
        return said

    async def _of_run(self, run: Run, records: Sequence[Record]) -> list[Transformed | FieldsEncrypted]:
        """What is said of each record of a run."""
        made: list[Transformed | FieldsEncrypted] = [PASSED_OVER] * len(records)
        try:
            coded = self._source.codec(run.key) or await self._source.load(run.key)
        except FieldsEncrypted as error:
            return [error] * len(records)
        offsets, partition = [record.offset() or 0 for record in records], records[0].partition() or 0
        for codec, payloads, indexes in parts_of(coded, run.payloads):
            at = range(len(records)) if indexes is None else indexes
            places = [offsets[index] for index in at]
            results: Sequence[Transformed] = (
                self._source.transform(codec, payloads, partition, places, int(time.time() * 1000))
                if isinstance(codec, Codec)
                else [codec] * len(payloads)
            )
            for index, result in zip(at, results, strict=True):
                made[index] = result
        return made
