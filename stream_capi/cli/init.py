"""``stream-capi init``: a first configuration for a topic, guessed from its schema, for a person to correct."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

import typer

from stream_capi.avro.registry import RegistrySchemas
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config.environment import overlay
from stream_capi.config.values import is_topic
from stream_capi.errors import ConfigurationError
from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.guess import Guess, event_of, guesses
from stream_capi.model import EventName

_REQUIRED = {
    "event_time": '"sent_at"',
    "event_source_url": '"page.url"',
    "data.currency": '{ const = "USD" }',
    "data.value": "{ const = 0 }",
    "user_data.client_ip_address": '"context.ip"',
    "user_data.client_user_agent": '"context.user_agent"',
    "user_data.esi": '{ const = "web" }',
}
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
        raise ConfigurationError([f"--output: {output} is there already; name another file, or take it away"])
    schema = asyncio.run(_newest(registry, topic, _properties(os.environ)))
    chosen = event or event_of(schema.name, topic)
    text = "\n".join(_lines(registry, topic, chosen, schema)) + "\n"
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"--output: {output} can't be written: {error.strerror}"]) from None
    print(f"{output} is written. Correct it, then: stream-capi check --config {output}")


def _parts(url: str) -> SplitResult:
    with suppress(ValueError):  # brackets that hold no address
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and url.isprintable():
            return parts
    raise typer.BadParameter("--registry must be an absolute http or https URL")


def _properties(environ: Mapping[str, str]) -> dict[str, Any]:
    """The registry's properties that the environment holds, where a password may be."""
    data: dict[str, Any] = {}
    _, faults = overlay(data, {name: text for name, text in environ.items() if name.startswith(_PROPERTIES)})
    if faults:
        raise ConfigurationError([f"{fault.variable}: {fault.what}" for fault in faults])
    properties: dict[str, Any] = data.get("schema_registry", {}).get("properties", {})
    return properties


async def _newest(url: str, topic: str, properties: Mapping[str, Any]) -> WriterSchema:
    registry = RegistrySchemas(url, properties)
    try:
        return await registry.newest(topic)
    finally:
        await registry.aclose()


def _lines(url: str, topic: str, event: EventName, schema: WriterSchema) -> Iterator[str]:
    guessed = guesses(schema.raw, event)
    name = "".join(sign for sign in schema.name if sign.isprintable())
    yield f"# A first guess for the topic {topic}, by the names and types of its schema {name} ({schema.key})."
    yield "# Correct it, then let the program look at it and at one event:"
    yield "#   stream-capi check --config FILE"
    yield f"#   stream-capi explain --config FILE --topic {topic} --latest 1"
    yield from ("", "[kafka]", 'bootstrap_servers = "localhost:9092"', 'group_id = "stream-capi"')
    yield from ("", "[schema_registry]", f"url = {_quoted(url)}")
    yield from ("", "[[pixels]]", 'name = "main"')
    yield _with_remark('pixel_id = "your-axon-event-key"', "TODO: the Axon Event Key")
    yield _with_remark('api_key_env = "AXON_API_KEY"', "the variable that holds the Conversion API key")
    yield from ("", "[[sources]]", f"topic = {_quoted(topic)}")
    yield _with_remark(f'event = "{event.value}"', "or event_field with a table of events, where a topic holds several")
    yield from ('pixel = "main"', "", "[sources.fields]")
    for guess in guessed:
        yield from _mapped(guess)
    if not any(guess.paths for guess in guessed if guess.target[10:] in IDENTIFIER_FIELDS):
        yield f"# TODO one of these is required: {', '.join(f'user_data.{field}' for field in IDENTIFIER_FIELDS)}"
    absent = [guess.target for guess in guessed if not guess.paths and guess.target not in _REQUIRED]
    if absent:
        yield f"# Nothing looks like these, which are optional: {', '.join(absent)}"


def _mapped(guess: Guess) -> Iterator[str]:
    key = guess.target if "." not in guess.target else f'"{guess.target}"'
    if not guess.paths:
        if guess.target in _REQUIRED:
            yield _with_remark(f"# TODO {key} = {_REQUIRED[guess.target]}", "required, and nothing looks like it")
        return
    path = _quoted(guess.paths[0])
    value = path if guess.unit is None else f'{{ path = {path}, unit = "{guess.unit}" }}'
    remarks = [] if guess.sure else ["unsure"]
    if guess.unit is not None:
        remarks.append("a bare number: s, ms or us?")
    if len(guess.paths) > 1:
        remarks.append(f"or {' or '.join(guess.paths[1:])}")
    line = f"{key} = {value}"
    yield _with_remark(line, "; ".join(remarks)) if remarks else line


def _with_remark(line: str, remark: str) -> str:
    return f"{line:<{_WIDTH}}  # {remark}"


def _quoted(text: str) -> str:
    """A text as TOML writes it; paths and topics have no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
