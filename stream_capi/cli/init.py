"""``stream-capi init``: a first configuration for a topic, guessed from its schema, for a person to correct."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

import typer

from stream_capi.avro.registry import RegistrySchemas
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.cli.text import plain
from stream_capi.config.environment import overlay
from stream_capi.config.settings import PIXEL_ID_TO_REPLACE, KafkaSection
from stream_capi.config.values import is_topic
from stream_capi.errors import ConfigurationError, NoSubject, StreamCapiError
from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.guess import Guess, event_of, guesses
from stream_capi.events.offers import consents, event_fields, is_change
from stream_capi.model import EventName, Rejection
from stream_capi.operations.recent_records import recent_records, stated_key

_REQUIRED = {
    "event_time": '"sent_at"',
    "event_source_url": '"page.url"',
    "data.currency": '{ const = "USD" }',
    "data.value": "{ const = 0 }",
    "user_data.client_ip_address": '"context.ip"',
    "user_data.client_user_agent": '"context.user_agent"',
    "user_data.esi": '{ const = "web" }',
}
_KAFKA = "STREAM_CAPI_KAFKA"
_CONSENTS = 4  # offered at most
_LINE = 120
_RECORDS = (50,)  # of each partition, which may have records of several types
_WIDTH = 58  # the column in which remarks begin
_PROPERTIES = "STREAM_CAPI_SCHEMA_REGISTRY__PROPERTIES"


def command(
    registry: Annotated[
        str,
        typer.Option(
            help="The schema registry's URL. Its user and password come from the environment: "
            f"{_PROPERTIES}__BASIC__AUTH__USER__INFO=user:password."
        ),
    ],
    topic: Annotated[str, typer.Option(help="The topic whose newest schema is mapped.")],
    event: Annotated[
        EventName | None, typer.Option(help="What its records are; guessed by its name otherwise.")
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            help="The brokers, which are asked for a recent record if the registry has no subject TOPIC-value. "
            f"Their other properties come from the environment: {_KAFKA}__PROPERTIES__SECURITY__PROTOCOL=…"
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The file to write; standard output otherwise.")] = None,
) -> None:
    """Ask the registry for a topic's schema and write a commented configuration with the best guess of its mapping."""
    parts = _parts(registry)
    if not is_topic(topic):
        raise typer.BadParameter("--topic must be 1 to 249 letters, digits, dots, underscores and hyphens")
    if parts.username is not None:
        raise typer.BadParameter(
            f"--registry must hold no user or password; set {_PROPERTIES}__BASIC__AUTH__USER__INFO"
        )
    if output is not None and os.path.lexists(output):
        raise ConfigurationError([f"--output: {output} is there already; name another file, or delete it"])
    kafka = _kafka(os.environ, bootstrap_servers)
    schemas, framing = asyncio.run(_newest(registry, topic, _properties(os.environ), kafka))
    text = "\n".join(_lines(registry, kafka, topic, framing, event, schemas)) + "\n"
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"--output: {output} can't be written: {error.strerror}"]) from None
    name = plain(str(output))
    print(f"{name} is written: {_counted(text)}. Correct it, then: stream-capi check --config {name}")


def _counted(text: str) -> str:
    """How many lines of the file are left for a person to decide, in words."""
    lines = text.splitlines()
    unsure = sum("  # unsure" in line for line in lines)
    return f"{unsure} lines are marked as unsure, {sum('# TODO' in line for line in lines)} as TODO"


def _parts(url: str) -> SplitResult:
    with suppress(ValueError):  # brackets that hold no address
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and url.isprintable():
            return parts
    raise typer.BadParameter("--registry must be an absolute http or https URL")


def _stated(environ: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """The settings from environment variables that begin with a prefix. They may hold passwords."""
    data: dict[str, Any] = {}
    _, faults = overlay(data, {name: text for name, text in environ.items() if name.startswith(prefix)})
    if faults:
        raise ConfigurationError([f"{fault.variable}: {fault.what}" for fault in faults])
    return data


def _properties(environ: Mapping[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = _stated(environ, _PROPERTIES).get("schema_registry", {}).get("properties", {})
    return properties


def _kafka(environ: Mapping[str, str], servers: str | None) -> KafkaSection:
    stated = _stated(environ, _KAFKA).get("kafka", {}) | ({"bootstrap_servers": servers} if servers else {})
    try:
        return KafkaSection.model_validate(stated)
    except ValueError as error:  # its text may hold a password
        raise ConfigurationError([f"{_KAFKA}__…: {type(error).__name__}; check these variables"]) from None


async def _newest(
    url: str, topic: str, properties: Mapping[str, Any], kafka: KafkaSection
) -> tuple[Sequence[WriterSchema], str | None]:
    """The topic's newest schema, or without its subject those of the record types among its recent records.

    Also the framing, if records had to be read and it isn't the default one.
    """
    registry = RegistrySchemas(url, properties)
    try:
        return await registry.newest(topic), None
    except NoSubject as error:
        (fault,) = error.faults
        try:
            records = await asyncio.to_thread(recent_records, kafka, topic, _RECORDS)
        except StreamCapiError as lost:
            why = f"no record can be read to find another: {lost}; check --topic and --bootstrap-servers"
            raise ConfigurationError([f"{fault}, and {why}"]) from None
        if not records:
            raise ConfigurationError([f"{fault}, and the topic has no record to find another by"]) from None
        stated = [stated_key(record) for record in records]
        framing, newest = stated[0]
        if isinstance(newest, Rejection):
            raise ConfigurationError([f"{fault}, and the newest record names no schema: {newest.detail}"]) from None
        keys = [key for _, key in stated if not isinstance(key, Rejection)]
        return await registry.newest(topic, written_by=keys), framing
    finally:
        await registry.aclose()


def _lines(
    url: str,
    kafka: KafkaSection,
    topic: str,
    framing: str | None,
    event: EventName | None,
    schemas: Sequence[WriterSchema],
) -> Iterator[str]:
    yield f"# A first guess for the topic {topic}, by the names and types of its schema {_named(schemas[0])}."
    for schema in schemas[1:]:
        yield f"# Of a recent record: {_named(schema)}. Records of a type without a source are skipped as unrouted."
    yield "# Correct it, then let the program look at it and at one event:"
    yield "#   stream-capi check --config FILE"
    yield f"#   stream-capi explain --config FILE --topic {topic} --latest 1"
    brokers = f"bootstrap_servers = {_quoted(kafka.bootstrap_servers)}"
    stated = "bootstrap_servers" in kafka.model_fields_set
    yield from ("", "[kafka]", brokers if stated else _with_remark(brokers, "TODO: the brokers; none were given"))
    yield 'group_id = "stream-capi"'
    yield from ("", "[schema_registry]", f"url = {_quoted(url)}")
    yield from ("", "[[pixels]]", 'name = "main"')
    yield _with_remark(f"pixel_id = {_quoted(PIXEL_ID_TO_REPLACE)}", "TODO: the Axon Event Key")
    yield _with_remark('api_key_env = "AXON_API_KEY"', "the variable that holds the Conversion API key")
    records = [record for schema in schemas for record in schema.records if record is not None]
    for record in records:
        yield from _source(topic, framing, event, record, len(records) > 1)


def _named(schema: WriterSchema) -> str:
    return f"{''.join(sign for sign in schema.name if sign.isprintable())} ({schema.key})"


def _source(
    topic: str, framing: str | None, stated: EventName | None, schema: WriterSchema, named: bool
) -> Iterator[str]:
    """A source for one record type. ``named``: the topic has several, so the source must name its own."""
    event = stated or event_of(schema.name, "" if named else topic)
    guessed = guesses(schema.raw, event, schema.name)
    yield from ("", "[[sources]]", f"topic = {_quoted(topic)}")
    if named:
        yield _with_remark(f"record = {_quoted(schema.name)}", "delete this source if these are not events for the API")
    several = "or event_field with a table of events, if a topic holds several"
    yield _with_remark(f'event = "{event.value}"', several if stated else f"unsure: by the names; {several}")
    if framing is not None:
        yield f"framing = {_quoted(framing)}"
    yield 'pixel = "main"'
    yield from _offered(schema)
    yield from ("", "[sources.fields]")
    for guess in guessed:
        yield from _mapped(guess)
    if hidden := schema.encrypted.fault(schema.parsed, [path for guess in guessed for path in guess.paths]):
        yield f"# Can't be sent: {hidden}"
    if not any(guess.paths for guess in guessed if guess.target[10:] in IDENTIFIER_FIELDS):
        yield f"# TODO one of these is required: {', '.join(f'user_data.{field}' for field in IDENTIFIER_FIELDS)}"
    absent = [guess.target for guess in guessed if not guess.paths and guess.target not in _REQUIRED]
    if absent:
        yield from wrap(
            f"# Nothing looks like these, which are optional: {', '.join(absent)}", width=_LINE, subsequent_indent="# "
        )


def _offered(schema: WriterSchema) -> Iterator[str]:
    """Keys that only a person can decide on, as comments."""
    for path in event_fields(schema.raw, schema.name)[:1]:
        key = f"# event_field = {_quoted(path)}"
        yield _with_remark(key, 'perhaps in place of event, with events = { VALUE = "generate_lead", "*" = "skip" }')
    if is_change(schema.raw, schema.name):
        yield _with_remark(
            '# where = { field = "op", in = ["c", "r"] }', "only new rows; otherwise each update is an event"
        )
    for consent in consents(schema.raw, schema.name)[:_CONSENTS]:
        yield _with_remark(
            f"# consent_field = {_quoted(consent.path)}", "looks like a consent; without it an event is skipped"
        )
        if consent.purposes:
            yield _with_remark('# consent_purposes = ["…"]', "purposes that must all be among those agreed to")


def _mapped(guess: Guess) -> Iterator[str]:
    key = guess.target if "." not in guess.target else f'"{guess.target}"'
    if not guess.paths:
        if guess.target in _REQUIRED:
            yield _with_remark(f"# TODO {key} = {_REQUIRED[guess.target]}", "required, and nothing looks like it")
        return
    remarks = [] if guess.sure else ["unsure"]
    if guess.why:
        remarks.append(guess.why)
    if guess.unit is not None and not guess.sure:
        remarks.append("a bare number: s, ms or us?")
    if len(guess.paths) > 1:
        remarks.append(f"or {' or '.join(guess.paths[1:])}")
    line = f"{key} = {_value(guess)}"
    yield _with_remark(line, "; ".join(remarks)) if remarks else line


def _value(guess: Guess) -> str:
    path = _quoted(guess.paths[0])
    if guess.unit is not None:
        return f'{{ path = {path}, unit = "{guess.unit}" }}'
    if guess.table is not None:
        table = ", ".join(f"{_quoted(value)} = {_quoted(meant)}" for value, meant in guess.table.items())
        return f"{{ path = {path}, map = {{ {table} }} }}"
    return path


def _with_remark(line: str, remark: str) -> str:
    return f"{line:<{_WIDTH}}  # {remark}"


def _quoted(text: str) -> str:
    """A text as TOML writes it; paths and topics have no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
