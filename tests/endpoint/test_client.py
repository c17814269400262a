"""What the client sends, what it accepts as an answer, and when it keeps a connection."""

from __future__ import annotations

import asyncio
import gzip
import random
import time
import tracemalloc
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import psutil
import pytest

from stream_capi import __version__
from stream_capi.endpoint import client as client_module
from stream_capi.endpoint.client import MAX_BODY_BYTES, MAX_RETRY_AFTER_CHARS
from tests.endpoint.conftest import MakeClient
from tests.endpoint.raw import OK, Connection, RawServer, answering
from tests.stack.waiting import eventually

KEY = "canary-key-0123456789"
BODY = b'{"events":[]}'


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


# An answer's head


@pytest.mark.parametrize(
    "headers",
    [["X-Gateway: " + "x" * 9_000], ["X-Gateway: " + "x" * 60_000], ["X-Gateway: y"] * 150, ["X-Gateway: y"] * 900],
    ids=["9,000 bytes", "60,000 bytes", "150 headers", "900 headers"],
)
async def test_the_status_is_the_answer_whatever_headers_a_gateway_adds(client: MakeClient, headers: list[str]) -> None:
    async with RawServer(answering(answer("200 OK", *headers))) as server:
        made = await client(server.url)
        for _ in range(2):
            assert (await made.post("pixel", KEY, BODY)).status == 200
        assert server.connections == 1, "the connection is kept"


async def test_the_apis_own_words_are_bounded_and_printable_and_none_of_a_success(client: MakeClient) -> None:
    words = ["X-AL-Error-Code: 100007", "x-al-error-message: " + "b\u00e9\t" * 200, "X-TRACE-ID: " + "t" * 100]
    async with RawServer(answering(answer("403 Forbidden", *words))) as server:
        said = (await (await client(server.url)).post("pixel", KEY, BODY)).said
    assert said is not None
    assert (said.code, len(said.message), said.trace_id) == ("100007", 200, "t" * 64)
    assert said.message.isascii()
    assert said.message.isprintable()
    for head in (answer("200 OK", *words), answer("403 Forbidden")):
        async with RawServer(answering(head)) as server:
            assert (await (await client(server.url)).post("pixel", KEY, BODY)).said is None


# What is sent


async def test_a_batch_is_one_post_of_json_with_the_pixel_in_the_query_and_the_key_in_one_header(
    client: MakeClient,
) -> None:
    async with RawServer(answering(OK)) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).status == 200
    (request,) = server.requests
    assert request.line == "POST /v1/event?pixel_id=pixel HTTP/1.1"
    assert request.body == BODY
    assert request.header("Content-Type") == ["application/json"]
    assert request.header("Content-Length") == [str(len(BODY))]
    assert request.header("Authorization") == [f"Bearer {KEY}"]
    assert request.header("Accept-Encoding") == ["identity"]
    assert request.header("User-Agent") == [f"stream-capi/{__version__}"]
    assert not request.header("Cookie")


@pytest.mark.parametrize("size", [1, 262_144, 262_145, 3_000_000])
async def test_a_body_of_any_size_arrives_whole(client: MakeClient, size: int) -> None:
    body = random.Random(size).randbytes(size)
    async with RawServer(answering(OK)) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, body)).status == 200
    assert server.requests[0].header("Content-Length") == [str(size)]
    assert server.requests[0].header("Content-Type") == ["application/json"]
    assert server.requests[0].body == body


async def test_a_raw_authorization_is_the_key_alone(client: MakeClient) -> None:
    async with RawServer(answering(OK)) as server:
        made = await client(server.url, authorization="raw")
        await made.post("pixel", KEY, BODY)
    assert server.requests[0].header("Authorization") == [KEY]


@pytest.mark.parametrize("pixel", ["plain", "a b+c", "a&b=c", "50%41", "ä/ö?#;", "p%2Bq", "a,b:c@d", "'\"<>\\^`{|}~"])
async def test_a_pixel_id_arrives_as_it_is_whatever_signs_it_has(client: MakeClient, pixel: str) -> None:
    async with RawServer(answering(OK)) as server:
        made = await client(server.url)
        await made.post(pixel, KEY, BODY)
    target = urlsplit(server.requests[0].target)
    assert target.path == "/v1/event"
    assert parse_qsl(target.query, strict_parsing=True) == [("pixel_id", pixel)]
    assert server.requests[0].target.isascii()


async def test_a_path_that_is_encoded_already_is_not_encoded_again(client: MakeClient) -> None:
    async with RawServer(answering(OK)) as server:
        made = await client(server.url.replace("/v1/event", "/a%20b/v1%2Fevent"))
        await made.post("pixel", KEY, BODY)
    assert server.requests[0].target == "/a%20b/v1%2Fevent?pixel_id=pixel"


async def test_cookies_are_not_sent_back(client: MakeClient) -> None:
    async with RawServer(answering(answer("200 OK", "Set-Cookie: session=1; Path=/"))) as server:
        made = await client(server.url)
        for _ in range(2):
            await made.post("pixel", KEY, BODY)
    assert [request.header("Cookie") for request in server.requests] == [[], []]


async def test_neither_proxies_nor_passwords_are_taken_from_the_environment(
    client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with RawServer(answering(OK)) as server, RawServer(answering(answer("502 No"))) as ambient:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{ambient.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{ambient.port}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).status == 200
        assert ambient.connections == 0
    assert server.requests[0].header("Authorization") == [f"Bearer {KEY}"]


async def test_a_proxy_that_is_configured_is_used(client: MakeClient) -> None:
    async with RawServer(answering(OK)) as proxy:
        made = await client("http://endpoint.invalid/v1/event", proxy=f"http://user:pw@127.0.0.1:{proxy.port}")
        assert (await made.post("pixel", KEY, BODY)).status == 200
    assert proxy.requests[0].target == "http://endpoint.invalid/v1/event?pixel_id=pixel"
    assert proxy.requests[0].header("Proxy-Authorization") == ["Basic dXNlcjpwdw=="]


async def test_to_an_https_endpoint_the_proxy_is_asked_for_a_tunnel_and_learns_no_key(client: MakeClient) -> None:
    async with RawServer(answering(answer("407 Who are you"))) as proxy:
        made = await client("https://endpoint.invalid/v1/event", proxy=f"http://127.0.0.1:{proxy.port}")
        assert (await made.post("pixel", KEY, BODY)).fault == "connect"
    (request,) = proxy.requests
    assert request.line == "CONNECT endpoint.invalid:443 HTTP/1.1"
    assert not request.header("Authorization")


# Status, Retry-After and Date


@pytest.mark.parametrize("status", [200, 202, 204, 400, 401, 403, 404, 413, 422, 429, 500, 503])
async def test_a_status_is_the_answer(client: MakeClient, status: int) -> None:
    reply = b"HTTP/1.1 204 No Content\r\n\r\n" if status == 204 else answer(f"{status} Whatever", body=b"{}")
    async with RawServer(answering(reply)) as server:
        made = await client(server.url)
        got = await made.post("pixel", KEY, BODY)
    assert (got.status, got.fault, got.retry_after) == (status, None, None)
    assert got.seconds > 0


@pytest.mark.parametrize("text", ["7", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"])
async def test_retry_after_is_handed_on_unread(client: MakeClient, text: str) -> None:
    async with RawServer(answering(answer("429 Slow", f"Retry-After: {text}"))) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).retry_after == text


async def test_the_date_of_an_answer_is_handed_on_unread_and_cut(client: MakeClient) -> None:
    for text, handed_on in (("Fri, 15 Jan 2027 08:00:00 GMT",) * 2, ("9" * 99, "9" * MAX_RETRY_AFTER_CHARS)):
        async with RawServer(answering(answer("200 OK", f"Date: {text}"))) as server:
            made = await client(server.url)
            assert (await made.post("pixel", KEY, BODY)).date == handed_on
    async with RawServer(answering(answer("200 OK"))) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).date is None


async def test_the_clock_is_asked_for_without_key_pixel_or_event(client: MakeClient) -> None:
    for behind in (0, 3600):
        date = formatdate(time.time() - behind, usegmt=True)
        async with RawServer(answering(answer("405 No", f"Date: {date}"))) as server:
            made = await client(server.url)
            assert await made.clock_offset() == pytest.approx(behind, abs=2)
        (request,) = server.requests
        assert (request.target, request.header("Authorization"), request.body) == ("/v1/event", [], b"")
    async with RawServer(answering(answer("405 No"))) as server:
        made = await client(server.url)
        assert await made.clock_offset() is None
    assert await made.clock_offset() is None, "nobody answers"


async def test_a_retry_after_beyond_measure_is_cut(client: MakeClient) -> None:
    async with RawServer(answering(answer("503 No", "Retry-After: " + "9" * 5000))) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).retry_after == "9" * MAX_RETRY_AFTER_CHARS


async def test_an_answer_to_come_is_not_the_answer(client: MakeClient) -> None:
    async with RawServer(answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + OK)) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).status == 200


# What follows the status


async def test_an_answer_of_ordinary_size_leaves_the_connection_for_the_next(client: MakeClient) -> None:
    async with RawServer(answering(answer("200 OK", body=b"x" * MAX_BODY_BYTES))) as server:
        made = await client(server.url)
        for _ in range(5):
            assert (await made.post("pixel", KEY, BODY)).status == 200
        assert server.connections == 1


async def test_an_answer_without_end_is_read_to_a_bound_and_cut_off(
    client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_DRAIN_SECONDS", 60)  # so that the limit on bytes ends it, not the time-out
    sent = 0

    async def behave(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await connection.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536

    async with RawServer(behave) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).status == 200
        await eventually(lambda: server.ended == 1, 20, "the client closes the connection")
    assert sent < 32 * 2**20  # includes what fits into the kernel's buffers


async def test_a_compressed_answer_is_not_unpacked(client: MakeClient) -> None:
    bomb = gzip.compress(bytes(32 * 2**20))
    assert len(bomb) < MAX_BODY_BYTES
    async with RawServer(answering(answer("200 OK", "Content-Encoding: gzip", body=bomb))) as server:
        made = await client(server.url)
        tracemalloc.start()
        try:
            for _ in range(2):
                assert (await made.post("pixel", KEY, BODY)).status == 200
            assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        finally:
            tracemalloc.stop()
        assert server.connections == 1, "read as it is, it is an answer of ordinary size"


@pytest.mark.parametrize("torn", ["dripping", "short", "reset", "bad chunk"])
async def test_whatever_is_wrong_after_the_status_does_not_unsay_it(
    client: MakeClient, torn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head_is_there = asyncio.Event()
    drain = client_module._drain

    async def recorded(response: aiohttp.ClientResponse, seconds: float) -> None:
        head_is_there.set()
        await drain(response, seconds)

    async def behave(connection: Connection) -> None:
        head_is_there.clear()
        await connection.request()
        length = b"Transfer-Encoding: chunked" if torn == "bad chunk" else b"Content-Length: 1000"
        await connection.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        await head_is_there.wait()
        if torn == "reset":
            return connection.reset()
        await connection.send(b"not a number\r\n")
        while torn == "dripping":
            await connection.send(b"x")
            await asyncio.sleep(0.02)
        return None

    monkeypatch.setattr(client_module, "_drain", recorded)
    monkeypatch.setattr(client_module, "_DRAIN_SECONDS", 0.1)
    async with RawServer(behave) as server:
        made = await client(server.url)
        for number in (1, 2):
            assert (await made.post("pixel", KEY, BODY)).status == 200
            assert server.connections == number
            await eventually(lambda expected=number: server.ended == expected, 20, "the client closes")  # type: ignore[misc]


async def test_an_answer_before_the_body_was_taken_ends_the_connection(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.head()
        await connection.send(answer("413 Too large"))
        await connection.gone()

    async with RawServer(behave) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, bytes(32 * 2**20))).status == 413
        await eventually(
            lambda: server.ended == 1, 20, "the client closes: what it had begun to send can't be taken back"
        )


# The pool


async def test_requests_beyond_the_bound_wait_for_a_connection_and_all_are_answered(client: MakeClient) -> None:
    open_now = most = 0

    async def behave(connection: Connection) -> None:
        nonlocal open_now, most
        while True:
            await connection.request()
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.01)
            open_now -= 1
            await connection.send(OK)

    async with RawServer(behave) as server:
        made = await client(server.url, max_connections=3)
        answers = await asyncio.gather(*(made.post("pixel", KEY, BODY) for _ in range(30)))
    assert {got.status for got in answers} == {200}
    assert most == 3
    assert server.connections == 3


async def test_connections_of_requests_that_timed_out_are_free_again(client: MakeClient) -> None:
    hanging = True

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            if hanging:
                await connection.gone()
            await connection.send(OK)

    async with RawServer(behave) as server:
        made = await client(server.url, max_connections=2, timeout_seconds=0.5)
        answers = await asyncio.gather(*(made.post("pixel", KEY, BODY) for _ in range(6)))
        assert {got.fault for got in answers} == {"timeout"}
        hanging = False
        async with asyncio.timeout(30):  # a machine that is very busy doesn't answer within half a second
            while (got := await made.post("pixel", KEY, BODY)).fault == "timeout":
                pass
        assert got.status == 200


async def test_a_cancelled_request_stops_and_gives_its_connection_back(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        if server.connections == 1:
            await connection.gone()
        await connection.send(OK)

    async with RawServer(behave) as server:
        made = await client(server.url, max_connections=1)
        task = asyncio.create_task(made.post("pixel", KEY, BODY))
        await eventually(lambda: bool(server.requests), 20, "the request arrives")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.ended == 1, 20, "the connection closes")
        assert (await made.post("pixel", KEY, BODY)).status == 200


async def test_what_a_frozen_endpoint_never_took_does_not_stay_in_memory(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with RawServer(behave) as server:
        made = await client(server.url, timeout_seconds=0.5)
        assert (await made.post("pixel", KEY, bytes(64 * 2**20))).fault == "timeout"

        def left() -> list[object]:
            connections = psutil.Process().net_connections("tcp")
            return [each for each in connections if each.raddr and each.raddr.port == server.port and each.fd != -1]

        await eventually(lambda: not left(), 20, "the socket is given up")


async def test_closing_twice_or_before_the_start_is_harmless(client: MakeClient) -> None:
    made = await client("http://127.0.0.1:9/v1/event")
    await made.close()
    await made.close()
