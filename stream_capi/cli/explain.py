"""``stream-capi explain``: how an event becomes a ServerEvent, field by field."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_capi import config
from stream_capi.app import Registry
from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import Unframed, frame
from stream_capi.avro.schemas import FileSchema, FolderSchemas
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.cli.options import Config, Json
from stream_capi.cli.sources import source_of
from stream_capi.cli.text import plain, print_json
from stream_capi.config import Settings, Source
from stream_capi.config.files import content
from stream_capi.errors import ConfigurationError
from stream_capi.events.explain import Explanation, explain
from stream_capi.events.lines import Line, Verdict
from stream_capi.events.plain_json import NotOfSchema, row_from_json
from stream_capi.events.rules import rules_from
from stream_capi.events.value_masking import raw_shown, result_shown
from stream_capi.kafka.scan import latest_records, record_at
from stream_capi.model import Record, Rejection, Routed, Skipped, Transformed

_STYLES = {
    Verdict.SENT: "green",
    Verdict.PASSED: "green",
    Verdict.DROPPED: "yellow",
    Verdict.FAILS: "bold red",
    Verdict.SKIPS: "yellow",
    Verdict.WITHHELD: "dim",
    Verdict.ABSENT: "dim",
}
_WIDTH = 150  # where the output is no terminal


def command(
    config_file: Config,
    topic: Annotated[str, typer.Option(help="The topic of one of the sources.")],
    partition: Annotated[int | None, typer.Option(min=0, help="With --offset: the record's partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="With --partition: the record's offset.")] = None,
    latest: Annotated[int | None, typer.Option(min=1, max=100, help="The newest N records of the topic.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="One record's value as it is on the wire; or, in a .json file, its fields."),
    ] = None,
    show_personal_data: Annotated[bool, typer.Option("--show-personal-data", help="Show values unmasked.")] = False,
    as_json: Json = False,
) -> None:
    """Show how an event becomes a ServerEvent: source path, rule, result or why it fails, field by field."""
    if (partition is None) != (offset is None):
        raise typer.BadParameter("--partition and --offset go together")
    if sum(given is not None for given in (offset, latest, file)) != 1:
        raise typer.BadParameter("give one of --partition with --offset, --latest and --file")
    settings = config.load(config_file, keys=False)
    source = source_of(settings, topic)
    if file is not None:
        told = asyncio.run(_of_file(settings, source, file, _content(file)))
    else:
        records: Sequence[Record] = (
            [record_at(settings.kafka, topic, partition, offset)]
            if partition is not None and offset is not None
            else latest_records(settings.kafka, topic, latest or 1)
        )
        told = asyncio.run(explained(settings, source, records))
    if as_json:
        print_json([shown_as_json(one, show_personal_data) for one in told], indent=2)
    elif not told:
        print(f"{topic} has no records")
    for one in told if not as_json else ():
        print_told(one, show_personal_data)


class Told(NamedTuple):
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


# From records to explanations


async def explained(settings: Settings, source: Source, records: Sequence[Record]) -> list[Told]:
    """Explain records of a source. Raises RegistryUnavailable, ConfigurationError."""
    registry = Registry(settings)
    try:
        return [await _of_record(settings, source, registry, record) for record in records]
    finally:
        await registry.aclose()


async def _of_record(settings: Settings, source: Source, registry: Registry, record: Record) -> Told:
    at = f"{record.topic()}[{record.partition()}]@{record.offset()}"
    if isinstance(record, _FileRecord):
        at = source.topic
    value = record.value()
    if value is None:
        return Told(at, "", None, Skipped("tombstone"))
    (framed,) = frame(source.framing, [record], [value], schema_file=source.schema_file is not None)
    if isinstance(framed, Unframed):
        return Told(at, "", None, framed.rejection)
    schema = await registry.for_source(source).load(framed.key)
    if isinstance(schema, Rejection):
        return Told(at, str(framed.key), None, schema)
    (row,) = Decoder(schema).decode(framed.payloads)
    name = f"{schema.name} ({framed.key})"
    if isinstance(row, Rejection):
        return Told(at, name, None, row)
    return _of_row(settings, source, schema, row, (int(record.partition() or 0), int(record.offset() or 0)), at, name)


def _of_row(
    settings: Settings,
    source: Source,
    schema: WriterSchema,
    row: dict[str, Any],
    place: tuple[int, int],
    at: str,
    name: str,
) -> Told:
    rules = rules_from(source, settings)
    explanation = explain(rules, schema.raw, row, (source.topic, *place), int(time.time() * 1000))
    return Told(at, name, explanation, explanation.outcome)


def _content(file: Path) -> bytes:
    try:
        return content(file)
    except OSError as error:
        raise ConfigurationError([f"--file: {file} can't be read: {error.strerror}"]) from None


async def _of_file(settings: Settings, source: Source, file: Path, content: bytes) -> list[Told]:
    if file.suffix.lower() != ".json":
        return await explained(settings, source, [_FileRecord(content, source.topic)])
    schema = await _schema_of_json(settings, source)
    try:
        row = row_from_json(schema.raw, content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigurationError([f"--file: {file} is not UTF-8 text"]) from None
    except NotOfSchema as fault:
        raise ConfigurationError([f"--file: {file} is no record of {schema.name}: {fault}"]) from None
    return [_of_row(settings, source, schema, row, (0, 0), source.topic, f"{schema.name} (from JSON)")]


async def _schema_of_json(settings: Settings, source: Source) -> WriterSchema:
    """The schema that JSON is read with: the source's file, the one schema of its folder, or the registry's newest."""
    if source.schema_file is not None and not source.has_folder:
        return FileSchema(source.schema_file).schema
    if source.schema_file is not None:
        schemas = FolderSchemas(source.schema_file).schemas()
        if len(schemas) != 1:
            names = ", ".join(schema.name for schema in schemas)
            raise ConfigurationError([f"--file: JSON needs one schema; {source.schema_file} has {names}"])
        return schemas[0]
    registry = Registry(settings)
    try:
        if registry.registry is None:
            raise ConfigurationError([f"sources: {source.topic}: there is no [schema_registry] and no schema_file"])
        return await registry.registry.newest(source.topic)
    finally:
        await registry.aclose()


# What is shown


def _shown(line: Line, personal: bool) -> tuple[Any, Any]:
    return (line.raw, line.result) if personal else (raw_shown(line), result_shown(line))


def shown_as_json(told: Told, personal: bool) -> dict[str, Any]:
    """What was explained, in JSON's types; masked unless ``personal``."""
    lines = told.explanation.lines if told.explanation else ()
    fields = []
    for line in lines:
        raw, result = _shown(line, personal)
        fields.append(
            {
                "target": line.target,
                "from": line.path,
                "looked_at": list(line.paths),
                "value": raw,
                "rule": line.rule,
                "verdict": line.verdict.value,
                "result": result,
                "note": line.note,
            }
        )
    return {"record": told.place, "schema": told.schema, "fields": fields, "outcome": _outcome(told, personal)}


def _outcome(told: Told, personal: bool) -> dict[str, Any]:
    made = told.outcome
    if isinstance(made, Rejection):
        return {"kind": "dead_letter", "code": made.code.value, "detail": made.detail}
    if isinstance(made, Skipped):
        return {"kind": "skipped", "reason": made.reason}
    payload = orjson.loads(made.payload if isinstance(made, Routed) else made)
    lane = told.explanation.lane if told.explanation else None
    sent = {"kind": "sent", "pixel": lane.pixel if lane else None, "event": payload["name"]}
    return sent | ({"payload": payload} if personal else {})


def print_told(told: Told, personal: bool) -> None:
    """Print what was explained, masked unless ``personal``."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _WIDTH))
    console.print(Text(plain(f"{told.place}  {told.schema}"), style="bold"))
    if told.explanation is not None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("field", "from", "value", "rule", "result"):
            table.add_column(heading, overflow="fold")
        for line in told.explanation.lines:
            table.add_row(*(Text(plain(cell), style=_STYLES[line.verdict]) for cell in _cells(line, personal)))
        console.print(table)
    outcome = _outcome(told, personal)
    if outcome["kind"] == "sent":
        console.print(Text(f"sent as {outcome['event']} to pixel {outcome['pixel']}", style="bold green"))
        if personal:
            console.print_json(data=outcome["payload"])
    elif outcome["kind"] == "skipped":
        console.print(Text(f"skipped and counted: {outcome['reason']}", style="bold yellow"))
    else:
        console.print(Text(plain(f"dead letter: {outcome['code']}: {outcome['detail']}"), style="bold red"))
    console.print()


def _cells(line: Line, personal: bool) -> tuple[str, ...]:
    raw, result = _shown(line, personal)
    looked_at = line.path or " or ".join(line.paths)
    value = "" if raw is None and line.path is None else "null" if raw is None else str(raw)
    became = [] if result is None else [str(result)]
    if line.verdict not in (Verdict.SENT, Verdict.PASSED):
        became.append(line.verdict.value)
    if line.note:
        became.append(line.note)
    return line.target, looked_at, value, line.rule, ": ".join(became)
