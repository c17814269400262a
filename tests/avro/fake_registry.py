"""A registry for tests: Confluent's answers, under a base path as Apicurio has one."""

from __future__ import annotations

import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.avro.records import LEAD

PATH = "/apis/ccompat/v7"
OWN_PATH = "/apis/registry"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FakeRegistry:
    """Answers by path; an unknown path gets a 404 with Confluent's error code, as from a real registry.

    ``before`` answers any path, unless it returns None.
    """

    def __init__(self, before: Answer | None = None) -> None:
        self.answers: dict[str, Any] = {"/schemas/ids/1": {"schema": json.dumps(LEAD)}}
        self.asked: Counter[str] = Counter()
        self.authorization: set[str | None] = set()
        self.before = before
        self.url = ""

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeRegistry]:
        app = web.Application()
        app.router.add_get("/{rest:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(PATH)
        self.asked[path] += 1
        self.authorization.add(request.headers.get("Authorization"))
        if self.before is not None and (answer := await self.before(request)) is not None:
            return answer
        if path in self.answers:
            return web.json_response(self.answers[path])
        if path.startswith(OWN_PATH):
            return web.json_response({"error_code": 404, "message": "no such path"}, status=404)
        code = 40403 if path.startswith("/schemas") else 40401
        return web.json_response({"error_code": code, "message": "not found"}, status=404)
