"""The endpoint: so cheap that it doesn't affect what is measured.

It reads a request by its Content-Length, counts the events in it by a byte pattern and gives one fixed answer on a
connection that is kept open. What costs more (latency, hashes, ages) is switched on only where it is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
_TIME = re.compile(rb'"event_time":(\d+)').findall
_MARK = b'"user_data":'  # once in each event, and in no value: a quote in a value is escaped
_HEAD, _TAIL, _BETWEEN = b'{"events":[', b"]}", b',{"name":'


class Books:
    """The counts of what was received."""

    def __init__(self) -> None:
        self.reset(0.0, "")

    def reset(self, latency: float, record: str) -> None:
        self.latency = latency
        self.record = record
        self.events = self.requests = 0
        self.ages: list[float] = []
        self.hashes: list[bytes] = []

    def take(self, body: bytes) -> None:
        """Count a request; it is answered right after."""
        self.requests += 1
        self.events += body.count(_MARK)
        if self.record == "ages":
            now = time.time() * 1000
            self.ages += [now - int(at) for at in _TIME(body)]
        elif self.record == "hashes":
            first, *others = body.removeprefix(_HEAD).removesuffix(_TAIL).split(_BETWEEN)
            self.hashes += [sha256(event).digest() for event in (first, *(_BETWEEN[1:] + event for event in others))]

    def answer(self, path: str) -> dict[str, object]:
        """Answer a control request of the benchmark."""
        at = urlsplit(path)
        if at.path == "/reset":
            query = parse_qs(at.query)
            self.reset(float(query["latency"][0]), query.get("record", [""])[0])
        if at.path == "/ages":
            return {"ages": self.ages}
        if at.path == "/digest":
            different = sorted(set(self.hashes))
            return {
                "events": len(self.hashes),
                "different": len(different),
                "digest": sha256(b"".join(different)).hexdigest(),
            }
        return {"events": self.events, "requests": self.requests}


class Connection(asyncio.Protocol):
    """One connection, with one request after the other."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH(self._received, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            line = bytes(self._received[: self._received.find(b"\r\n")])
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self._serve(line, body)

    def _serve(self, line: bytes, body: bytes) -> None:
        if line.startswith(b"POST"):
            if self._books.latency:
                asyncio.get_running_loop().call_later(self._books.latency, self._answer, body)
            else:
                self._answer(body)
            return
        text = json.dumps(self._books.answer(line.split()[1].decode())).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    def _answer(self, body: bytes) -> None:
        if not self._transport.is_closing():
            self._books.take(body)
            self._transport.write(_OK)


async def _serve(port: int) -> None:
    books = Books()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(books), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
