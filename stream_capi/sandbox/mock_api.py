"""The strict stand-in for the API: the demo's and the drills' endpoint, and the tests'.

It validates every request against the API's document and answers as the document says: it accepts all of a batch or nothing.
Whatever it is told to answer instead (by ``script``, or by ``answer`` in the same process), a request whose body is read is
validated, so that a violation is always in ``violations``.

Events count as accepted when their batch has been read and validated, before any delay and before the answer: an API may
have processed events although the client never learns it. ``SeenRequest.answered`` tells the two apart.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import orjson
from aiohttp import web

from stream_capi.applovin import PATH, PIXEL_PARAMETER, REFUSED
from stream_capi.endpoint.connections import is_readable
from stream_capi.errors import ConfigurationError
from stream_capi.sandbox.api_document import prepare, read_batch
from stream_capi.sandbox.fault_script import Action, RequestInfo, Script

ANY_PIXEL = "*"  # in ``keys``: the key of every pixel that has none of its own
MAX_BODY_BYTES = 4 * 2**20
MAX_VIOLATIONS = 1000  # kept; all are counted
_CHUNK = bytes(65_536)
_DRIP_SECONDS = 0.2
# A client can recognise an early answer only while part of its body is unsent. So the kernel's receive buffer is small, and
# a body that it might take whole gets no early answer.
_EARLY_WINDOW = 4096
_EARLY_BODY_BYTES = 65_536
_STRAY_SECONDS = 0.1
_EARLY_SECONDS = 1.0  # for which the connection stays open: a reset could overtake the answer


class Accepted(NamedTuple):
    """An event that was accepted, and the pixel it was accepted for."""

    pixel_id: str
    event: dict[str, Any]

    def __repr__(self) -> str:
        return "Accepted(…)"


@dataclass(slots=True)
class SeenRequest:
    """A request that was received. ``status`` is None if no answer was given; ``at`` is in epoch seconds."""

    number: int
    at: float
    pixel_id: str
    n_events: int
    dedupe_ids: tuple[str, ...] = field(repr=False)
    status: int | None
    accepted: bool
    answered: bool = False


@dataclass(slots=True)
class SeenCounts:
    """Counts so far. Events of a request that failed with another status than a refusal are neither accepted nor refused."""

    requests: int = 0
    accepted: int = 0
    refused: int = 0
    violations: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


class _Verdict(NamedTuple):
    status: int
    events: Sequence[dict[str, Any]] = ()
    faults: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"_Verdict({self.status}, {len(self.events)} events)"


class MockEndpoint:
    """The stand-in; runs between ``start`` and ``stop``, or as an asynchronous context. It can be restarted on its port.

    :param port: 0 takes one that is free.
    :param keys: each pixel's key, ``ANY_PIXEL`` for the others; None takes any key for any pixel.
    :param authorization: the form the key must come in.
    :param keep: keep every event and request. Without it there are only counts, and a million events cost nothing.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keys: Mapping[str, str] | None = None,
        authorization: Literal["bearer", "raw", "any"] = "bearer",
        script: Script | None = None,
        ssl_context: ssl.SSLContext | None = None,
        keep: bool = True,
    ) -> None:
        self.host, self.port = host, port
        self.keys = keys
        self.authorization = authorization
        self.script = script or Script()
        self.answer: Callable[[RequestInfo], Action | None] | None = None
        self.events: list[Accepted] = []
        self.requests: list[SeenRequest] = []
        self.violations: list[str] = []
        self.counts = SeenCounts()
        self.strays = 0  # answers that were written to no request
        self._pending: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._tls = ssl_context
        self._keep = keep
        self._started = 0.0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where events are to be posted."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{PATH}"

    async def start(self) -> None:
        """Listen. Raises ConfigurationError if the address can't be used."""
        prepare()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None, lingering_time=1.0)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await self._site(self._runner).start()
        except (OSError, ValueError) as error:  # ValueError: a host name that can't be encoded for the DNS
            await self.stop()
            number, text = (error.errno, error.strerror) if isinstance(error, OSError) else (0, "is not a host name")
            why = "is in use; choose another" if number == errno.EADDRINUSE else f"can't be used: {text}"
            raise ConfigurationError([f"port {self.port} on {self.host} {why}"]) from None
        self.port = self._runner.addresses[0][1]
        self._started = asyncio.get_running_loop().time()

    def _site(self, runner: web.ServerRunner) -> web.BaseSite:
        if not self.script.has_early:
            return web.TCPSite(runner, self.host, self.port, ssl_context=self._tls)
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.create_server((self.host, self.port), family=family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EARLY_WINDOW)  # its connections inherit it
        return web.SockSite(runner, listening, ssl_context=self._tls)

    async def stop(self) -> None:
        """Stop listening and close every connection; requests that hang get no answer."""
        while self._pending:
            self._pending.popitem()[1].cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    def times_accepted(self) -> Counter[str]:
        """How often each dedupe id was accepted, answered or not."""
        return self._ids(lambda record: record.accepted)

    def times_answered(self) -> Counter[str]:
        """How often each dedupe id was accepted and a 200 sent for it."""
        return self._ids(lambda record: record.accepted and record.answered and record.status == 200)

    def _ids(self, picked: Callable[[SeenRequest], bool]) -> Counter[str]:
        return Counter(name for record in self.requests if picked(record) for name in record.dedupe_ids)

    # One request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport in self._pending:
            self._pending.pop(request.transport).cancel()
        self.counts.requests += 1
        number, seconds = self.counts.requests, asyncio.get_running_loop().time() - self._started
        pixel_id = request.query.get(PIXEL_PARAMETER, "")
        head = RequestInfo(number, seconds, pixel_id)
        before = self.script.before_body(head)
        if before is not None and (before.reset or (request.content_length or 0) > _EARLY_BODY_BYTES):
            record = self._record(head, _Verdict(0), before)
            if before.reset:
                return _reset(request)
            record.answered = True
            return await _answer_early(request, before)
        verdict = self._judge(request, await _read(request))
        info = RequestInfo(number, seconds, pixel_id, verdict.events)
        action = (self.answer and self.answer(info)) or self.script.action(info) or Action()
        record = self._record(info, verdict, action)
        if action.until is not None:
            await action.until.wait()
        await asyncio.sleep(action.delay_seconds)
        if action.reset:
            return _reset(request)
        if action.hang:
            await asyncio.Event().wait()  # until the client goes or the stand-in stops: either cancels it
        record.answered = True
        if action.stray is not None and request.transport is not None:
            later = asyncio.get_running_loop().call_later(_STRAY_SECONDS, self._stray, request.transport, action.stray)
            self._pending[request.transport] = later
        return await _reply(request, verdict, action)

    @property
    def strays_due(self) -> int:
        """How many answers to no request are still to be written."""
        return len(self._pending)

    def _stray(self, transport: asyncio.Transport, status: int) -> None:
        """Write an answer to no request, unless the next request has arrived: the client would take it for its answer."""
        self._pending.pop(transport, None)
        if transport.is_closing() or is_readable(transport):
            return
        transport.write(f"HTTP/1.1 {status} Stray\r\nContent-Length: 0\r\n\r\n".encode())
        self.strays += 1

    def _judge(self, request: web.BaseRequest, body: bytes | None) -> _Verdict:
        if request.path != PATH:
            return _Verdict(404, faults=["the path is not the document's"])
        if request.method != "POST":
            return _Verdict(405, faults=["the method is not POST"])
        if body is None:
            return _Verdict(413)
        batch, faults = read_batch(body)
        if request.content_type != "application/json":
            faults.insert(0, "the content type is not application/json")
        if len(request.query) != 1 or not request.query.get(PIXEL_PARAMETER):
            faults.insert(0, "the query is not one pixel_id and nothing else")
        # The key is checked first, as by the API; other faults are reported in any case.
        events = batch["events"] if not faults else _events_in(batch)
        status = 401 if not self._authorized(request) else 400 if faults else 200
        return _Verdict(status, events, faults)

    def _authorized(self, request: web.BaseRequest) -> bool:
        given = request.headers.getall("Authorization", [])
        if len(given) != 1:
            return False
        scheme, _, key = given[0].rpartition(" ")
        if scheme.lower() != "bearer" if self.authorization == "bearer" else scheme and self.authorization == "raw":
            return False
        if self.keys is None:
            return bool(key)
        pixel_id = request.query.get(PIXEL_PARAMETER, "")
        return key != "" and key == self.keys.get(pixel_id, self.keys.get(ANY_PIXEL))

    def _record(self, info: RequestInfo, verdict: _Verdict, action: Action) -> SeenRequest:
        status = None if action.hang or action.reset else action.status or verdict.status
        accepted = verdict.status == 200 and (status == 200 or action.processed)
        record = SeenRequest(
            info.number, time.time(), info.pixel_id, len(info.events), info.dedupe_ids, status, accepted
        )
        self.counts.statuses[str(status or "none")] += 1
        self.script.answered(info.seconds, status)
        self.counts.violations += len(verdict.faults)
        room = MAX_VIOLATIONS - len(self.violations)
        self.violations += [f"request {info.number}: {fault}" for fault in verdict.faults][:room]
        if accepted:
            self.counts.accepted += len(info.events)
        elif status in REFUSED:
            self.counts.refused += len(info.events)
        if self._keep:
            self.requests.append(record)
            if accepted:
                self.events += [Accepted(info.pixel_id, event) for event in verdict.events]
        return record


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body, or None if it is too long for a batch."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _events_in(batch: Any) -> list[dict[str, Any]]:
    """What looks like an event in a body that is no valid batch."""
    events = batch.get("events") if isinstance(batch, dict) else None
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []


def _reset(request: web.BaseRequest) -> web.Response:
    """Close the connection with a RST. The response that is returned is never sent."""
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        request.transport.abort()
    return web.Response()


async def _answer_early(request: web.BaseRequest, action: Action) -> web.Response:
    """Answer, and read nothing more from the connection. The response that is returned is never sent."""
    if request.transport is not None:
        request.transport.pause_reading()
    response = web.Response(status=action.status or 200, headers=dict(action.headers))
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    await asyncio.sleep(_EARLY_SECONDS)
    return _reset(request)


async def _reply(request: web.BaseRequest, verdict: _Verdict, action: Action) -> web.StreamResponse:
    status = action.status or verdict.status
    headers = {"Content-Type": "application/json"} | dict(action.headers)
    if action.body == "gzip_bomb":
        return web.Response(status=status, headers=headers | {"Content-Encoding": "gzip"}, body=_bomb())
    if action.body is None:
        body = orjson.dumps({"faults": verdict.faults}) if status == verdict.status and verdict.faults else b""
        return web.Response(status=status, headers=headers, body=body)
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    while True:  # until the client closes the connection
        await response.write(_CHUNK if action.body == "endless" else b" ")
        await asyncio.sleep(0 if action.body == "endless" else _DRIP_SECONDS)


@cache
def _bomb() -> bytes:
    """64 MiB of zeros in 64 KiB of gzip."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(_CHUNK) for _ in range(1024)) + packer.flush()
