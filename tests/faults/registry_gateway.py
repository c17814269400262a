"""A gateway in front of the registry, which can answer in its place."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit


class Said(NamedTuple):
    """An HTTP answer of the gateway."""

    status: int
    body: bytes = b""
    content_type: str = "text/html"
    encoding: str = ""
    endless: bool = False  # the body is repeated without end


class Front:
    """Forwards requests to the registry at ``url``, or answers with ``says`` instead.

    ``adds`` are fields to add to answers, by a text that an answer's body contains. ``seconds`` is how long each answer
    takes, ``most_at_once`` the largest number of concurrent requests so far.
    """

    def __init__(self, url: str) -> None:
        self.says: Said | None = None
        self.adds: dict[str, dict[str, Any]] = {}
        self.asked = self.at_once = self.most_at_once = 0
        self.seconds = 0.0
        self._lock = threading.Lock()
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                front._begin()
                try:
                    self._answer()
                finally:
                    front._end()

            def _answer(self) -> None:
                said = front.says or front._added(_ask(origin + self.path))
                self.send_response(said.status)
                self.send_header("Content-Type", said.content_type)
                if said.encoding:
                    self.send_header("Content-Encoding", said.encoding)
                if not said.endless:
                    self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                with suppress(ConnectionError):  # the client may close early
                    self.wfile.write(said.body)
                    while said.endless:
                        self.wfile.write(said.body)

            def log_message(self, *_: object) -> None:
                """Log nothing: it would go to stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="front", daemon=True)
        self.port: int = self._server.server_address[1]
        self.path = parts.path

    def _added(self, said: Said) -> Said:
        for part, more in self.adds.items():
            if part.encode() in said.body:
                said = said._replace(body=json.dumps(json.loads(said.body) | more).encode())
        return said

    def _begin(self) -> None:
        with self._lock:
            self.asked += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)

    def _end(self) -> None:
        with self._lock:
            self.at_once -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def _ask(url: str) -> Said:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- the registry's own http URL
            return Said(answer.status, answer.read(), answer.headers["Content-Type"])
    except urllib.error.HTTPError as error:
        with error:
            return Said(error.code, error.read(), error.headers["Content-Type"])
