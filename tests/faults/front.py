"""What may stand before a registry: a gateway that answers in its place."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Said(NamedTuple):
    """An answer that doesn't come from the registry."""

    status: int
    body: bytes = b""
    content_type: str = "text/html"


class Front:
    """Passes requests on to the registry at ``url``, or says what it is told to instead."""

    def __init__(self, url: str) -> None:
        self.says: Said | None = None
        self.asked = 0
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                front.asked += 1
                said = front.says or _ask(origin + self.path)
                self.send_response(said.status)
                self.send_header("Content-Type", said.content_type)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

            def log_message(self, *_: object) -> None:
                """Nothing: it would go to stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="front", daemon=True)
        self.port: int = self._server.server_address[1]
        self.path = parts.path

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
