"""Which answer belongs to which request: early answers, unsolicited answers, and heads that can't be parsed."""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from stream_capi.core.outcomes import Transient, classify
from stream_capi.endpoint import connections
from stream_capi.endpoint.client import EndpointClient
from tests.endpoint.conftest import MakeClient
from tests.endpoint.raw import OK, Behaviour, Connection, RawServer, answering, tunnel
from tests.stack.waiting import eventually

KEY = "canary-key-0123456789"
BODY = b'{"events":[]}'
WINDOW = 4096
WAYS = ["plain", "tls", "proxy", "tls through a proxy"]


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]).encode("latin-1")


def early(reply: bytes, *, close: bool = False) -> Behaviour:
    """Answer after the request's head, and never read the body."""

    async def behave(connection: Connection) -> None:
        await connection.head()
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.send(reply)
        if not close:
            try:
                await asyncio.Event().wait()
            finally:
                connection.writer.transport.abort()  # it doesn't read, so a TLS shutdown would never end

    return behave


class Ways:
    """Makes a server, and a client that connects to it in one of ``WAYS``."""

    def __init__(self, stack: AsyncExitStack, folder: Path, make: MakeClient) -> None:
        self._stack, self._make = stack, make
        self._authority = trustme.CA()
        self._ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self._ca_file))

    async def __call__(
        self, way: str, behaviour: Behaviour, window: int | None = None, **options: Any
    ) -> tuple[RawServer, EndpointClient]:
        options["ca_file"] = str(self._ca_file)
        context = None
        if way.startswith("tls"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert("127.0.0.1").configure_cert(context)
        server = await self._stack.enter_async_context(RawServer(behaviour, context, window))
        url = server.url
        if way == "proxy":  # the proxy of a plain HTTP endpoint reads the request as the endpoint would
            url, options["proxy"] = "http://endpoint.invalid/v1/event", f"http://127.0.0.1:{server.port}"
        elif way.endswith("proxy"):
            proxy = await self._stack.enter_async_context(RawServer(tunnel, None, window))
            options["proxy"] = f"http://127.0.0.1:{proxy.port}"
        return server, await self._make(url, **options)


@pytest.fixture
async def reached(tmp_path: Path, client: MakeClient) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        yield Ways(stack, tmp_path, client)


# Early answers


@pytest.mark.parametrize("size", [900_000, 3_000_000])
@pytest.mark.parametrize("way", WAYS)
async def test_a_success_before_the_body_was_sent_is_none(reached: Ways, way: str, size: int) -> None:
    _, made = await reached(way, early(OK), WINDOW)
    answer = await made.post("pixel", KEY, bytes(size))
    assert (answer.status, answer.fault) == (None, "early_answer")
    assert isinstance(classify(answer, 0.0), Transient)


@pytest.mark.parametrize("size", [20_000, 262_144, 262_145])
async def test_a_body_that_is_written_at_once_is_not_sent_by_that(reached: Ways, size: int) -> None:
    _, made = await reached("plain", early(OK), WINDOW)
    assert (await made.post("pixel", KEY, bytes(size))).fault == "early_answer"


async def test_a_success_between_two_pieces_of_the_body_is_none(reached: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was written is acknowledged, but the rest of the body is not written yet."""

    async def behave(connection: Connection) -> None:
        await connection.head()
        await connection.send(OK)
        await connection.gone()

    async def half(body: connections.Body, writer: Any, content_length: int | None) -> None:
        writer.protocol.begun = True
        await writer.write(body._value[:1_000])
        await asyncio.sleep(60)

    monkeypatch.setattr(connections.Body, "write_with_length", half)
    _, made = await reached("plain", behave)
    assert (await made.post("pixel", KEY, bytes(2_000))).fault == "early_answer"


async def test_a_proxy_whose_own_answer_is_broken_is_a_fault(reached: Ways, client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        await connection.gone()

    async with RawServer(behave) as proxy:
        made = await client("https://127.0.0.1:1/v1/event", proxy=f"http://127.0.0.1:{proxy.port}")
        assert (await made.post("pixel", KEY, BODY)).fault == "protocol"


async def test_a_server_that_answers_before_the_body_and_closes_has_taken_nothing(reached: Ways) -> None:
    _, made = await reached("plain", early(OK, close=True), WINDOW)
    for _ in range(5):
        assert (await made.post("pixel", KEY, bytes(900_000))).fault in ("early_answer", "reset", "disconnected")


@pytest.mark.parametrize("way", ["plain", "tls"])
async def test_the_transports_buffers_tell_where_the_kernel_does_not(
    reached: Ways, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_unacknowledged", lambda transport: 0)
    _, made = await reached(way, early(OK), WINDOW)
    assert (await made.post("pixel", KEY, bytes(16 * 2**20))).fault == "early_answer"


async def test_under_tls_the_buffer_below_counts_too(reached: Ways) -> None:
    """The program has written the whole body; the unsent rest waits in the transport below the TLS one."""
    seen: list[tuple[int, int]] = []
    left, unsent = connections._unacknowledged, connections._unsent

    def spying(transport: Any) -> int:
        seen.append((transport.get_write_buffer_size(), unsent(transport) - left(transport)))
        return unsent(transport)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_unsent", spying)
        patch.setattr(connections.Body, "write_with_length", _written_at_once)
        _, made = await reached("tls", early(OK), WINDOW)
        assert (await made.post("pixel", KEY, bytes(16 * 2**20))).fault == "early_answer"
    ((above, both),) = seen
    assert both > above


async def _written_at_once(body: connections.Body, writer: Any, content_length: int | None) -> None:
    writer.protocol.begun = True
    await writer.write(body._value, drain=False)
    writer.protocol.written = True


@pytest.mark.parametrize("status", [201, 202, 204])
async def test_no_other_success_comes_early_either(reached: Ways, status: int) -> None:
    reply = f"HTTP/1.1 {status} Yes\r\n\r\n".encode() if status == 204 else head(f"{status} Yes")
    _, made = await reached("plain", early(reply), WINDOW)
    assert (await made.post("pixel", KEY, bytes(900_000))).fault == "early_answer"


@pytest.mark.parametrize("status", [301, 400, 401, 408, 413, 422, 429, 500, 503])
async def test_a_refusal_needs_no_body_and_stands_and_its_connection_is_closed(reached: Ways, status: int) -> None:
    server, made = await reached("plain", early(head(f"{status} No", "Retry-After: 3")), WINDOW)
    for number in (1, 2):
        answer = await made.post("pixel", KEY, bytes(900_000))
        assert (answer.status, answer.retry_after) == (status, "3")
        assert server.connections == number


@pytest.mark.parametrize("way", WAYS)
async def test_an_honest_answer_is_never_doubted_however_fast(reached: Ways, way: str) -> None:
    server, made = await reached(way, answering(OK))
    sizes = [1, 1_000, 60_000, 262_144, 262_145, 1_500_000]
    for _ in range(10):
        answers = await asyncio.gather(*(made.post("pixel", KEY, bytes(size)) for size in sizes))
        assert {(answer.status, answer.fault) for answer in answers} == {(200, None)}
    assert server.connections <= len(sizes), "they are kept"


# Unsolicited answers


class Kept:
    """Answers the requests of its first connection with a 200 until there is a second one, and all others with a 500."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []

    async def __call__(self, connection: Connection) -> None:
        self.connections.append(connection)
        while True:
            await connection.request()
            await connection.send(
                OK if len(self.connections) == 1 and connection is self.connections[0] else head("500 No")
            )


STRAYS = {
    "a 200": OK,
    "a 408": head("408 Request Timeout", "Connection: close"),
    "a 400": head("400 Bad"),
    "an interim answer": b"HTTP/1.1 103 Hints\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "garbage": b"\0\1\2",
}


@pytest.mark.cases(8)
@pytest.mark.slow
@pytest.mark.parametrize("busy", [True, False], ids=["while the loop was busy", "while it was not"])
@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_with_something_unread_is_not_used(reached: Ways, way: str, stray: str, busy: bool) -> None:
    kept = Kept()
    server, made = await reached(way, kept)
    assert (await made.post("pixel", KEY, BODY)).status == 200
    kept.connections[0].writer.write(STRAYS[stray])  # reaches the kernel's buffer at once
    if not busy or way.endswith("a proxy"):  # the proxy runs on this loop too
        await asyncio.sleep(0.2)
    answer = await made.post("pixel", KEY, BODY)
    assert (answer.status, answer.fault) == (500, None)
    assert (len(kept.connections), len(server.requests)) == (2, 2), "nothing is sent on the old one"


async def test_a_connection_that_was_dropped_while_the_loop_was_busy_is_not_used(reached: Ways) -> None:
    kept = Kept()
    _, made = await reached("plain", kept)
    assert (await made.post("pixel", KEY, BODY)).status == 200
    kept.connections[0].writer.write_eof()
    assert (await made.post("pixel", KEY, BODY)).status == 500


async def test_an_answer_with_another_one_behind_it_ends_its_connection(reached: Ways) -> None:
    server, made = await reached("plain", answering(OK + OK))
    for number in (1, 2, 3):
        assert (await made.post("pixel", KEY, BODY)).status == 200
        assert server.connections == number


@pytest.mark.parametrize("status", [200, 400, 401])
async def test_an_answer_that_was_under_way_when_the_request_went_is_not_believed(
    reached: Ways, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It arrives after the connection was checked, and before the first byte of the request is sent."""
    kept = Kept()
    _, made = await reached("plain", kept)
    assert (await made.post("pixel", KEY, BODY)).status == 200
    write = connections.Body.write_with_length

    async def late(body: connections.Body, writer: Any, content_length: int | None) -> None:
        kept.connections[0].writer.write(head(f"{status} Stray"))
        await asyncio.sleep(0.1)
        await write(body, writer, content_length)

    monkeypatch.setattr(connections.Body, "write_with_length", late)
    assert (await made.post("pixel", KEY, BODY)).fault == "early_answer"


@pytest.mark.parametrize("read", [True, False], ids=["read by the loop", "in the kernel"])
@pytest.mark.parametrize("reply", [OK, head("400 Bad"), head("401 Who")])
async def test_an_answer_on_a_new_connection_before_any_request_is_none(
    client: MakeClient, monkeypatch: pytest.MonkeyPatch, reply: bytes, read: bool
) -> None:
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def behave(connection: Connection) -> None:
        await connection.send(reply)
        await connection.gone()

    async def awaiting(*args: Any, **options: Any) -> Any:
        """Connect, but return only when the answer has arrived."""
        sock = options["sock"]
        await eventually(lambda: bool(select.select([sock], [], [], 0)[0]), 20, "the answer is there")
        made = await create(*args, **options)
        if read:
            await asyncio.sleep(0.1)
        return made

    async with RawServer(behave) as server:
        made = await client(server.url)
        monkeypatch.setattr(loop, "create_connection", awaiting)
        assert (await made.post("pixel", KEY, BODY)).fault == "early_answer"


@pytest.mark.slow
async def test_connections_that_are_thrown_away_give_their_places_back(reached: Ways) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.send(head("408 Request Timeout"))
        await connection.gone()

    server, made = await reached("plain", behave)
    for _ in range(10):
        answers = await asyncio.gather(*(made.post("pixel", KEY, BODY) for _ in range(40)))
        assert {(answer.status, answer.fault) for answer in answers} == {(200, None)}
        await asyncio.sleep(0.01)
    assert server.connections == len(server.requests) == 400


@pytest.mark.slow
async def test_a_thousand_connections_thrown_away_in_a_row_leave_the_pool_its_places(
    reached: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, thrown = connections.Protocol.take, 0

    def refusing(protocol: connections.Protocol) -> bool:
        nonlocal thrown
        thrown += 1
        return take(protocol) and thrown % 251 == 0

    _, made = await reached("plain", answering(OK), max_connections=4)
    monkeypatch.setattr(connections.Protocol, "take", refusing)
    answers = [await made.post("pixel", KEY, BODY) for _ in range(4)]
    assert {answer.status for answer in answers} == {200}
    assert thrown == 1004


async def test_a_chunked_answer_with_trailers_is_read_to_its_end(reached: Ways) -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;extension=1\r\nok\r\n0\r\nX: y\r\n\r\n"
    )
    server, made = await reached("plain", answering(reply))
    assert [(await made.post("pixel", KEY, BODY)).status for _ in range(3)] == [200] * 3
    assert server.connections == 1


# Heads


HEADS: dict[str, bytes] = {
    "a long header": head("429 Slow", "Retry-After: 3", "X: " + "x" * 9_000),
    "a very long header": head("429 Slow", "Retry-After: 3", "X: " + "x" * 60_000),
    "150 headers": head("429 Slow", "Retry-After: 3", *["X: y"] * 150),
    "900 headers": head("429 Slow", "Retry-After: 3", *["X: y"] * 900),
    "a long reason": head("429 " + "slow " * 5_000, "Retry-After: 3"),
    "an odd reason": head("429 \xe4\xf6\t\xff", "Retry-After: 3"),
    "no reason": head("429", "Retry-After: 3"),
    "an empty reason": head("429 ", "Retry-After: 3"),
    "a header that is not UTF-8": head("429 Slow", "Retry-After: 3", "X: \xe4\xff"),
    "HTTP/1.0": b"HTTP/1.0 429 Slow\r\nRetry-After: 3\r\n\r\n",
    "lines without a carriage return": b"HTTP/1.1 429 Slow\nRetry-After: 3\nContent-Length: 0\n\n",
    "a folded header": head("429 Slow", "X: a", " b", "Retry-After: 3"),
    "interim answers first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
    + head("429 Slow", "Retry-After: 3"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
async def test_an_unusual_head_is_read_whole(client: MakeClient, name: str) -> None:
    async with RawServer(answering(HEADS[name])) as server:
        made = await client(server.url)
        for _ in range(2):
            answer = await made.post("pixel", KEY, BODY)
            assert (answer.status, answer.fault, answer.retry_after) == (429, None, "3")


LATE_HEADER = "X-Late: " + "x" * 70_000
BROKEN: dict[str, bytes] = {
    "a header beyond the bound": head("{} Yes", "X: " + "x" * 100_000),
    "a header's name beyond the bound": head("{} Yes", "x" * 100_000 + ": x"),
    "a header without end": b"HTTP/1.1 {} Yes\r\nX: " + b"x" * 1_000_000,
    "headers beyond the bound": head("{} Yes", *["X: y"] * 1_200),
    "headers without end": b"HTTP/1.1 {} Yes\r\n" + b"X: y\r\n" * 10_000,
    "a head beyond the bound": b"HTTP/1.1 {} Yes\r\n" + (b"X: " + b"x" * 50_000 + b"\r\n") * 20,
    "an interim answer first": b"HTTP/1.1 103 Hints\r\nLink: "
    + b"a" * 5_000
    + b"\r\n\r\nHTTP/1.1 100 \r\n\r\n"
    + head("{} Yes", LATE_HEADER),
    "two lengths": b"HTTP/1.1 {} Yes\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "the same length twice": b"HTTP/1.1 {} Yes\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxx",
    "a length and chunks": b"HTTP/1.1 {} Yes\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n",
    "a length that is no number": b"HTTP/1.1 {} Yes\r\nContent-Length: many\r\n\r\nxx",
    "a length below nothing": b"HTTP/1.1 {} Yes\r\nContent-Length: -1\r\n\r\nxx",
    "chunks that are none": b"HTTP/1.1 {} Yes\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nxx",
    "a zero byte in a header": b"HTTP/1.1 {} Yes\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 {} Yes\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "a header's name with a space": b"HTTP/1.1 {} Yes\r\nX : y\r\nContent-Length: 0\r\n\r\n",
    "a body where none may be": b"HTTP/1.1 {} Yes\r\nContent-Length: 2\r\n\r\nokGARBAGE",
    "a bare carriage return": b"HTTP/1.1 {} Yes\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.cases(12)
@pytest.mark.slow
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("name", BROKEN)
async def test_where_a_head_is_broken_the_status_line_is_the_answer(
    client: MakeClient, name: str, status: int, pieces: int
) -> None:
    reply = BROKEN[name].replace(b"{}", str(status).encode())

    async def behave(connection: Connection) -> None:
        await connection.request()
        step = -(-len(reply) // pieces)
        for at in range(0, len(reply), step):
            await connection.send(reply[at : at + step])
            await asyncio.sleep(0.01)
        await connection.gone()

    async with RawServer(behave) as server:
        made = await client(server.url, timeout_seconds=5)
        for number in (1, 2):
            answer = await made.post("pixel", KEY, BODY)
            assert (answer.status, answer.fault) == (status, None)
            assert server.connections == number, "nothing goes behind a head that can't be parsed"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/9.1 200 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"XHTTP/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000,
    ],
)
async def test_a_status_line_that_is_none_is_no_answer(client: MakeClient, reply: bytes) -> None:
    async with RawServer(answering(reply)) as server:
        made = await client(server.url, timeout_seconds=5)
        assert (await made.post("pixel", KEY, BODY)).fault == "protocol"


@pytest.mark.parametrize("way", WAYS)
async def test_an_honest_answer_with_a_broken_head_is_never_doubted(reached: Ways, way: str) -> None:
    _, made = await reached(way, answering(BROKEN["two lengths"].replace(b"{}", b"200")))
    answers = await asyncio.gather(*(made.post("pixel", KEY, bytes(size)) for size in [1, 60_000, 1_500_000] * 5))
    assert {(answer.status, answer.fault) for answer in answers} == {(200, None)}


async def test_a_head_that_is_torn_off_is_no_answer(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")

    async with RawServer(behave) as server:
        made = await client(server.url)
        assert (await made.post("pixel", KEY, BODY)).fault == "disconnected"


async def test_a_broken_head_is_no_way_around_the_rule_of_early_answers(reached: Ways) -> None:
    _, made = await reached(
        "plain", early(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), WINDOW
    )
    answers = [await made.post("pixel", KEY, bytes(900_000)) for _ in range(2)]
    assert [answer.fault for answer in answers] == ["early_answer", "early_answer"]


@pytest.mark.slow
async def test_interim_answers_without_end_end_with_the_bound(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        while True:
            await connection.send(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 100)

    async with RawServer(behave) as server:
        made = await client(server.url, timeout_seconds=30)
        answer = await made.post("pixel", KEY, BODY)
    assert answer.fault == "protocol"
    assert answer.seconds < 20
