"""The admin server (contract, section 9): probes, metrics, status, and the status page. It only ever answers questions.

The page is one file without anything from elsewhere. Its policy names the digests of its own script and style, so that the
browser runs nothing else, whatever a topic or a group may be called.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import re
import socket
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Protocol

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from stream_capi.errors import ConfigurationError

log = structlog.get_logger("stream_capi")

_CLOSING_SECONDS = 0.5
_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _NOTHING,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "stream-capi",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Scraped(Protocol):
    """What has metrics (``Metrics`` has)."""

    registry: CollectorRegistry


class AdminServer:
    """Answers on ``host`` and ``port`` (0: any free one). ``status`` gives what ``/status`` says, as JSON's types."""

    def __init__(self, host: str, port: int, metrics: Scraped, status: Callable[[], dict[str, Any]]) -> None:
        self.port = port
        self._host = host
        self._status = status
        self._page = files("stream_capi.observe").joinpath("page.html").read_text(encoding="utf-8")
        self._policy = page_policy(self._page)
        app = web.Application(middlewares=[_guarded])
        app.on_response_prepare.append(_set_headers)
        app.router.add_get("/", self._page_asked)
        app.router.add_get("/healthz", self._health_asked)
        app.router.add_get("/readyz", self._readiness_asked)
        app.router.add_get("/status", self._status_asked)
        app.router.add_get("/metrics", make_aiohttp_handler(metrics.registry))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSING_SECONDS)

    async def start(self) -> None:
        """Listen; ``port`` is then the real one. Raises ConfigurationError where that can't be."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigurationError([_told(error, self._host, self.port)]) from None
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the server, within a second."""
        await self._runner.cleanup()

    async def _page_asked(self, request: web.Request) -> web.Response:
        return web.Response(
            text=self._page, content_type="text/html", headers={"Content-Security-Policy": self._policy}
        )

    async def _health_asked(self, request: web.Request) -> web.Response:
        """Whether to start this process anew. That the loop came to answer is most of it."""
        try:
            alive = bool(self._status()["alive"])
        except Exception as error:  # a fault of the picture is none of the work: no reason to be killed
            log.error("the status can't be told", exc_info=error)
            alive = True
        return _probed(alive, "alive", ["the Kafka consumer has ended"])

    async def _readiness_asked(self, request: web.Request) -> web.Response:
        status = self._status()
        return _probed(status["ready"], "ready", status["reasons"])

    async def _status_asked(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self._status()), content_type="application/json")


def page_policy(page: str) -> str:
    """The policy of a page: its own inline script and style by their digests, questions to its own server, nothing else."""
    (script,), (style,) = (re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("script", "style"))
    return (
        f"{_NOTHING}; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; img-src data:; "
        "require-trusted-types-for 'script'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _probed(good: bool, word: str, reasons: list[str]) -> web.Response:
    return web.Response(status=200 if good else 503, text="\n".join([word] if good else reasons) + "\n")


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        log.error("an admin request failed", exc_info=error)
        return web.Response(status=500, text="failed; see the log\n")


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        if name not in response.headers or name == "Server":
            response.headers[name] = value


def _told(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"admin.port: {port} is in use on {host}; choose another one, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"admin.port: this user may not listen on {port}; choose one above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"admin.host: {host} is no address of this machine"
    return f"admin.host: can't listen on {host}, port {port}: {error.strerror or type(error).__name__}"
