"""Runs the cases of a configuration through the pipeline's own mapping (contract, section 2: ``test``).

Nothing here asks a clock: ages are judged at the case's ``now``, else at its record's ``timestamp``; where a case has
neither, no limit of age applies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from stream_capi.avro.framing import SchemaKey, Unframed
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.schemas import GivenSchema
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.config.settings import TARGETS
from stream_capi.config.shape import meant
from stream_capi.core.batch import longest_event, sized
from stream_capi.errors import ConfigurationError, FieldsEncrypted, RegistryUnavailable, StreamCapiError, Unavailable
from stream_capi.events.paths import table_of
from stream_capi.events.plain_json import NotOfSchema, row_from
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import Transform, compile_source
from stream_capi.events.value_rules import MOST_TIME_MS
from stream_capi.model import Paused, Rejection, Routed, Skipped, Transformed
from stream_capi.operations.cases import UNSET, Case, CaseFile, Expectation
from stream_capi.operations.explain import first_that_fits, forgotten
from stream_capi.pipeline.configured_sources import source_of
from stream_capi.pipeline.source import Codec, Coded, TopicSource, parts_of

_FIELD = re.compile(r'([a-z_.]+)(?:: | ")')  # what the detail of a rejection begins with
_GIVE_SCHEMA = 'name its .avsc by schema = "…" in the case, or by --schema'


class CaseVerdict(StrEnum):
    """How a case ended."""

    PASS = "pass"  # noqa: S105 -- no password
    FAIL = "FAIL"
    UPDATED = "updated"
    BROKEN = "broken"


class Difference(NamedTuple):
    """A field of which another value came out than was expected; None stands for nothing."""

    field: str
    expected: Any
    came_out: Any

    def __repr__(self) -> str:
        return f"Difference({self.field})"


@dataclass(frozen=True, slots=True, repr=False)
class CaseResult:
    """What became of a case. ``outcome`` is what came out, None of a case that is ``broken``: ``fault`` says why."""

    case: Case
    verdict: CaseVerdict
    outcome: Expectation | None = None
    differences: tuple[Difference, ...] = ()
    fault: str = ""
    detail: str = ""  # of a dead letter that came out

    def __repr__(self) -> str:
        return f"CaseResult({self.case!r}, {self.verdict.value})"


class _Broken(Exception):
    """A case can't be run; the text says why."""


async def run_cases(settings: Settings, files: Sequence[CaseFile], schema: Path | None) -> list[CaseResult]:
    """Run all cases. ``schema`` is for those that name none.

    Raises ConfigurationError where ``schema`` or the list of people to be forgotten can't be read.
    """
    line = _CaseLine(settings, schema)
    try:
        return [await line.result(case) for file in files for case in file.cases]
    finally:
        await line.aclose()


class _CaseLine:
    """The mapping of each topic, compiled once for each schema that cases name."""

    def __init__(self, settings: Settings, schema: Path | None) -> None:
        self._settings = settings
        self._schema = schema
        self._people = forgotten(settings)
        self._given: dict[Path, GivenSchema | ConfigurationError] = {} if schema is None else {schema: _named(schema)}
        self._configured: SchemaSources | None = None  # made only for a case without a schema: it may ask a registry
        self._newest: dict[str, list[WriterSchema] | StreamCapiError] = {}
        self._unavailable: dict[str, RegistryUnavailable] = {}
        self._codecs: dict[tuple[int, str, str], Codec | Rejection | Skipped | Paused] = {}
        self._sources: dict[tuple[str, Path | None, bool], TopicSource] = {}
        self._longest = longest_event(settings.batch.max_bytes)

    async def aclose(self) -> None:
        if self._configured is not None:
            await self._configured.aclose()

    async def result(self, case: Case) -> CaseResult:
        """Run a case and compare."""
        try:
            made, pixel = await self._made(case)
        except _Broken as broken:
            return CaseResult(case, CaseVerdict.BROKEN, fault=str(broken))
        except ConfigurationError as error:
            return CaseResult(case, CaseVerdict.BROKEN, fault="; ".join(error.faults) + self._hint(case))
        except FieldsEncrypted as error:
            return CaseResult(case, CaseVerdict.BROKEN, fault=f"{error}; its records wait")
        except Unavailable as error:
            return CaseResult(case, CaseVerdict.BROKEN, fault=f"{error}; {_GIVE_SCHEMA}")
        outcome, detail = _outcome(made, pixel, case.expected)
        if case.expected is None:
            return CaseResult(case, CaseVerdict.BROKEN, outcome, fault="has no expect; --update writes what comes out")
        differences = tuple(_differences(case.expected, outcome))
        return CaseResult(
            case, CaseVerdict.FAIL if differences else CaseVerdict.PASS, outcome, differences, detail=detail
        )

    async def _made(self, case: Case) -> tuple[Transformed, str | None]:
        """What the pipeline makes of the record, and the pixel of an event."""
        topic = self._topic(case)
        self._check_pixel(case)
        value = case.record.value()
        if case.fields is None or (case.fields is UNSET and value is None):
            return Skipped("tombstone"), None
        source = self._source(topic, case)
        if case.fields is not UNSET:
            return await self._of_fields(source, topic, case)
        assert value is not None  # noqa: S101 -- shown above
        (framed,) = source.frame([case.record], [value])
        if isinstance(framed, Unframed):
            return framed.rejection, None
        coded = source.codec(framed.key) or await self._loaded(source, framed.key)
        (part,) = parts_of(coded, framed.payloads)
        if not isinstance(part.codec, Codec):
            return part.codec, None
        of = case.record
        (made,) = source.transform(part.codec, part.payloads, of.partition(), [of.offset()], _now(case))
        return self._sized(made, part.codec.source or source)

    async def _of_fields(self, source: TopicSource, topic: str, case: Case) -> tuple[Transformed, str | None]:
        """A record that is given as JSON has no framing; its schema is the one that new records have."""
        schema, row = _row_of(await self._schemas_of(topic, case), case.fields)
        codec = self._codec(source, schema)
        if not isinstance(codec, Codec):
            return codec, None
        table, of = table_of([row], codec.transform.paths), case.record
        (made,) = codec.transform.apply(table, topic, of.partition(), [of.offset()], _now(case))
        return self._sized(made, codec.source or source)

    def _codec(self, source: TopicSource, schema: WriterSchema) -> Codec | Rejection | Skipped | Paused:
        """Compiled once for a type of record."""
        key = id(source), schema.digest, schema.name
        if key not in self._codecs:
            self._codecs[key] = source.codec_of(schema)
        return self._codecs[key]

    def _sized(self, made: Transformed, source: Any) -> tuple[Transformed, str | None]:
        pixel = made.lane.pixel if isinstance(made, Routed) else source.pixel if isinstance(made, bytes) else None
        made = sized(made, self._longest)
        return (made.payload if isinstance(made, Routed) else made), pixel

    def _topic(self, case: Case) -> str:
        topics = self._settings.topics
        if case.topic is None and len(topics) == 1:
            return topics[0]
        if case.topic is not None and case.topic in topics:
            return case.topic
        if not topics:
            raise _Broken("the configuration has no [[sources]]")
        if case.topic is None:
            raise _Broken(f"topic: is missing; there are {', '.join(topics)}")
        close = get_close_matches(case.topic, topics, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(topics)}"
        raise _Broken(f"topic: is not that of one of the sources; {hint}")

    def _check_pixel(self, case: Case) -> None:
        names, expected = [pixel.name for pixel in self._settings.pixels], case.expected
        if expected is not None and expected.pixel is not None and expected.pixel not in names:
            raise _Broken(f"expect.pixel: is not one of the pixels{meant(expected.pixel, names)}")

    # Schemas

    def _hint(self, case: Case) -> str:
        return f"; {_GIVE_SCHEMA}" if (case.schema or self._schema) is None else ""

    def _source(self, topic: str, case: Case) -> TopicSource:
        has_moment = _has_moment(case)
        key = topic, case.schema or self._schema, has_moment
        if key not in self._sources:
            self._sources[key] = source_of(
                self._settings,
                topic,
                lambda section: self._stated(case) or self._of_settings().for_source(section),
                lambda section: self._compile_for(section, has_moment),
            )
        return self._sources[key]

    def _compile_for(self, section: SourceSection, has_moment: bool) -> Callable[[WriterSchema], Transform]:
        rules = rules_from(section, self._settings)
        if not has_moment:
            rules = replace(rules, max_age_ms=0, max_future_ms=MOST_TIME_MS)
        return lambda schema: compile_source(rules, schema.raw, schema.name, people=self._people)

    def _of_settings(self) -> SchemaSources:
        if self._configured is None:
            self._configured = SchemaSources(self._settings)
        return self._configured

    def _stated(self, case: Case) -> GivenSchema | None:
        """The schema that the case names, or the command. Raises ConfigurationError."""
        file = case.schema or self._schema
        if file is None:
            return None
        if file not in self._given:
            try:
                self._given[file] = GivenSchema(file)
            except ConfigurationError as error:
                self._given[file] = error
        found = self._given[file]
        if isinstance(found, ConfigurationError):
            raise ConfigurationError([f"schema: {fault}" for fault in found.faults])
        return found

    async def _loaded(self, source: TopicSource, key: SchemaKey) -> Coded:
        """Raises Unavailable; a registry that gave no answer is not asked again for each case."""
        if (fault := self._unavailable.get(source.topic)) is not None:
            raise fault
        try:
            return await source.load(key)
        except RegistryUnavailable as error:
            self._unavailable[source.topic] = error
            raise

    async def _schemas_of(self, topic: str, case: Case) -> list[WriterSchema]:
        """The schemas that a record of the topic may have. Raises ConfigurationError, Unavailable."""
        if (stated := self._stated(case)) is not None:
            return [stated.schema]
        if topic not in self._newest:
            sections = self._settings.sources_of(topic)
            names = [one.record for one in sections if one.record is not None]
            try:
                self._newest[topic] = await self._of_settings().newest(sections[0], names)
            except (ConfigurationError, Unavailable) as error:
                self._newest[topic] = error  # not asked again for each case
        found = self._newest[topic]
        if isinstance(found, StreamCapiError):
            raise found
        return found


def _named(schema: Path) -> GivenSchema:
    """The schema that the command names; a wrong one is told even where each case names its own."""
    try:
        return GivenSchema(schema)
    except ConfigurationError as error:
        raise ConfigurationError([f"--schema: {fault}" for fault in error.faults]) from None


def _row_of(schemas: Sequence[WriterSchema], given: Any) -> tuple[WriterSchema, dict[str, Any]]:
    """The record's schema and its decoded fields."""
    try:
        return first_that_fits(schemas, lambda raw, record: row_from(raw, given, record))
    except NotOfSchema as fault:
        names = " | ".join(schema.name for schema in schemas)
        raise _Broken(f"record: is not a record of {names}: {fault}") from None


def _has_moment(case: Case) -> bool:
    return case.now is not None or case.record.written is not None


def _now(case: Case) -> int:
    return case.now if case.now is not None else case.record.written or 0


# What came out, and what was expected


def _outcome(made: Transformed, pixel: str | None, expected: Expectation | None) -> tuple[Expectation, str]:
    """What came out, in the form of an expectation; and the detail of a dead letter.

    It has what a person would write: the pixel of an event, the field of a dead letter, its detail where one is expected.
    """
    if isinstance(made, Skipped):
        return Expectation(skipped=made.reason), ""
    if isinstance(made, Rejection):
        found = _FIELD.match(made.detail)
        field = found[1] if found and found[1] in (*TARGETS, "event_field", "pixel_field") else None
        detail = made.detail if expected is not None and expected.detail is not None else None
        return Expectation(dead_letter=made.code.value, field=field, detail=detail), made.detail
    assert isinstance(made, bytes)  # noqa: S101 -- what is routed was unwrapped, and nothing is paused here
    return Expectation(event=orjson.loads(made), pixel=pixel), ""


def _differences(expected: Expectation, outcome: Expectation) -> list[Difference]:
    if expected.event is not None and outcome.event is not None:
        return _of_events(expected, outcome)
    wanted, got = _in_words(expected), _in_words(outcome)
    found = [] if wanted == got else [Difference("outcome", wanted, got)]
    for name in ("field", "detail"):
        one, other = getattr(expected, name), getattr(outcome, name)
        if not found and one is not None and one != other:
            found.append(Difference(name, one, other))
    return found


def _in_words(outcome: Expectation) -> str:
    if outcome.event is not None:
        return "sent"
    if outcome.skipped is not None:
        return f"skipped: {outcome.skipped}"
    return f"dead letter: {outcome.dead_letter}"


def _of_events(expected: Expectation, outcome: Expectation) -> list[Difference]:
    assert expected.event is not None  # noqa: S101
    assert outcome.event is not None  # noqa: S101
    wanted, got = _flat(expected.event), _flat(outcome.event)
    if expected.pixel is not None:
        wanted["pixel"], got["pixel"] = expected.pixel, outcome.pixel
    names = dict.fromkeys([*got, *wanted])
    return [
        Difference(name, wanted.get(name), got.get(name))
        for name in names
        if not _same(wanted.get(name), got.get(name))
    ]


def _flat(event: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event by their names; ``data`` of a page view, which is null, is left out as TOML has no null."""
    flat: dict[str, Any] = {}
    for name, value in event.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        elif value is not None:
            flat[name] = value
    return flat


def _same(expected: Any, came_out: Any) -> bool:
    if isinstance(expected, bool) or isinstance(came_out, bool):
        return expected is came_out
    if isinstance(expected, Decimal) and isinstance(came_out, int | float):
        return float(expected) == came_out
    return bool(expected == came_out)
