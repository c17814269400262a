"""Post a batch to the API over HTTP: one request, one answer; network errors are values, never exceptions.

Rules that a library's defaults would break:

- A redirect is an answer. If a 301 were followed, the POST would become a GET without a body that gets a 200, and its batch
  count as delivered; a 307 would send events and key to another origin.
- The status is the answer as soon as the head has arrived. The body is read up to a bound, to keep the connection; whatever
  is wrong with it (endless, torn, compressed a thousandfold) doesn't change the status.
- The key goes into one header of one request. The library's errors contain it, and the URL with its query: so no error leaves
  this module, only a word for it.
- A connection that the server closed while it was idle is a network fault, never a refusal.
- An answer that comes before its request was sent is no success (``connections``).
- What has arrived when the time is over is the answer, however late the program comes to read it (``deadline``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Literal, Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from stream_capi import __version__
from stream_capi.applovin import DELIVERED, ERROR_HEADERS, KEY_HEADER, KEY_PREFIXES, PIXEL_PARAMETER
from stream_capi.config.settings import EndpointSection
from stream_capi.core.clock import RemoteClock
from stream_capi.endpoint.connections import MAX_HEADERS, MAX_LINE_BYTES, Body, Connector, EarlyAnswer
from stream_capi.endpoint.deadline import deadline
from stream_capi.endpoint.key_forms import KeyForms
from stream_capi.endpoint.tls import Trust, reason_of
from stream_capi.model import Answer, ApiError

MAX_BODY_BYTES = 65_536  # of an answer: more than any error text, and little enough to be read to keep a connection
MAX_RETRY_AFTER_CHARS = 64  # a date has 29; of Date, too
_SAID_CHARS = (32, 200, 64)  # of each of ``ERROR_HEADERS``
_DRAIN_SECONDS = 1.0  # for an answer's body: a new connection costs less than a request's slot
_KEEPALIVE_SECONDS = 4.0  # below the 5 s after which the hastiest common servers drop an idle connection
_DNS_SECONDS = 10  # how long a name's addresses are believed: a failing-over endpoint is found soon
_KEPT_DESCRIPTORS = 16
_NETWORK = (
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,
    UnicodeError,
)  # UnicodeError: a name that IDNA can't write


class EndpointClient:
    """A pool of connections to the endpoint. Made anywhere, used between ``start`` and ``close`` on one event loop.

    :param timeout_seconds: for a request as a whole: a free connection, name, handshake, body and the answer's head.
    :param proxy: the only proxy used, for the environment's are not.
    :param ca_file: PEM certificates trusted besides the system's.
    :raises ConfigurationError: where the file holds none.
    """

    def __init__(
        self,
        *,
        url: str,
        authorization: Literal["auto", "bearer", "raw"] = "bearer",
        timeout_seconds: float = 10,
        proxy: str | None = None,
        ca_file: str = "",
        max_connections: int = 16,
    ) -> None:
        self._url = URL(url)
        # Built once for each pixel; a cache function, because the repr of a dictionary would show the pixel ids.
        self._target_of = lru_cache(maxsize=1024)(lambda pixel_id: self._url.with_query({PIXEL_PARAMETER: pixel_id}))
        self.key_forms = KeyForms(authorization)
        self._seconds = timeout_seconds
        self._proxy = URL(proxy) if proxy else None
        self.trust = Trust(ca_file)
        # Receives the error texts and the body of each answer, unmasked.
        self.on_answer: Callable[[ApiError, bytes], None] | None = None
        self.tls_reason = ""  # of the last handshake that failed: what ``probe`` would say of it
        self._max_connections = max_connections
        self._connector: Connector | None = None
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, section: EndpointSection, max_connections: int) -> Self:
        """The client of these settings. Raises ConfigurationError where ``ca_file`` holds no certificate."""
        return cls(
            url=section.url,
            authorization=section.authorization,
            timeout_seconds=section.timeout_seconds,
            proxy=section.proxy or None,
            ca_file=section.ca_file,
            max_connections=max_connections,
        )

    async def start(self) -> None:
        """Make the pool. Nothing is connected yet."""
        self._connector = Connector(
            limit=self._max_connections,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            ttl_dns_cache=_DNS_SECONDS,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the deadline is kept here, in one place
            headers={
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": f"stream-capi/{__version__}",
            },
        )

    async def close(self) -> None:
        """Close every connection; a request still under way ends as a fault."""
        if self._session is not None:
            await self._session.close()

    async def post(self, pixel_id: str, key: str, body: bytes) -> Answer:
        """Send one batch for one pixel. A network fault is an answer too; only cancellation is raised."""
        begun = time.monotonic()
        form = self.key_forms.form(pixel_id, key)
        try:
            async with deadline(self._seconds):
                response = await self._send(pixel_id, KEY_PREFIXES[form] + key, body)
        except _NETWORK as error:
            fault = fault_of(error)
            if fault == "tls":
                self.tls_reason = _tls_reason(error)
            return Answer(fault=fault, seconds=time.monotonic() - begun)
        seconds = time.monotonic() - begun
        retry_after = response.headers.get("Retry-After")
        date = response.headers.get("Date", "")[:MAX_RETRY_AFTER_CHARS]
        left = min(_DRAIN_SECONDS, self._seconds - seconds)
        if self.on_answer is None:
            await _drain(response, left)
        else:
            kept = bytearray()
            await _drain(response, left, kept)
            self.on_answer(_words(response), bytes(kept))
        if retry_after is not None:
            retry_after = retry_after[:MAX_RETRY_AFTER_CHARS]
        again = self.key_forms.answered(pixel_id, key, form, response.status)
        return Answer(response.status, None, retry_after, seconds, date or None, again, _said(response))

    async def probe(self) -> str | None:
        """Connect as ``post`` does (name, proxy, TLS handshake) and send nothing to the endpoint.

        None if that works, else one line for people: what failed, and what to check.
        """
        assert self._connector is not None  # noqa: S101 -- only between start and close
        loop = asyncio.get_running_loop()
        request = aiohttp.ClientRequest("POST", self._url, loop=loop, proxy=self._proxy, ssl=self.trust.context)
        try:
            async with deadline(self._seconds):
                connection = await self._connector.connect(request, [], aiohttp.ClientTimeout(total=None))
        except _NETWORK as error:
            return self._error_message(error)
        connection.close()
        return None

    async def clock_offset(self) -> float | None:
        """By how many seconds the local clock is ahead of the endpoint's, where its answers bear a date.

        Asked with a HEAD request: no key, no pixel, no event.
        """
        assert self._session is not None  # noqa: S101 -- only between start and close
        clock, begun = RemoteClock(), time.monotonic()
        try:
            async with deadline(self._seconds):
                response = await self._session.head(self._url, allow_redirects=False, proxy=self._proxy)
        except _NETWORK:
            return None
        now, epoch = time.monotonic(), time.time()
        response.close()
        clock.answered(response.headers.get("Date"), begun, now, epoch)
        return clock.offset(now, epoch)

    async def _send(self, pixel_id: str, authorization: str, body: bytes) -> aiohttp.ClientResponse:
        assert self._session is not None  # noqa: S101 -- only between start and close
        return await self._session.post(
            self._target_of(pixel_id),
            data=Body(body),
            headers={KEY_HEADER: authorization},
            allow_redirects=False,
            proxy=self._proxy,
            ssl=self.trust.context,
        )

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """A socket that the kernel closes by itself if the other side accepts no data for the length of a request.

        After a time-out the library closes its side in order: the descriptor and the unsent data stay until the other side
        has taken them. A frozen endpoint would accumulate those of all requests that timed out.
        """
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        # The last descriptors are for the probes, the brokers and files: the lowest free number is the one that is given.
        if made.fileno() >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _KEPT_DESCRIPTORS >= 0:
            made.close()
            raise OSError(errno.EMFILE, "too few free file descriptors")
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(self._seconds * 1000)))
        return made

    def _error_message(self, error: BaseException) -> str:
        host, port = self._url.host, self._url.port
        fault = fault_of(error)
        if fault == "timeout":
            return f"no connection to {host}:{port} within {self._seconds:g} s; check the address, firewall and proxy"
        if fault == "dns":
            return f"the name {_looked_up(error) or host} can't be resolved; check endpoint.url and the name servers"
        if fault == "tls":
            advice = "the certificate of a private authority belongs in endpoint.ca_file"
            return f"TLS with {host}:{port} fails: {_tls_reason(error)}; {advice}"
        if self._proxy is not None:
            return f"endpoint.proxy doesn't connect to {host}:{port}: {_reason(error)}"
        return f"no connection to {host}:{port}: {_reason(error)}; check endpoint.url, firewall and network policy"


def fault_of(error: BaseException) -> str:
    """The word of ``model.Answer`` for what went wrong on the way. The order matters: the library's errors overlap."""
    if isinstance(error, EarlyAnswer):
        return "early_answer"
    if _no_descriptor(error):
        return "descriptors"
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and isinstance(_cause(error), TimeoutError)):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror | UnicodeError):
        return "dns"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) or isinstance(_cause(error), ssl.SSLError):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return "connect"
    if isinstance(error, ConnectionError) or isinstance(_cause(error), ConnectionError):
        return "reset"
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return "disconnected"
    return "protocol"


def _no_descriptor(error: BaseException) -> bool:
    return any(isinstance(one, OSError) and one.errno in (errno.EMFILE, errno.ENFILE) for one in (error, _cause(error)))


def _cause(error: BaseException) -> BaseException | None:
    """What the library wrapped: it keeps the number, and drops the class that went with it."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    if isinstance(error, aiohttp.ClientOSError) and isinstance(error.errno, int):
        return OSError(error.errno, "")  # the class comes by the number again
    return error.__cause__


async def _drain(response: aiohttp.ClientResponse, seconds: float, kept: bytearray | None = None) -> None:
    """Read the rest of an answer, so that its connection can be used again; close it if that takes too long or too much.

    ``kept`` receives the body up to the bound.
    """
    left = MAX_BODY_BYTES
    if (
        kept is None and response.content.is_eof()
    ):  # a short answer came with its head, and its connection is back in the pool already
        return
    try:
        with suppress(*_NETWORK):
            async with asyncio.timeout(max(0.0, seconds)):
                while chunk := await response.content.readany():
                    if kept is not None:
                        kept += chunk[:left]
                    left -= len(chunk)
                    if left < 0:
                        break
    finally:
        response.close()  # of no effect where the end was reached: the connection is back in the pool then


def _said(response: aiohttp.ClientResponse) -> ApiError | None:
    """The API's error texts in an answer that is no success. They may quote the request, so whoever keeps them masks them."""
    if response.status == DELIVERED:
        return None
    said = _words(response)
    return said if any(said) else None


def _words(response: aiohttp.ClientResponse) -> ApiError:
    texts = (response.headers.get(name, "")[:most] for name, most in zip(ERROR_HEADERS, _SAID_CHARS, strict=True))
    return ApiError(*("".join(sign if " " <= sign <= "~" else "?" for sign in text).strip() for text in texts))


def _looked_up(error: BaseException) -> str | None:
    return error.host if isinstance(error, aiohttp.ClientConnectorDNSError) else None


def _tls_reason(error: BaseException) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else _cause(error)
    return reason_of(cause)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"it answers {error.status}"
    cause = _cause(error)
    # The number's own words: asyncio puts the address into them, as Python writes a tuple.
    return os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else "the connection was closed"
