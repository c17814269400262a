"""GET requests to a Confluent-compatible registry, a few at a time, with a limit on the size of an answer.

confluent-kafka's own client makes the requests, because it supports all that ``schema_registry.properties`` may set: TLS,
basic authentication, tokens, OAuth, a proxy. But it reads and decompresses a whole body, however large: 1 MB of gzip can take
3 GB. So it gets a session that reads at most ``MAX_ANSWER_BYTES``, compressed and decompressed.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, SchemaRegistryError

from stream_capi.avro.refused_registry_properties import refusals
from stream_capi.errors import ConfigurationError, RegistryUnavailable

LOOKUPS = 4  # requests at a time
MAX_ANSWER_BYTES = 2 << 20  # a registry that stores its schemas in Kafka accepts none above 1 MiB by default

Client = TypeVar("Client")

_PACKED = ("gzip", "x-gzip", "deflate")
_MISSING = ("VersionNotFoundException", "ArtifactNotFoundException", "ContentNotFoundException")
_NOT_FOUND = 40403  # Confluent's error code for these
_LOOK = "; check the registry's address and that it runs"
_ANY_WRAPPER = 47  # zlib's wbits for "gzip or zlib, by the first bytes"


def made(client: Callable[[dict[str, Any]], Client], url: str, properties: Any, timeout: float) -> Client:
    """A registry client for this url. Raises ConfigurationError with every property that it refuses."""
    given = properties or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(["schema_registry.properties: must be a table"])
    if not (faults := refusals(client, url, given)):
        try:
            return client({"timeout": timeout, **given, "url": url, "max.retries": 0})
        except Exception as error:  # not a property's fault; the client's text is left out, as it may quote a password
            faults = [f"schema_registry: {type(error).__name__} from its client; check url and properties"]
    raise ConfigurationError(faults)


class NotFound(Exception):
    """The registry says that it doesn't have it."""


class NoSuchPath(RegistryUnavailable):
    """A 404 without a registry's error code: there is nothing at that path."""


class RegistryClient:
    """Sends requests to a registry. For use in one event loop.

    :param properties: as confluent-kafka's registry client names them.
    :param timeout: seconds for one request, from when it may be sent to the end of its answer.
    :raises ConfigurationError: the client refuses the url or the properties.
    """

    def __init__(self, url: str, properties: Mapping[str, Any] | None, timeout: float) -> None:
        self._rest = made(AsyncSchemaRegistryClient, url, properties, timeout)._rest_client
        self._rest.session = _BoundedSession(self._rest.session)  # type: ignore[assignment]  # has all that is called
        self._timeout = timeout
        self._at = "the registry" if "@" in url or "?" in url else url  # an address may hold a password
        self._slots = asyncio.Semaphore(LOOKUPS)

    async def get(self, what: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON, of any shape. ``what`` says in errors what was asked for.

        Raises NotFound if the registry itself says so; RegistryUnavailable for any other error, and if there is no answer.
        """
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._rest.get(path, dict(query or {}))
            except TimeoutError as error:
                raise RegistryUnavailable(
                    f"asked {self._at} for {what}: no answer in {self._timeout:g} s{_LOOK}"
                ) from error
            except SchemaRegistryError as error:
                status, code = error.http_status_code, error.error_code
                if status == 404 and isinstance(code, int) and 40400 < code < 40500:
                    raise NotFound(f"{what}: {code}") from None
                fault = NoSuchPath if status == 404 else RegistryUnavailable
                raise fault(f"asked for {what}: status {status}{_advice(status)}") from None
            except _Unreadable as error:
                raise RegistryUnavailable(f"asked for {what}: {error}") from None
            except Exception as error:
                # An error of the HTTP or JSON library says nothing about a schema. Its text is left out, because it may
                # quote the url with its password.
                raise RegistryUnavailable(f"asked {self._at} for {what}: {why(error)}{_LOOK}") from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.session.aclose()


def why(error: BaseException) -> str:
    """Why there is no connection, without the error's text; the error's type if that is not known."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        if isinstance(at, socket.gaierror):
            return "its name can't be resolved"
        if isinstance(at, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({at.verify_message})"
        if isinstance(at, ssl.SSLError):
            return f"no TLS connection ({at.reason})"
        if isinstance(at, OSError) and at.errno:
            return os.strerror(at.errno)
        at = at.exceptions[0] if isinstance(at, BaseExceptionGroup) else at.__cause__ or at.__context__
    return type(error).__name__


class _Unreadable(Exception):
    """An answer that can't be read, or is too large. The text says which."""


class _BoundedSession:
    """The client's HTTP session, with a limit on the bodies that it reads."""

    def __init__(self, session: Any) -> None:
        self._session = session
        session.headers["Accept-Encoding"] = "gzip"

    async def request(self, method: str, url: str, **options: Any) -> Any:
        """Send a request; the response has its whole body."""
        async with self._session.stream(method, url, **options) as response:
            body = await _body(response)
            if response.status_code == 404:
                body = _in_confluent_s_words(body)
            return type(response)(response.status_code, content=body)

    async def aclose(self) -> None:
        await self._session.aclose()


def _in_confluent_s_words(body: bytes) -> bytes:
    """The body of a 404, with Confluent's error code in place of the exception's name that Apicurio's own API gives."""
    try:
        name = json.loads(body)["name"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return body
    return json.dumps({"error_code": _NOT_FOUND, "message": name}).encode() if name in _MISSING else body


async def _body(response: Any) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", *_PACKED):
        raise _Unreadable(f"the answer's Content-Encoding is not one of {', '.join(_PACKED)}")
    unpack = zlib.decompressobj(_ANY_WRAPPER) if encoding in _PACKED else None
    body, received = bytearray(), 0
    async for piece in response.aiter_raw():
        received += len(piece)
        try:
            body += unpack.decompress(piece, MAX_ANSWER_BYTES + 1 - len(body)) if unpack else piece
        except zlib.error:
            raise _Unreadable("the answer is not what its Content-Encoding says") from None
        if max(received, len(body)) > MAX_ANSWER_BYTES:
            raise _Unreadable(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _advice(status: int) -> str:
    if status in (401, 403):
        return "; check schema_registry.properties"
    if status == 404:
        return " without a registry's error code; check the path in schema_registry.url"
    return ""
