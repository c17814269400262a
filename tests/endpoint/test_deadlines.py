"""If a request's deadline passes while the program doesn't run, an answer that has arrived meanwhile still counts."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.endpoint.conftest import MakeClient
from tests.endpoint.raw import OK, Behaviour, Connection, RawServer
from tests.stack.waiting import eventually

pytestmark = pytest.mark.slow

SECONDS = 2.0
PAUSE = 2.5  # longer than the time-out, as after SIGCONT or on a machine that was paused


@asynccontextmanager
async def aside(server: RawServer) -> AsyncIterator[RawServer]:
    """Run a server on another thread and loop, so that it answers while the test's loop is blocked."""
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await over.wait()
        await asyncio.sleep(0.2)  # so that the transports can close

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert await asyncio.to_thread(ready.wait, 10)
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        await asyncio.to_thread(thread.join)
        loop.close()


def answering_after(go: threading.Event, *pieces: bytes) -> Behaviour:
    async def behave(connection: Connection) -> None:
        await connection.request()
        while not go.is_set():  # noqa: ASYNC110 -- set by another thread
            await asyncio.sleep(0.01)
        for piece in pieces:
            await connection.send(piece)
        await connection.gone()

    return behave


async def silent(connection: Connection) -> None:
    await connection.request()
    await connection.gone()


ANSWERS: dict[str, tuple[bytes, ...]] = {
    "a short answer": (OK,),
    "interim answers first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n", OK),
    "a long body": (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", bytes(300_000)),
    "a broken head": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",),
}


def in_a_callback(go: threading.Event) -> None:
    go.set()
    time.sleep(PAUSE)


def behind_the_select(go: threading.Event) -> None:
    """Block the loop after its select: the timers become due in a pass that has not seen the answers yet."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    select = selector.select

    def once(timeout: float | None) -> Any:
        selector.select = select
        found = select(0)
        in_a_callback(go)
        return found

    selector.select = once


async def test_a_request_that_was_being_sent_when_the_loop_stood_still_is_answered(client: MakeClient) -> None:
    """The rest of the request is sent after the stop, so no answer can have arrived when the time-out is over."""
    go, body = threading.Event(), bytes(20_000_000)  # more than fits into the buffers of both sides

    async def reads_later(connection: Connection) -> None:
        while not go.is_set():  # noqa: ASYNC110 -- set by another thread
            await asyncio.sleep(0.01)
        await connection.request()
        await connection.send(OK)
        await connection.gone()

    async with aside(RawServer(reads_later)) as server:
        made = await client(server.url, timeout_seconds=SECONDS)
        posted = asyncio.create_task(made.post("pixel", "key", body))
        await asyncio.sleep(0.5)
        in_a_callback(go)
        answer = await posted
    assert (answer.status, answer.fault) == (200, None)


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    ("tls", "stand_still"),
    [
        pytest.param(False, in_a_callback, id="plain-in_a_callback"),
        pytest.param(True, behind_the_select, id="tls-behind_the_select"),
        pytest.param(False, behind_the_select, id="plain-behind_the_select", marks=pytest.mark.repeat),
        pytest.param(True, in_a_callback, id="tls-in_a_callback", marks=pytest.mark.repeat),
    ],
)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_arrived_while_the_loop_stood_still_is_the_answer(
    client: MakeClient, tmp_path: Path, answer: str, tls: bool, stand_still: Callable[[threading.Event], None]
) -> None:
    context, authority = None, trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    go = threading.Event()
    async with aside(RawServer(answering_after(go, *ANSWERS[answer]), context)) as server:
        made = await client(server.url, timeout_seconds=SECONDS, ca_file=str(tmp_path / "ca.pem"))
        posted = [asyncio.create_task(made.post("pixel", "key", b"{}")) for _ in range(8)]
        await eventually(lambda: len(server.requests) == 8, 20, "all requests are there")
        stand_still(go)
        answers = await asyncio.gather(*posted)
        await made.close()
    assert [(got.status, got.fault) for got in answers] == [(200, None)] * 8


async def test_what_does_not_arrive_is_timed_out_soon(client: MakeClient) -> None:
    async with aside(RawServer(silent)) as server:
        made = await client(server.url, timeout_seconds=SECONDS)
        posted = asyncio.create_task(made.post("pixel", "key", b"{}"))
        await eventually(lambda: len(server.requests) == 1, 20, "the request is there")
        time.sleep(PAUSE)  # noqa: ASYNC251 -- blocks the loop
        begun = time.monotonic()
        assert (await posted).fault == "timeout"
        assert time.monotonic() - begun < PAUSE


async def test_a_loop_that_is_never_late_keeps_the_deadline(client: MakeClient) -> None:
    async with aside(RawServer(silent)) as server:
        made = await client(server.url, timeout_seconds=SECONDS)
        answer = await made.post("pixel", "key", b"{}")
        assert answer.fault == "timeout"
        assert SECONDS <= answer.seconds < SECONDS + PAUSE


async def test_a_request_that_is_cancelled_is_cancelled(client: MakeClient) -> None:
    async with aside(RawServer(silent)) as server:
        made = await client(server.url, timeout_seconds=30)
        posted = asyncio.create_task(made.post("pixel", "key", b"{}"))
        await eventually(lambda: len(server.requests) == 1, 20, "the request is there")
        posted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posted
