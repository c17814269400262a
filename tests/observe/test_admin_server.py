"""The admin server: its answers, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hatchling.builders.wheel import WheelBuilder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from stream_capi.errors import ConfigurationError
from stream_capi.observe.admin_connections import MOST_CONNECTIONS
from stream_capi.observe.admin_server import HEADERS, AdminServer, page_policy
from stream_capi.observe.metrics import Metrics
from stream_capi.operations.group_status import ask_member
from tests.observe import statuses

ROOT = Path(__file__).parents[2]


class GivenState:
    """A state that the test sets."""

    def __init__(self) -> None:
        self.alive = True
        self.reasons: Any = []
        self.document: Any = {}

    def not_ready(self) -> list[str]:
        return self._or_raise(self.reasons)  # type: ignore[no-any-return]

    def status(self) -> Any:
        return self._or_raise(self.document)

    def _or_raise(self, what: Any) -> Any:
        if isinstance(what, Exception):
            raise what
        return what


@pytest.fixture
def state() -> GivenState:
    return GivenState()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(())


@pytest.fixture
async def http(state: GivenState, metrics: Metrics) -> AsyncIterator[aiohttp.ClientSession]:
    server = AdminServer("127.0.0.1", 0, metrics, state)
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.stop()


async def test_any_free_port_is_taken_for_0_and_told() -> None:
    servers = [AdminServer("127.0.0.1", 0, Metrics(()), GivenState()) for _ in range(2)]
    for server in servers:
        await server.start()
    assert len({server.port for server in servers} - {0}) == 2
    for server in servers:
        await server.stop()


async def test_a_port_in_use_is_a_fault_of_the_settings() -> None:
    first = AdminServer("127.0.0.1", 0, Metrics(()), GivenState())
    await first.start()
    second = AdminServer("127.0.0.1", first.port, Metrics(()), GivenState())
    with pytest.raises(
        ConfigurationError, match=rf"^admin\.port: {first.port} is in use on 127\.0\.0\.1; choose another"
    ):
        await second.start()
    await first.stop()
    await second.start()
    await second.stop()


async def test_a_host_of_another_machine_is_a_fault_of_the_settings() -> None:
    server = AdminServer("192.0.2.1", 0, Metrics(()), GivenState())
    with pytest.raises(ConfigurationError, match=r"^admin\.host: 192\.0\.2\.1 is not an address of this machine"):
        await server.start()


async def test_a_stop_ends_the_connections_that_are_open(state: GivenState) -> None:
    server = AdminServer("127.0.0.1", 0, Metrics(()), state)
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
    http: aiohttp.ClientSession, state: GivenState, alive: bool, status: int, text: str
) -> None:
    state.alive, state.reasons = alive, ["main is held: 401"]
    async with http.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (status, text)


@pytest.mark.parametrize("reasons", [[], ["main is held: 401", "leads[0] is held: topic_made_anew"]])
async def test_readyz_gives_its_reasons(http: aiohttp.ClientSession, state: GivenState, reasons: list[str]) -> None:
    state.reasons = reasons
    async with http.get("/readyz") as answer:
        assert answer.status == (503 if reasons else 200)
        assert (await answer.text()).splitlines() == (reasons or ["ready"])


@pytest.mark.usefixtures("own_logging")
async def test_a_fault_of_the_status_gets_no_process_killed_and_shows_nothing(
    http: aiohttp.ClientSession, state: GivenState, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    state.document = state.reasons = RuntimeError("canary")
    asyncio.get_running_loop().set_debug(True)  # in debug mode aiohttp answers with the traceback
    for path, status in (("/healthz", 200), ("/readyz", 500), ("/status", 500)):
        async with http.get(path) as answer:
            assert answer.status == status
            assert "canary" not in await answer.text()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["error"] for line in lines if line["logger"] == "stream_capi"] == ["RuntimeError"] * 2
    assert "canary" not in str(lines)


async def test_status_is_the_programs_own_word(http: aiohttp.ClientSession, state: GivenState) -> None:
    state.document = statuses.empty()
    async with http.get("/status") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == state.document


async def test_the_runbook_is_there_with_its_anchors(http: aiohttp.ClientSession) -> None:
    async with http.get("/runbook") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert '<h3 id="401">401</h3>' in await answer.text()


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


# The Host header


async def answered(port: int, path: str, *headers: str) -> tuple[int, str]:
    """Status and body of the answer to a request with only these headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET {path} HTTP/1.1", *headers, "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


@pytest.fixture
async def server(state: GivenState, metrics: Metrics) -> AsyncIterator[AdminServer]:
    server = AdminServer("127.0.0.1", 0, metrics, state, ["capi.example.com", "Other.Example"])
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:9464", "10.1.2.3", "[::1]:9464", "[fe80::1]", "localhost", "LOCALHOST:80", "localhost."),
        *("capi.example.com", "capi.example.com:9464", "CAPI.example.com.", "other.example"),
    ],
)
async def test_the_status_is_told_to_addresses_localhost_and_the_configured_names(
    server: AdminServer, host: str
) -> None:
    for path in ("/", "/status"):
        assert (await answered(server.port, path, f"Host: {host}"))[0] == 200


@pytest.mark.parametrize(
    "hosts",
    [
        *(("rebound.example",), ("rebound.example:9464",), ("localhost.rebound.example",), ("capi.example.com.evil",)),
        *(
            ("xcapi.example.com",),
            ("127.0.0.1.rebound.example",),
            ("127.0.0.1@rebound.example",),
            ("::1",),
            ("2130706433",),
        ),
        *((), ("",), ("localhost:x",), ("localhost", "rebound.example"), ("rebound.example", "localhost"), ("[::1",)),
    ],
)
async def test_a_name_that_was_rebound_to_this_address_is_told_nothing_but_what_to_set(
    server: AdminServer, state: GivenState, hosts: tuple[str, ...]
) -> None:
    state.document = {"canary": 1}
    for path in ("/", "/status", "/status?x=1"):
        status, text = await answered(server.port, path, *(f"Host: {host}" for host in hosts))
        assert status in (400, 421), "the library refuses some of them by itself"
        assert "canary" not in text
        assert status == 400 or "admin.hosts" in text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_and_scrapes_come_under_any_name(server: AdminServer, path: str) -> None:
    assert (await answered(server.port, path, "Host: pod-1.stream-capi.svc"))[0] == 200


async def test_health_does_not_depend_on_the_status_document(server: AdminServer, state: GivenState) -> None:
    state.document = RuntimeError("a document of its own")
    assert await answered(server.port, "/healthz", "Host: x") == (200, "alive\n")
    assert await answered(server.port, "/readyz", "Host: x") == (200, "ready\n")


async def test_the_status_command_is_no_browser_and_may_ask_under_any_name(
    server: AdminServer, state: GivenState, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    state.document = {"partitions": [], "group": "g"}
    found = await asyncio.to_thread(ask_member, f"capi-0.example:{server.port}", "g")
    assert found.status == state.document


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("0", True), ("::", True), ("127.0.0.1", False)])  # noqa: S104
async def test_listening_on_all_addresses_is_a_warning(
    host: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    server = AdminServer(host, 0, Metrics(()), GivenState())
    await server.start()
    await server.stop()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["port"]) for line in lines] == (
        [("admin port open on all addresses", "warning", server.port)] if warned else []
    )


@pytest.mark.parametrize(("ipv6", "reached"), [(True, ["127.0.0.1", "::1"]), (False, ["127.0.0.1"])])
async def test_all_addresses_are_those_of_both_families_that_the_machine_has(
    ipv6: bool, reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``asyncio`` makes a socket on ``::`` IPv6-only, and a kernel without IPv6 has no such address."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: ipv6)
    server = AdminServer("::", 0, Metrics(()), GivenState())
    await server.start()
    try:
        for address in reached:
            _, writer = await asyncio.open_connection(address, server.port)
            writer.close()
            await writer.wait_closed()
    finally:
        await server.stop()


# Connections


async def half_open(server: AdminServer, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connections that never finish their first line."""
    made = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(count)]
    for _, writer in made:
        writer.write(b"GET /st")
    return made


@pytest.mark.usefixtures("own_logging")
async def test_half_open_connections_keep_nobody_out_and_cost_few_descriptors_and_one_line(
    server: AdminServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    made = await half_open(server, 3 * MOST_CONNECTIONS)
    for _ in range(3):
        assert await answered(server.port, "/healthz", "Host: x") == (200, "alive\n")
    await asyncio.sleep(0.1)
    assert len(server.connections) <= MOST_CONNECTIONS
    for reader, _ in made[:MOST_CONNECTIONS]:
        assert await asyncio.wait_for(reader.read(), 10) == b""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("admin connections cut", "warning")]
    for _, writer in made:
        writer.close()


async def test_a_head_that_does_not_come_in_time_ends_its_connection(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_capi.observe.admin_connections.HEAD_SECONDS", 0.3)
    ((reader, writer),) = await half_open(server, 1)
    begun = time.monotonic()

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    with suppress(ConnectionResetError):  # if a byte arrived after the close
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert 0.2 < time.monotonic() - begun < 5
    writer.close()
    await dripping
    assert not server.connections


async def test_a_kept_connection_may_be_used_again_and_is_closed_when_it_rests(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_capi.observe.admin_connections.HEAD_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    begun = time.monotonic()
    for _ in range(6):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"alive\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.1)
    assert time.monotonic() - begun > 0.5
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_who_reads_no_answers_is_cut_off(server: AdminServer, state: GivenState) -> None:
    state.document = {"long": "x" * 4_000_000}
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.sleep(0.2)
    made = await half_open(server, MOST_CONNECTIONS + 1)
    await asyncio.sleep(0.2)
    assert len(server.connections) <= MOST_CONNECTIONS
    for one in (writer, *(other for _, other in made)):
        one.close()


@pytest.mark.usefixtures("own_logging")
async def test_requests_that_are_none_are_one_line_a_minute(
    server: AdminServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    for _ in range(20):
        assert (await answered(server.port, "/healthz"))[0] == 400, "HTTP/1.1 wants a Host"
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.usefixtures("own_logging")
async def test_descriptors_that_run_out_are_one_line_a_minute(
    server: AdminServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    context = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    for _ in range(200):
        asyncio.get_running_loop().call_exception_handler(context)
    asyncio.get_running_loop().call_exception_handler({"message": "another fault"})
    lines = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["admin connections not accepted", "another fault"]
