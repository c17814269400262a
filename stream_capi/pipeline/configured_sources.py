"""Builds the source of a topic from the settings, for ``run``, ``dry-run`` and ``test``."""

from __future__ import annotations

from collections.abc import Callable

from stream_capi.avro.schemas import Schemas, WriterSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.model import EventName, Lane
from stream_capi.pipeline.source import SharedTopic, TableTransform, TopicSource

SchemasFor = Callable[[SourceSection], Schemas]
CompileFor = Callable[[SourceSection], Callable[[WriterSchema], TableTransform]]


def source_of(
    settings: Settings,
    topic: str,
    schemas_for: SchemasFor,
    compile_for: CompileFor,
    is_paused: Callable[[SourceSection], bool] = lambda _: False,
) -> TopicSource:
    """The one source of a topic, or its several as one. Raises ConfigurationError.

    :param schemas_for: gives where the schemas of a source come from.
    :param compile_for: gives what compiles the mapping of a source for a writer's schema.
    :param is_paused: whether nothing of a source is read.
    """
    sections = settings.sources_of(topic)
    members = [_member(settings, section, schemas_for, compile_for, is_paused) for section in sections]
    if len(members) == 1:
        return members[0]
    default = settings.dead_letter.max_ratio
    return SharedTopic(members, min(default if one.max_ratio is None else one.max_ratio for one in sections))


def _member(
    settings: Settings,
    source: SourceSection,
    schemas_for: SchemasFor,
    compile_for: CompileFor,
    is_paused: Callable[[SourceSection], bool],
) -> TopicSource:
    pixel, event = source.pixel, source.event
    return TopicSource(
        source.topic,
        source.wire_format,
        schemas_for(source),
        compile_for(source),
        Lane(pixel, EventName(event)) if pixel and event else None,
        pixel,
        (source.window_ms or settings.batch.window_ms) / 1000,
        max_ratio=source.max_ratio,
        record=source.record,
        paused=is_paused(source),
    )
