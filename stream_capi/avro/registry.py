"""Schemas from a Confluent-compatible registry, through confluent-kafka's own client.

Asked once for each schema however many records wait for it, with one attempt and a short timeout: when to ask again is
for the caller, who knows what waits. Only an answer in which the registry itself says *not found* (its error codes 404xx)
counts as that. A 404 without such a code comes from something in front of it or from a wrong path, a 401 or 403 from a
wrong password, and none of them says anything about a schema.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema, SchemaRegistryError

from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.writer import Missing, RefusedSchema, WriterSchema, build, definitions, unknown
from stream_capi.errors import ConfigurationError, RegistryUnavailable
from stream_capi.model import Rejection

MAX_REFERENCES = 200
_OTHER_TYPES = ("JSON", "PROTOBUF")  # what else a registry may say is no name but a text of somebody's


class _NotFound(Exception):
    """The registry works and doesn't have it."""


class RegistrySchemas:
    """The schemas of a registry, by id or GUID. To be used within one event loop.

    :param url: of the registry, with its path where it has one (``http://host:8081/apis/ccompat/v7``).
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
        conf = {"timeout": timeout, **(properties or {}), "url": url, "max.retries": 0}
        try:
            self._client = AsyncSchemaRegistryClient(conf)
        except (ValueError, TypeError, OSError) as error:
            # The client's text may quote a password; only the names of unknown properties are safe to repeat.
            text = str(error)
            reason = text if text.startswith("Unrecognized properties") else f"{type(error).__name__} from its client"
            raise ConfigurationError([f"schema_registry: {reason}; check url and properties"]) from error
        self._timeout = timeout
        self._known: dict[SchemaKey, WriterSchema | Rejection] = {}
        self._missing = Missing(clock)
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
        # One waiter's cancellation (its partition is revoked) must not take the answer from the others.
        return await asyncio.shield(task)

    async def newest(self, topic: str) -> WriterSchema:
        """The latest version of the subject ``<topic>-value``.

        :raises ConfigurationError: there is none, or no event can be read with it.
        :raises RegistryUnavailable: the registry doesn't answer.
        """
        subject = f"{topic}-value"
        try:
            registered = await self._ask(f"subject {subject}", self._client.get_version(subject, "latest"))
            key = SchemaKey("id", registered.schema_id)
            built = await self._build(key, registered.schema)
        except _NotFound as error:
            raise ConfigurationError([f"the registry has no subject {subject}"]) from error
        if isinstance(built, RefusedSchema):
            raise ConfigurationError([f"the newest schema of {subject} is refused: {built.reason}"])
        return built

    async def aclose(self) -> None:
        """Stop asking and close the connections."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _loaded(self, key: SchemaKey, done: asyncio.Task[WriterSchema | Rejection]) -> None:
        del self._loading[key]
        if not done.cancelled():
            done.exception()  # taken note of here, for when every waiter has gone

    async def _load(self, key: SchemaKey) -> WriterSchema | Rejection:
        try:
            if key.kind == "id":
                schema = await self._ask(str(key), self._client.get_schema(int(key.value)))
            elif key.kind == "guid":
                schema = await self._ask(str(key), self._client.get_schema_by_guid(str(key.value)))
            else:
                return unknown(key, "a schema registry, which knows ids and GUIDs")
            built = await self._build(key, schema)
        except _NotFound as error:
            return self._missing.add(key, unknown(key, f"the registry ({error})"))
        self._known[key] = built.rejection(key) if isinstance(built, RefusedSchema) else built
        return self._known[key]

    async def _build(self, key: SchemaKey, schema: Schema) -> WriterSchema | RefusedSchema:
        if (schema.schema_type or "AVRO") != "AVRO":
            named = str(schema.schema_type)
            return RefusedSchema(f"its type is {named if named in _OTHER_TYPES else 'another one'}, not AVRO")
        references = await self._references(schema)
        if references is None:
            return RefusedSchema(f"more than {MAX_REFERENCES} references, or one that is not Avro")
        # A large schema takes a while to read, and heartbeats go on meanwhile.
        return await asyncio.to_thread(build, key, schema.schema_str or "", references)

    async def _references(self, schema: Schema) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        seen: set[tuple[str | None, int | None]] = set()
        waiting = list(schema.references or ())
        while waiting:
            reference = waiting.pop()
            address = (reference.subject, reference.version)
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_REFERENCES:
                return None
            what = f"its reference {reference.subject} version {reference.version}"
            asked = self._client.get_version(reference.subject or "", reference.version or "latest", deleted=True)
            referenced = (await self._ask(what, asked)).schema
            try:
                found |= definitions(json.loads(referenced.schema_str or ""))
            except (ValueError, RecursionError):
                return None
            waiting += referenced.references or ()
        return found

    async def _ask(self, what: str, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError as error:
            raise RegistryUnavailable(f"asked for {what}: no answer in {self._timeout:g} s") from error
        except SchemaRegistryError as error:
            status, code = error.http_status_code, error.error_code
            if status == 404 and isinstance(code, int) and 40400 < code < 40500:
                raise _NotFound(f"{what}: {code}") from None
            raise RegistryUnavailable(f"asked for {what}: status {status}{_advice(status)}") from None
        except Exception as error:
            # The client lets through what its HTTP and JSON libraries raise, and what an odd answer trips over. None of
            # it says that a schema doesn't exist; texts are left out, as they may quote the url with its password.
            raise RegistryUnavailable(f"asked for {what}: {type(error).__name__}") from None


def _advice(status: int) -> str:
    if status in (401, 403):
        return "; check schema_registry.properties"
    if status == 404:
        return " without a registry's error code; check the path in schema_registry.url"
    return ""
