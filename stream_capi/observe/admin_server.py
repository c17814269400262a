"""The admin server (contract, section 9): probes, metrics, status, and the status page. It is read-only.

Probes and metrics are served under any host name. The status and its page are served only under IP addresses, localhost and
the names in ``admin.hosts``. Otherwise a foreign page could read them through an operator's browser, by letting its own name
resolve to this address after it was loaded (DNS rebinding).

The page is one file and loads nothing. Its content security policy names the digests of its own script and style, so that the
browser runs nothing else, whatever a topic or a group is called.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import Protocol

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from stream_capi.errors import ConfigurationError
from stream_capi.observe import runbook
from stream_capi.observe.admin_connections import Connections
from stream_capi.observe.listening import fault_of, on_every_address
from stream_capi.observe.status_document import StatusDocument

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
_FOR_ANYBODY = ("/healthz", "/readyz", "/metrics")
_HOST = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]+))(?::\d*)?")
_OTHER_NAME = "not served under this host name; add it to admin.hosts, or use an IP address or localhost\n"
_EVERY_ADDRESS = "It has no login: let only probes and Prometheus reach it, or set admin.host to one address."


class Scraped(Protocol):
    """Something with metrics to scrape (implemented by ``Metrics``)."""

    registry: CollectorRegistry


class Subject(Protocol):
    """Whose state the server reports (implemented by ``Snapshot`` and ``Workers``)."""

    @property
    def alive(self) -> bool: ...
    def not_ready(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        ...

    def status(self) -> StatusDocument:
        """Everything."""
        ...


class AdminServer:
    """Answers on ``host`` and ``port`` (0: any free one). ``hosts``: further names under which the status is served."""

    def __init__(self, host: str, port: int, metrics: Scraped, subject: Subject, hosts: Collection[str] = ()) -> None:
        self.port = port
        self.connections = Connections(self._protocol)
        self._host = host
        self._subject = subject
        self._hosts = {"localhost", *(name.rstrip(".").lower() for name in hosts)}
        self._page = files("stream_capi.observe").joinpath("page.html").read_text(encoding="utf-8")
        self._policy = page_policy(self._page)
        app = web.Application(middlewares=[self._guarded])
        app.on_response_prepare.append(_set_headers)
        app.router.add_get("/", self._page_asked)
        app.router.add_get("/runbook", self._runbook_asked)
        app.router.add_get("/healthz", self._health_asked)
        app.router.add_get("/readyz", self._readiness_asked)
        app.router.add_get("/status", self._status_asked)
        app.router.add_get("/metrics", make_aiohttp_handler(metrics.registry))
        self._runner = web.AppRunner(
            app, access_log=None, logger=self.connections.library_log, shutdown_timeout=_CLOSING_SECONDS
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; afterwards ``port`` is the real one. Raises ConfigurationError if the address can't be used."""
        await self._runner.setup()
        try:
            self._server = await self.connections.listen(self._host, self.port)
        except (OSError, ValueError) as error:  # the latter of a host's name that has no form for the DNS
            await self.stop()
            raise ConfigurationError([fault_of(error, self._host, self.port)]) from None
        self.port = self._server.sockets[0].getsockname()[1]
        if on_every_address(self._server):
            log.warning("admin port open on all addresses", host=self._host, port=self.port, action=_EVERY_ADDRESS)

    async def stop(self) -> None:
        """Close the server, within a second."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        if self._server is not None:
            self.connections.close()
            self._server = None

    def _protocol(self) -> asyncio.Protocol:
        assert self._runner.server is not None  # noqa: S101 -- it listens
        return self._runner.server()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.connections.begun(request)
        try:
            if request.path not in _FOR_ANYBODY and not self._is_named(request):
                return web.Response(status=421, text=_OTHER_NAME)
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:
            log.error("an admin request failed", exc_info=error)
            return web.Response(status=500, text="failed; see the log\n")
        finally:
            self.connections.ended(request)

    def _is_named(self, request: web.Request) -> bool:
        given = request.headers.getall("Host", [])
        found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            return False
        if found["name"] is None:
            return _is_address(found["v6"], 6)
        name = found["name"].rstrip(".").lower()
        return name in self._hosts or _is_address(name, 4)

    async def _page_asked(self, request: web.Request) -> web.Response:
        return web.Response(
            text=self._page, content_type="text/html", headers={"Content-Security-Policy": self._policy}
        )

    async def _runbook_asked(self, request: web.Request) -> web.Response:
        try:
            return web.Response(text=runbook.page(), content_type="text/html")
        except ConfigurationError as error:
            return web.Response(status=404, text=f"{error}\n")

    async def _health_asked(self, request: web.Request) -> web.Response:
        """Liveness: answering at all shows that the event loop runs."""
        return _probed(self._subject.alive, "alive", ["the Kafka consumer has ended"])

    async def _readiness_asked(self, request: web.Request) -> web.Response:
        reasons = self._subject.not_ready()
        return _probed(not reasons, "ready", reasons)

    async def _status_asked(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self._subject.status()), content_type="application/json")


def page_policy(page: str) -> str:
    """The content security policy of a page: its inline script and style by digest, requests to its own server only."""
    (script,), (style,) = (re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("script", "style"))
    return (
        f"{_NOTHING}; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; img-src data:; "
        "require-trusted-types-for 'script'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _probed(good: bool, word: str, reasons: list[str]) -> web.Response:
    return web.Response(status=200 if good else 503, text="\n".join([word] if good else reasons) + "\n")


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        if name not in response.headers or name == "Server":
            response.headers[name] = value


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
