"""The admin server: what it answers, and what it lets nobody do."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hatchling.builders.wheel import WheelBuilder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from stream_capi.errors import ConfigurationError
from stream_capi.observe.admin import HEADERS, AdminServer, page_policy
from stream_capi.observe.metrics import Metrics
from tests.observe import statuses

ROOT = Path(__file__).parents[2]


class Told:
    """A status that the test decides."""

    def __init__(self) -> None:
        self.status: Any = {"alive": True, "ready": True, "reasons": []}

    def __call__(self) -> dict[str, Any]:
        if isinstance(self.status, Exception):
            raise self.status
        found: dict[str, Any] = self.status
        return found


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(())


@pytest.fixture
async def http(told: Told, metrics: Metrics) -> AsyncIterator[aiohttp.ClientSession]:
    server = AdminServer("127.0.0.1", 0, metrics, told)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.stop()


async def test_any_free_port_is_taken_for_0_and_told() -> None:
    servers = [AdminServer("127.0.0.1", 0, Metrics(()), Told()) for _ in range(2)]
    for server in servers:
        await server.start()
    assert len({server.port for server in servers} - {0}) == 2
    for server in servers:
        await server.stop()


async def test_a_port_in_use_is_a_fault_of_the_settings() -> None:
    first = AdminServer("127.0.0.1", 0, Metrics(()), Told())
    await first.start()
    second = AdminServer("127.0.0.1", first.port, Metrics(()), Told())
    with pytest.raises(
        ConfigurationError, match=rf"^admin\.port: {first.port} is in use on 127\.0\.0\.1; choose another"
    ):
        await second.start()
    await first.stop()
    await second.start()
    await second.stop()


async def test_a_host_of_another_machine_is_a_fault_of_the_settings() -> None:
    server = AdminServer("192.0.2.1", 0, Metrics(()), Told())
    with pytest.raises(ConfigurationError, match=r"^admin\.host: 192\.0\.2\.1 is no address of this machine"):
        await server.start()


async def test_a_stop_ends_the_connections_that_are_open(told: Told) -> None:
    server = AdminServer("127.0.0.1", 0, Metrics(()), told)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await server.stop()
    async with asyncio.timeout(10):
        while await reader.readline():
            pass
    writer.close()


@pytest.mark.parametrize(
    ("alive", "status", "text"), [(True, 200, "alive\n"), (False, 503, "the Kafka consumer has ended\n")]
)
async def test_healthz_tells_whether_to_start_the_process_anew(
    http: aiohttp.ClientSession, told: Told, alive: bool, status: int, text: str
) -> None:
    told.status = {"alive": alive, "ready": False, "reasons": ["main is held: 401"]}
    async with http.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (status, text)


@pytest.mark.parametrize("reasons", [[], ["main is held: 401", "leads[0] is held: topic_made_anew"]])
async def test_readyz_gives_its_reasons(http: aiohttp.ClientSession, told: Told, reasons: list[str]) -> None:
    told.status = {"alive": True, "ready": not reasons, "reasons": reasons}
    async with http.get("/readyz") as answer:
        assert answer.status == (503 if reasons else 200)
        assert (await answer.text()).splitlines() == (reasons or ["ready"])


@pytest.mark.usefixtures("own_logging")
async def test_a_fault_of_the_status_gets_no_process_killed_and_shows_nothing(
    http: aiohttp.ClientSession, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    told.status = RuntimeError("canary")
    asyncio.get_running_loop().set_debug(True)  # in which aiohttp would answer with the traceback
    for path, status in (("/healthz", 200), ("/readyz", 500), ("/status", 500)):
        async with http.get(path) as answer:
            assert answer.status == status
            assert "canary" not in await answer.text()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["error"] for line in lines if line["logger"] == "stream_capi"] == ["RuntimeError"] * 3
    assert "canary" not in str(lines)


async def test_status_is_the_programs_own_word(http: aiohttp.ClientSession, told: Told) -> None:
    told.status = statuses.empty()
    async with http.get("/status") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == told.status


async def test_metrics_come_in_the_form_that_is_asked_for(http: aiohttp.ClientSession, metrics: Metrics) -> None:
    metrics.consumed("leads", 3)
    async with http.get("/metrics") as answer:
        assert answer.content_type == "text/plain"
        plain = {f.name: f for f in text_string_to_metric_families(await answer.text())}
    async with http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as answer:
        assert answer.content_type == "application/openmetrics-text"
        text = await answer.text()
        assert text.endswith("# EOF\n")
        opened = {f.name: f for f in openmetrics_families(text)}  # type: ignore[no-untyped-call]
    for families in (plain, opened):
        assert [s.value for s in families["stream_capi_consumed"].samples] == [3]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/status", "/metrics"])
async def test_only_questions_are_answered(http: aiohttp.ClientSession, path: str) -> None:
    async with http.head(path) as answer:
        assert answer.status == 200
        assert await answer.read() == b""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        async with http.request(method, path, data=b"x") as answer:
            assert answer.status == 405, method
            assert answer.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", ["/", "/healthz", "/status", "/metrics", "/nothing", "/../page.html"])
async def test_every_answer_carries_the_headers_that_bind_a_browser(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as answer:
        headers = {name: answer.headers[name] for name in HEADERS}
    policy = headers.pop("Content-Security-Policy")
    assert headers == {name: value for name, value in HEADERS.items() if name != "Content-Security-Policy"}
    assert policy.startswith("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
    assert "aiohttp" not in str(answer.headers).lower()


async def test_the_page_allows_its_own_script_and_style_and_no_others(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http:" not in policy
    assert policy == page_policy(page)
    assert policy != page_policy(page.replace('"use strict"', '"use strict" '))
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", page), "handlers in attributes would be blocked"
    assert not re.search(r"(innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bstyle=)", page)
    assert not re.search(r"(src|href)=[\"'](https?:)?//", page)


async def test_no_question_is_logged(http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with http.get("/nothing?email=canary@example.com"):
        pass
    assert "canary" not in caplog.text


def test_the_page_is_in_the_wheel() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "stream_capi/observe/page.html" in files
