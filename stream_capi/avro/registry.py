"""Schemas from a Confluent-compatible registry.

There is one request for each schema, however many records wait for it, with one attempt and a short time-out: the caller
knows what waits and decides when to retry. A schema counts as unknown only if the registry itself says *not found* (its
error codes 404xx). A 404 without such a code comes from a proxy or a wrong path, a 401 or 403 from a wrong password, JSON of
another shape from another program: none of them says anything about the schema.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

from stream_capi.avro.encryption import Rules, encrypted, rules_of
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.registry_client import NoSuchPath, NotFound, RegistryClient
from stream_capi.avro.writer_schema import RefusedSchema, UnknownSchemas, WriterSchema, build, definitions, unknown
from stream_capi.errors import ConfigurationError, NoSubject, RegistryUnavailable
from stream_capi.model import Rejection

MAX_REFERENCES = 200
MAX_TOTAL_BYTES = 4 << 20  # of a schema's text with its references
MAX_KNOWN = 1_000  # schemas and refusals that are remembered
_MAX_SUBJECT = 1_000
# In Apicurio's Confluent-compatible API, ids are content ids.
_PATHS = {"id": "ids", "guid": "guids", "content id": "ids"}
_GLOBAL = "global id"
_OTHER_TYPES = ("JSON", "PROTOBUF")  # messages name only these: any other type may be an arbitrary text


def own_api(url: str) -> str:
    """The url of Apicurio's own API, from that of its Confluent-compatible one; empty for any other url."""
    before, found, _ = url.partition("/apis/ccompat")
    return f"{before}/apis/registry" if found else ""


class _Reference(NamedTuple):
    subject: str
    version: int | None


class _Answer(NamedTuple):
    """A registry's answer about one schema, its shape validated. ``id`` is None if the answer has none."""

    text: str
    type: str
    references: list[_Reference]
    id: int | None
    rules: Rules


class RegistrySchemas:
    """The schemas of a registry, by id, GUID or Apicurio's ids. For use in one event loop.

    :param url: of the registry, with its path if it has one (``http://host:8081/apis/ccompat/v7``).
    :param properties: passed to the registry client (authentication, TLS).
    :param timeout: seconds for one request.
    :raises ConfigurationError: the client refuses the url or the properties.
    """

    def __init__(
        self,
        url: str,
        properties: Mapping[str, Any] | None = None,
        timeout: float = 5.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = RegistryClient(url, properties, timeout)
        self._url, self._properties, self._timeout = url, properties, timeout
        self._own_api: RegistryClient | None = None  # Apicurio's
        self._known: dict[SchemaKey, WriterSchema | Rejection] = {}
        self._missing = UnknownSchemas(clock)
        self._loading: dict[SchemaKey, asyncio.Task[WriterSchema | Rejection]] = {}

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        return self._known.get(key) or self._missing.get(key)

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        known = self.cached(key)
        if known is not None:
            return known
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key), name=f"load {key}")
            task.add_done_callback(lambda done: self._loaded(key, done))
        # If one waiter is cancelled (its partition is revoked), the others must still get the answer.
        return await asyncio.shield(task)

    async def newest(
        self, topic: str, names: Sequence[str] = (), written_by: Sequence[SchemaKey] = ()
    ) -> list[WriterSchema]:
        """The latest version of a topic's subject, ``<topic>-value``.

        If there is no such subject, or none of the records ``names`` is in it: the latest of ``<topic>-<name>`` or ``<name>``
        for each of the names, and for the record of each schema in ``written_by`` (the keys in recent records); without such
        a subject, that schema itself.

        :raises ConfigurationError: no schema is found, or no event can be read with one.
        :raises RegistryUnavailable: the registry doesn't answer.
        """
        subject = f"{topic}-value"
        of_topic = await self._newest_of(subject)
        if of_topic is not None and (not names or any(of_topic.has_record(name) for name in names)):
            return [of_topic]
        asked = {name: await self._newest_of(f"{topic}-{name}") or await self._newest_of(name) for name in names}
        found = {name: schema for name, schema in asked.items() if schema is not None}
        lost = ""
        for key in dict.fromkeys(written_by):
            own = await self.load(key)
            if isinstance(own, Rejection):
                lost = lost or f", and of a recent record {own.detail}"
            elif own.name not in found:
                newest = await self._newest_of(f"{topic}-{own.name}") or await self._newest_of(own.name)
                found[own.name] = newest or own
        if found or of_topic is not None:
            return [*found.values()] or [one for one in (of_topic,) if one is not None]
        raise (ConfigurationError if lost else NoSubject)([f"the registry has no subject {subject}{lost}"])

    async def _newest_of(self, subject: str) -> WriterSchema | None:
        """The latest version of a subject; None if there is no such subject."""
        what = f"subject {subject}"
        try:
            answer = await self._get(what, f"subjects/{quote(subject, safe='')}/versions/latest")
            if answer.id is None:
                raise RegistryUnavailable(f"asked for {what}: the answer has no id in it")
            built = await self._build(SchemaKey("id", answer.id), answer)
        except NotFound:
            return None
        if isinstance(built, RefusedSchema):
            raise ConfigurationError([f"the newest schema of {subject} is refused: {built.reason}"])
        return built

    async def aclose(self) -> None:
        """Cancel the requests and close the connections."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
        if self._own_api is not None:
            await self._own_api.aclose()

    def _loaded(self, key: SchemaKey, done: asyncio.Task[WriterSchema | Rejection]) -> None:
        del self._loading[key]
        if not done.cancelled():
            done.exception()  # marks it as retrieved: if every waiter was cancelled, asyncio would log it

    async def _load(self, key: SchemaKey) -> WriterSchema | Rejection:
        if key.kind not in (*_PATHS, _GLOBAL):
            return unknown(key, "a schema registry, which knows ids and GUIDs")
        try:
            answer = (
                await self._of_global_id(key)
                if key.kind == _GLOBAL
                else await self._get(str(key), f"schemas/{_PATHS[key.kind]}/{key.value}")
            )
            built = await self._build(key, answer)
        except NotFound as error:
            return self._missing.add(key, unknown(key, f"the registry ({error})"))
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = built.rejection(key) if isinstance(built, RefusedSchema) else built
        return self._known[key]

    async def _build(self, key: SchemaKey, answer: _Answer) -> WriterSchema | RefusedSchema:
        if answer.type != "AVRO":
            return RefusedSchema(
                f"its type is {answer.type if answer.type in _OTHER_TYPES else 'another one'}, not AVRO"
            )
        texts = await self._references(answer)
        if isinstance(texts, RefusedSchema):
            return texts
        # A large schema takes long to parse: in a thread it doesn't block the event loop.
        return await asyncio.to_thread(_built, key, answer, texts)

    async def _references(self, answer: _Answer) -> list[str] | RefusedSchema:
        """The texts of all schemas that the answer refers to, directly or through others."""
        texts: list[str] = []
        size = len(answer.text)
        seen: set[_Reference] = set()
        waiting = list(answer.references)
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            if len(seen) > MAX_REFERENCES:
                return RefusedSchema(f"more than {MAX_REFERENCES} references")
            version = "latest" if reference.version is None else reference.version
            referenced = await self._get(
                f"its reference {reference.subject} version {version}",
                f"subjects/{quote(reference.subject, safe='')}/versions/{version}",
                {"deleted": "true"},
            )
            size += len(referenced.text)
            if size > MAX_TOTAL_BYTES:
                return RefusedSchema(f"with its references it has more than {MAX_TOTAL_BYTES} bytes")
            texts.append(referenced.text)
            waiting += referenced.references
        return texts

    async def _of_global_id(self, key: SchemaKey) -> _Answer:
        """A schema by Apicurio's own API, with its references inlined. Raises NotFound, RegistryUnavailable."""
        try:
            raw = await self._apicurio(key).get(
                str(key), f"v3/ids/globalIds/{key.value}", {"references": "DEREFERENCE"}
            )
        except NoSuchPath:  # before Apicurio 3
            raw = await self._apicurio(key).get(str(key), f"v2/ids/globalIds/{key.value}", {"dereference": "true"})
        return _Answer(json.dumps(raw), "AVRO", [], None, Rules())

    def _apicurio(self, key: SchemaKey) -> RegistryClient:
        if self._own_api is None:
            url = own_api(self._url)
            if not url:
                raise RegistryUnavailable(f"asked for {key}: schema_registry.url is not Apicurio's (…/apis/ccompat/v7)")
            self._own_api = RegistryClient(url, self._properties, self._timeout)
        return self._own_api

    async def _get(self, what: str, path: str, query: Mapping[str, str] | None = None) -> _Answer:
        """A schema. Raises NotFound, RegistryUnavailable."""
        answer = _checked(await self._client.get(what, path, query))
        if answer is None:
            raise RegistryUnavailable(f"asked for {what}: the answer has no schema in it; check schema_registry.url")
        return answer


def _built(key: SchemaKey, answer: _Answer, references: list[str]) -> WriterSchema | RefusedSchema:
    found: dict[str, Any] = {}
    for reference in references:
        try:
            found |= definitions(json.loads(reference))
        except (ValueError, RecursionError):
            return RefusedSchema("a reference is not Avro")
    built = build(key, answer.text, found)
    if isinstance(built, RefusedSchema):
        return built
    return replace(built, encrypted=encrypted(answer.rules, definitions(built.raw)))


def _checked(answer: Any) -> _Answer | None:
    """The parts of an answer that are used; None if it doesn't have the shape that a registry gives."""
    if not isinstance(answer, dict):
        return None
    text, kind, id_ = answer.get("schema"), answer.get("schemaType") or "AVRO", answer.get("id")
    references = answer.get("references") or []
    if not isinstance(text, str) or not isinstance(kind, str) or not isinstance(references, list):
        return None
    pointed = [_reference(reference) for reference in references]
    rules = rules_of(answer)
    if None in pointed or rules is None:
        return None
    return _Answer(text, kind, [each for each in pointed if each], id_ if type(id_) is int else None, rules)


def _reference(given: Any) -> _Reference | None:
    if not isinstance(given, dict):
        return None
    subject, version = given.get("subject"), given.get("version")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or subject in (".", ".."):
        return None
    if not subject.isprintable() or (version is not None and type(version) is not int):
        return None
    return _Reference(subject, version)
