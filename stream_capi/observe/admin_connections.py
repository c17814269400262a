"""The connections of the admin server, bounded: it has no login, and its descriptors are the whole process's.

At most ``MOST_CONNECTIONS`` are open. One more cuts the one that has been without a request for the longest time, so that
a probe always gets its answer. A connection without a request for ``HEAD_SECONDS`` is closed, however its bytes drip.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiohttp import web

from stream_capi.observe.listening import listen

log = structlog.get_logger("stream_capi")

MOST_CONNECTIONS = 64
HEAD_SECONDS = 10.0
_LINE_SECONDS = 60.0  # between two log lines of one kind
_NOT_ACCEPTED = "socket.accept() out of system resource"  # how the event loop begins its word on it


class Connections:
    """Makes the protocol of each new connection: ``make``'s own, behind the bounds."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._loop: asyncio.AbstractEventLoop
        self._resting: dict[_Connection, None] = {}  # without a request, the longest first
        self._busy: set[_Connection] = set()
        self._reported: dict[str, float] = {}
        self._cut = 0
        self._handler_before: Any = None
        self.library_log = logging.Logger("aiohttp.server")
        self.library_log.parent = logging.getLogger("aiohttp")
        self.library_log.addFilter(lambda _: self._is_due("library"))  # a line for each request that is no HTTP

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Accept connections from now on. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        server = await listen(lambda: _Connection(self, self._make()), host, port)
        self._handler_before = self._loop.get_exception_handler()
        self._loop.set_exception_handler(self._on_loop_fault)
        return server

    def __len__(self) -> int:
        return len(self._resting) + len(self._busy)

    def begun(self, request: web.BaseRequest) -> None:
        """A whole request has come: its connection is not cut while it is answered."""
        if connection := _of(request):
            connection.rests(None)
            self._resting.pop(connection, None)
            self._busy.add(connection)

    def ended(self, request: web.BaseRequest) -> None:
        """The request has its answer, which is yet to be written."""
        if (connection := _of(request)) and connection in self._busy:
            self._busy.discard(connection)
            self.rests(connection)

    def opened(self, connection: _Connection) -> None:
        """A new connection: cut another one where there are too many."""
        self.rests(connection)
        if len(self) > MOST_CONNECTIONS:
            self._cut += 1
            next(iter(self._resting)).cut()
            if self._is_due("cut"):
                log.warning(
                    "admin connections cut",
                    count=self._cut,
                    limit=MOST_CONNECTIONS,
                    action="Find out who opens so many to admin.port, and let only probes and Prometheus reach it.",
                )
                self._cut = 0

    def rests(self, connection: _Connection) -> None:
        """The connection waits for a request, from now on."""
        self._resting[connection] = None
        connection.rests(self._loop.call_later(HEAD_SECONDS, connection.cut))

    def closed(self, connection: _Connection) -> None:
        """The connection is gone."""
        connection.rests(None)
        self._resting.pop(connection, None)
        self._busy.discard(connection)

    def close(self) -> None:
        """Cut all that are left, and hear of the event loop's faults no more."""
        for connection in [*self._resting, *self._busy]:
            connection.cut()
        self._loop.set_exception_handler(self._handler_before)

    def _on_loop_fault(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Without free descriptors the loop reports up to 128 refused connections a second: a line a minute will do."""
        if str(context.get("message")).startswith(_NOT_ACCEPTED):
            if self._is_due("accept"):
                log.error(
                    "admin connections not accepted",
                    reason=getattr(context.get("exception"), "strerror", None) or "out of system resources",
                    action="Raise the limit of open files, or lower delivery.max_in_flight.",
                )
        elif self._handler_before is not None:
            self._handler_before(loop, dict(context))
        else:
            loop.default_exception_handler(dict(context))

    def _is_due(self, kind: str) -> bool:
        now = self._loop.time()
        due = now - self._reported.get(kind, -_LINE_SECONDS) >= _LINE_SECONDS
        if due:
            self._reported[kind] = now
        return due


class _Connection(asyncio.Protocol):
    """One connection: passes everything on to the server's own protocol."""

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self._connections = connections
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- of a stream
        self._transport = transport
        self._inner.connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._inner.connection_lost(exc)

    def rests(self, timer: asyncio.TimerHandle | None) -> None:
        """Keep the timer that ends its rest, in place of the one before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def cut(self) -> None:
        """Close at once, without waiting for anybody to read."""
        self._connections.closed(self)
        if self._transport is not None:
            self._transport.abort()


def _of(request: web.BaseRequest) -> _Connection | None:
    protocol = request.transport.get_protocol() if request.transport is not None else None
    return protocol if isinstance(protocol, _Connection) else None
