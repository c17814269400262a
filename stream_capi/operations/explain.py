"""Explains records of a topic: finds their schema and source, decodes and maps them, as the pipeline does, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stream_capi.avro.branches import branch_of
from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import Unframed, frame
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.config.files import content
from stream_capi.core.batch import longest_event, sized
from stream_capi.errors import CheckFailed, ConfigurationError
from stream_capi.events.explain import Explanation, explain
from stream_capi.events.plain_json import NotOfSchema, row_from_json
from stream_capi.events.rules import rules_from
from stream_capi.events.suppression import People
from stream_capi.events.transform import compile_source
from stream_capi.model import Record, Rejection, Skipped, Transformed


class ExplainedRecord(NamedTuple):
    """One record explained, or why it can't be: then there is no explanation and the outcome says it."""

    place: str
    schema: str
    explanation: Explanation | None
    outcome: Transformed


@dataclass(frozen=True, slots=True, repr=False)
class _FileRecord:
    """A value without a place in Kafka."""

    payload: bytes
    of_topic: str

    def topic(self) -> str:
        return self.of_topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return self.payload

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 0, 0

    def leader_epoch(self) -> None:
        return None


async def explain_records(
    settings: Settings, of_topic: Sequence[SourceSection], records: Sequence[Record]
) -> list[ExplainedRecord]:
    """Explain records of a topic, given its sources.

    Raises RegistryUnavailable, ConfigurationError, CheckFailed where the registry's rules encrypt what is mapped.
    """
    placed = [(record, f"{record.topic()}[{record.partition()}]@{record.offset()}") for record in records]
    return await _explained(settings, of_topic, placed)


async def _explained(
    settings: Settings, of_topic: Sequence[SourceSection], placed: Sequence[tuple[Record, str]]
) -> list[ExplainedRecord]:
    """Explain records, each with the words for where it is."""
    sources, people = SchemaSources(settings), forgotten(settings)
    try:
        return [await _of_record(settings, of_topic, sources, record, at, people) for record, at in placed]
    finally:
        await sources.aclose()


async def _of_record(
    settings: Settings,
    of_topic: Sequence[SourceSection],
    sources: SchemaSources,
    record: Record,
    at: str,
    people: People | None,
) -> ExplainedRecord:
    first, value = of_topic[0], record.value()  # all of them have the same framing and schemas
    if value is None:
        return ExplainedRecord(at, "", None, Skipped("tombstone"))
    (framed,) = frame(first.wire_format, [record], [value])
    if isinstance(framed, Unframed):
        return ExplainedRecord(at, "", None, framed.rejection)
    schema = await sources.for_source(first).load(framed.key)
    if isinstance(schema, Rejection):
        return ExplainedRecord(at, str(framed.key), None, schema)
    if fault := schema.encrypted.fault(schema.parsed, ()):  # then no payload says which record it is
        raise CheckFailed(f"{at}: {schema.name} ({framed.key}): {fault}; its records wait")
    found = branch_of(schema, framed.payloads[0])
    if isinstance(found, Rejection):
        return ExplainedRecord(at, f"{schema.name} ({framed.key})", None, found)
    of_record, payload = found
    if of_record is None:
        return ExplainedRecord(at, f"null ({framed.key})", None, Skipped("tombstone"))
    schema, name = of_record, f"{of_record.name} ({framed.key})"
    source = _source_for(of_topic, schema)
    if source is None:
        return ExplainedRecord(at, name, None, Skipped("unrouted"))
    paths = compile_source(rules_from(source, settings), schema.raw, schema.name).paths
    if fault := schema.encrypted.fault(schema.parsed, paths):
        raise CheckFailed(f"{at}: {name}: {fault}; its records wait")
    (row,) = Decoder(schema).decode([payload])
    if isinstance(row, Rejection):
        return ExplainedRecord(at, name, None, row)
    place = int(record.partition() or 0), int(record.offset() or 0)
    return _of_row(settings, source, schema, row, place, at, name, people)


def _source_for(of_topic: Sequence[SourceSection], schema: WriterSchema) -> SourceSection | None:
    """The source that is for a record type."""
    return next((source for source in of_topic if source.is_for(schema.name)), None)


def _of_row(
    settings: Settings,
    source: SourceSection,
    schema: WriterSchema,
    row: dict[str, Any],
    place: tuple[int, int],
    at: str,
    name: str,
    people: People | None,
) -> ExplainedRecord:
    rules = rules_from(source, settings)
    at_source, now_ms = (source.topic, *place), int(time.time() * 1000)
    explanation = explain(rules, schema.raw, row, at_source, now_ms, schema.name, people=people)
    return ExplainedRecord(at, name, explanation, sized(explanation.outcome, longest_event(settings.batch.max_bytes)))


def forgotten(settings: Settings) -> People | None:
    """The people who asked to be forgotten. Raises ConfigurationError. What reads the list is imported with it alone."""
    if settings.suppress.file is None:
        return None
    from stream_capi.pipeline.suppression_list import SuppressionList

    return SuppressionList(settings.suppress.file)


def file_content(file: Path) -> bytes:
    """The bytes of a file that a person named. Raises ConfigurationError."""
    try:
        return content(file)
    except OSError as error:
        raise ConfigurationError([f"--file: {file} can't be read: {error.strerror}"]) from None


async def explain_file(settings: Settings, of_topic: Sequence[SourceSection], file: Path) -> list[ExplainedRecord]:
    """Explain a record's value as it is on the wire, or its fields where the file's name ends in ``.json``.

    Raises RegistryUnavailable, ConfigurationError, CheckFailed where the registry's rules encrypt what is mapped.
    """
    first, value = of_topic[0], file_content(file)
    if file.suffix.lower() != ".json":
        return await _explained(settings, of_topic, [(_FileRecord(value, first.topic), first.topic)])
    schemas = await _schemas_of_json(settings, of_topic)
    try:
        text = value.decode("utf-8-sig")
        schema, row = first_that_fits(schemas, lambda raw, record: row_from_json(raw, text, record))
    except UnicodeDecodeError:
        raise ConfigurationError([f"--file: {file} is not UTF-8 text"]) from None
    except NotOfSchema as fault:
        names = " | ".join(schema.name for schema in schemas)
        raise ConfigurationError([f"--file: {file} is not a record of {names}: {fault}"]) from None
    name, source = f"{schema.name} (from JSON)", _source_for(of_topic, schema)
    if source is None:
        return [ExplainedRecord(first.topic, name, None, Skipped("unrouted"))]
    return [_of_row(settings, source, schema, row, (0, 0), source.topic, name, forgotten(settings))]


def first_that_fits(
    schemas: Sequence[WriterSchema], row_of: Callable[[Any, str], dict[str, Any]]
) -> tuple[WriterSchema, dict[str, Any]]:
    """The schema and fields of a record written as JSON: the first of the records it may be that ``row_of`` can make of it.

    :param row_of: makes the fields for a schema's JSON and the record's name, or raises NotOfSchema.
    :raises NotOfSchema: it is none of them.
    """
    faults: list[NotOfSchema] = []
    for one in (record for schema in schemas for record in schema.records):
        if one is not None:
            try:
                return one, row_of(one.raw, one.name)
            except NotOfSchema as fault:
                faults.append(fault)
    raise faults[0] if len(faults) == 1 else NotOfSchema("it fits none of the types it may have")


async def _schemas_of_json(settings: Settings, of_topic: Sequence[SourceSection]) -> list[WriterSchema]:
    """The schemas that JSON is read with: the topic's file, the one schema of its folder, or the registry's newest."""
    first, sources = of_topic[0], SchemaSources(settings)
    try:
        schemas = await sources.newest(first, [one.record for one in of_topic if one.record is not None])
    finally:
        await sources.aclose()
    if first.has_folder and len(schemas) != 1:
        names = ", ".join(schema.name for schema in schemas)
        raise ConfigurationError([f"--file: JSON needs one schema; {first.schema_file} has {names}"])
    return schemas
