"""The connections of the endpoint's client: which answer belongs to which request, and the status of a broken head.

aiohttp takes whatever arrives on a connection as the answer to the request on it. Three rules are added here:

- An answer belongs to a request only if its head arrives after the request was begun. Bytes that arrive earlier can't be an
  answer to it: on a kept connection they close it, on a new one they are ignored as an answer.
- A success counts only after the whole body has left: it was handed to the transport, the transport's buffers are empty,
  and the other side's kernel has acknowledged every byte. Every TCP segment carries an acknowledgement of all bytes
  received in order before it, and the kernel applies it before the segment's data can be read. So an answer that was sent
  after the body was read brings the acknowledgement along, and this check never doubts it, whatever delays or losses
  there are on the way.
- The status line is the answer even if the rest of the head can't be parsed or exceeds the bounds below. Without this rule
  a batch that was accepted would be sent again for ever because of a header that this program doesn't read.

``TCPConnector._factory`` and asyncio's ``_ssl_protocol`` are not public; the tests of early and unasked answers fail if a
new version drops them.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import select
import struct
import termios
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpVersion11, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.tracing import Trace
from multidict import CIMultiDict, CIMultiDictProxy

# The bounds of an answer's head. Company gateways add long headers, and many of them; beyond this the status line decides.
MAX_LINE_BYTES = 65_536
MAX_HEADERS = 1_000
MAX_HEAD_BYTES = 262_144  # all lines together, interim answers included

_AT_ONCE_BYTES = 262_144  # of a request's body: written piece by piece, so that the transport never buffers all of it
_STATUS_BYTES = 16_384  # kept of a head to read the status from, if it can't be parsed
_STATUS_LINE = re.compile(
    rb"(?:HTTP/1\.[01] 1\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n)*"  # interim answers: 100, 103
    rb"HTTP/1\.[01] ([2-5]\d\d)(?: [^\r\n]*)?\r?\n"
)


class EarlyAnswer(aiohttp.ClientError):
    """An answer that can't be to this request: a success before its end was sent, or anything before its beginning."""


class Body(aiohttp.Payload):
    """A request's body. It notes on the connection when it begins and when all of it was handed to the transport."""

    _autoclose = True  # bytes need no closing
    _value: bytes

    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        protocol = getattr(writer, "protocol", None)
        assert isinstance(protocol, Protocol)  # noqa: S101 -- of a connection that Connector made
        protocol.begun = True
        view = memoryview(self._value)
        for at in range(0, len(view), _AT_ONCE_BYTES):
            piece = view[at : at + _AT_ONCE_BYTES]
            # Not drained after the last piece: a fast answer could come before this coroutine goes on.
            await writer.write(piece, drain=at + len(piece) < len(view))  # type: ignore[call-arg]
        protocol.written = True


class Protocol(ResponseHandler):
    """One connection. Until ``take``, the answers on it are those of a proxy to CONNECT, and the library's business."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop=loop)
        self._new = self._answered = True
        self.begun = self.written = self._sent = False

    def take(self) -> bool:
        """Make ready for a request. False if bytes, or the end of the stream, arrived that no request has asked for."""
        new, self._new = self._new, False
        assert self.transport is not None  # noqa: S101 -- the pool hands out what is connected
        if not new and (self.should_close or is_readable(self.transport)):
            return False
        self.begun = self.written = self._answered = False
        self._head, self._head_bytes = bytearray(), 0
        return True

    def data_received(self, data: bytes) -> None:
        if self._answered:
            if data and not self.should_close:  # the answer has ended: these bytes belong to no request
                self.force_close()
            super().data_received(data)
            return
        # Asked before the parser runs: at a head that it can't parse the library closes, and under TLS that writes something.
        self._sent = self.written and not _unsent(self.transport)
        self._head += data[: _STATUS_BYTES - len(self._head)]
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._answered and self._head_bytes > MAX_HEAD_BYTES and self.exception() is None:
            self.set_exception(HttpProcessingError(message="the head is too long"))

    def feed_data(self, data: tuple[RawResponseMessage, Any], size: int = 0) -> None:
        status = data[0].code
        interim = status < 200 and status != 101
        if not (self._answered or interim):
            self._answered = True
            if not self._sent:
                self.force_close()
                # A refusal needs no whole body, and stands: 401 and 429 are decided by the head, 413 by its Content-Length,
                # a 400 by the part that was read. No event is dead-lettered for it unless it is alone in a request.
                if not self.begun or 200 <= status < 300:
                    self.set_exception(EarlyAnswer())
                    return
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        unread = isinstance(exc, HttpProcessingError) and not self._answered
        if unread and (found := _STATUS_LINE.match(self._head)):
            self.force_close()
            self.feed_data((_bare(int(found[1])), EMPTY_PAYLOAD))
        else:
            super().set_exception(exc, *cause)


class Connector(aiohttp.TCPConnector):
    """A pool that never hands out a connection with something unread on it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(Protocol, loop=self._loop)  # type: ignore[assignment]

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- the library's argument
    ) -> Connection:
        """A connection from the pool, or a new one."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert isinstance(protocol, Protocol)  # noqa: S101 -- the factory's
            if protocol.take():
                # A request without a body has left once its head has: whatever comes now may be its answer.
                if req.method == "HEAD":
                    protocol.begun = protocol.written = True
                return connection
            connection.close()


def is_readable(transport: asyncio.BaseTransport) -> bool:
    """Whether the kernel holds bytes or an end that the event loop hasn't come to."""
    poll = select.poll()  # select.select() fails for descriptors above 1,023
    poll.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))


def _bare(status: int) -> RawResponseMessage:
    """An answer of which no more than the status is known."""
    return RawResponseMessage(HttpVersion11, status, "", CIMultiDictProxy(CIMultiDict()), (), True, None, False, False)


def _unsent(transport: Any) -> int:
    """How many bytes of what was written are not at the other side yet."""
    count, layer = 0, transport
    while layer is not None:
        count += layer.get_write_buffer_size()
        layer = getattr(getattr(layer, "_ssl_protocol", None), "_transport", None)  # TLS has a transport below its own
    return count + _unacknowledged(transport)


def _unacknowledged(transport: Any) -> int:
    """How many bytes the kernel has sent, or is to send, without an acknowledgement; 0 where the system doesn't say."""
    socket = transport.get_extra_info("socket") if transport is not None else None
    try:
        queued = fcntl.ioctl(socket.fileno() if socket else -1, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # ValueError: no descriptor
        return 0
    return int(struct.unpack("i", queued)[0])
