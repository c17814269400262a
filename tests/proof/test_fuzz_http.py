"""The program's two servers, the mock endpoint and the admin server, under unusual requests.

For the mock endpoint, Schemathesis draws valid and invalid requests from the API document.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

from stream_capi.observe.admin_server import HEADERS, AdminServer
from stream_capi.observe.metrics import Metrics
from stream_capi.sandbox.mock_api import MockEndpoint
from tests.proof.profile import tries

DOCUMENT = Path(__file__).parents[2] / "schemas" / "applovin-conversion-api-lead-gen.yaml"
POST = schemathesis.openapi.from_path(str(DOCUMENT))["/v1/event"]["POST"]
BATCH = Draft202012Validator(
    {**yaml.safe_load(DOCUMENT.read_text()), "$ref": "#/components/schemas/EventBatch"},
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABC-_0123456789", min_size=1, max_size=12)
PATHS = st.one_of(
    st.sampled_from(
        ("/", "/metrics", "/status", "/healthz", "/readyz", "//", "/../etc/passwd", "/%2e%2e/x", "/status/")
    ),
    st.text("/abc%.2ef?&=;\\\"'<>", max_size=20).map(lambda text: f"/{text}"),
)
METHODS = st.one_of(
    st.sampled_from(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE")), TOKENS.map(str.upper)
)
HEADER_SETS = st.dictionaries(
    st.one_of(st.sampled_from(("Accept", "Accept-Encoding", "Range", "If-None-Match", "Host", "Origin")), TOKENS),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    max_size=3,
)


class Server:
    """A server on another thread with its own loop, since the client in the tests blocks."""

    def __init__(self, start: Callable[[], Awaitable[int]], stop: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stop = stop
        self.port = self._run(start)

    def _run(self, what: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def close(self) -> None:
        self._run(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; returns status, headers and body. The status is 0 if the connection was closed instead."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except http.client.HTTPException:
            return 0, {}, b""
        finally:
            connection.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Server]:
    stand_in = MockEndpoint(keep=False)

    async def start() -> int:
        await stand_in.start()
        return stand_in.port

    server = Server(start, stand_in.stop)
    yield server
    server.close()


@pytest.fixture(scope="module")
def admin() -> Iterator[Server]:
    class GivenState:
        alive = True

        def not_ready(self) -> list[str]:
            return ["no assignment"]

        def status(self) -> Any:
            return {}

    made: list[AdminServer] = []

    async def start() -> int:
        made.append(AdminServer("127.0.0.1", 0, Metrics(("email",)), GivenState()))
        await made[0].start()
        return made[0].port

    async def stop() -> None:
        await made[0].stop()

    server = Server(start, stop)
    yield server
    server.close()


@pytest.mark.slow
@tries(60)
@given(POST.as_strategy(generation_mode=GenerationMode.POSITIVE))
def test_a_request_that_the_document_allows_is_accepted_or_told_what_else_is_wanted(
    endpoint: Server, case: Any
) -> None:
    body = json.dumps(case.body).encode()
    status, _, answered = endpoint.ask("POST", "/v1/event?pixel_id=p", body, _authorized())
    assert status in (200, 400), (status, answered)
    assert (status == 400) == bool(answered), answered


@pytest.mark.slow
@tries(120)
@given(POST.as_strategy(generation_mode=GenerationMode.NEGATIVE))
def test_a_request_that_the_document_forbids_is_refused_and_harms_nothing(endpoint: Server, case: Any) -> None:
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    status, _, answered = endpoint.ask("POST", "/v1/event?pixel_id=p", body, _authorized())
    right = not isinstance(case.body, bytes) and BATCH.is_valid(case.body)  # only the query or a header was wrong
    assert status == 400 or (right and status == 200), (status, answered)
    assert endpoint.ask("POST", "/v1/event?pixel_id=p", GOOD, _authorized())[0] == 200


@tries(150)
@given(METHODS, PATHS, HEADER_SETS, st.one_of(st.none(), st.binary(max_size=30)))
def test_the_admin_server_only_answers_questions_whatever_is_asked(
    admin: Server, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> None:
    status, given_back, answered = admin.ask(method, path, body, headers)
    assert status < 500 or (status == 503 and path.startswith("/readyz")), (status, answered)
    if 200 <= status < 300:
        assert method in ("GET", "HEAD")
    if status not in (0, 400):  # 0 and 400: not a valid HTTP request, which the library answers itself
        assert HEADERS.keys() <= given_back.keys()


def _authorized() -> dict[str, str]:
    return {"Authorization": "Bearer k", "Content-Type": "application/json"}


GOOD = json.dumps(
    {
        "events": [
            {
                "name": "page_view",
                "event_time": 1_741_784_485_001,
                "event_source_url": "https://shop.example/",
                "data": None,
                "user_data": {
                    "client_ip_address": "203.0.113.9",
                    "client_user_agent": "agent",
                    "esi": "web",
                    "client_id": "c-1",
                },
            }
        ]
    }
).encode()
