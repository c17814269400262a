"""A server whose behaviour on a connection a test scripts byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Gone(Exception):
    """The client closed the connection when a request was expected."""


@dataclass
class Request:
    """A request as it was received."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


class Connection:
    """One accepted connection, for a behaviour to read from and write to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[Request]) -> None:
        self.reader, self.writer = reader, writer
        self._requests = requests

    async def request(self) -> Request:
        """Read the next request completely. Raises Gone."""
        request = await self.head()
        length = request.header("Content-Length")
        request.body = await self.reader.readexactly(int(length[0]) if length else 0)
        return request

    async def head(self) -> Request:
        """Read the next request's head and leave its body unread. Raises Gone."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone from None
        line, *rest = text.removesuffix("\r\n\r\n").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (header.partition(":") for header in rest)]
        request = Request(line, headers)
        self._requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client has closed its side; what it still sends is discarded."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Connection], Awaitable[None]]


@dataclass
class RawServer:
    """Runs ``behaviour`` for each connection while the context lives, then closes the connection."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    window: int | None = None  # size of each connection's receive buffer in the kernel, bytes
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    ended: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        sock = socket.socket(proto=socket.IPPROTO_TCP)  # otherwise asyncio does not set TCP_NODELAY
        if self.window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.window)
        sock.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=sock, ssl=self.tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1/event"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.behaviour(Connection(reader, writer, self.requests))
        except (Gone, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.ended += 1
            self._tasks.discard(task)
            writer.close()


async def tunnel(connection: Connection) -> None:
    """A proxy for CONNECT, with backpressure: it reads no more from one side than the other side accepts."""
    host, port = (await connection.head()).target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await connection.send(b"HTTP/1.1 200 Established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(connection.reader, writer), pump(reader, connection.writer))
    finally:
        writer.transport.abort()  # data that the other side never read would keep it open


def answering(*answers: bytes) -> Behaviour:
    """Answer the requests of a connection in turn, and repeat the last answer."""

    async def behave(connection: Connection) -> None:
        number = 0
        while True:
            await connection.request()
            await connection.send(answers[min(number, len(answers) - 1)])
            number += 1

    return behave
