"""When the endpoint's host name resolves to another address, requests go there."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from stream_capi.endpoint.client import EndpointClient
from tests.endpoint.raw import OK

_NAME = "moves.test"
_BEFORE, _AFTER = "127.0.0.1", "127.0.0.2"


_connected: list[asyncio.StreamWriter] = []


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _connected.append(writer)
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            writer.write(OK)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@pytest.mark.slow
async def test_requests_follow_a_name_that_moves_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    at = _BEFORE
    resolve = socket.getaddrinfo

    def moved(host: Any, *args: Any, **options: Any) -> Any:
        return resolve(at if host == _NAME else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", moved)
    first = await asyncio.start_server(_answer, _BEFORE, 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(_answer, _AFTER, port)
    client = EndpointClient(url=f"http://{_NAME}:{port}/v1/event")
    await client.start()
    try:
        assert (await client.post("pixel", "key", b"{}")).status == 200
        at = _AFTER
        first.close()
        _connected.pop().close()
        begun = time.monotonic()
        while (await client.post("pixel", "key", b"{}")).status != 200 or _peer(client) != _AFTER:
            assert time.monotonic() - begun < 15, "requests still go where the name was"
            await asyncio.sleep(0.5)
    finally:
        await client.close()
        first.close()
        second.close()


def _peer(client: EndpointClient) -> str:
    """The peer address of the newest pooled connection."""
    connector = client._connector
    assert connector is not None
    pooled = [one[0].transport for many in connector._conns.values() for one in many]
    return str(pooled[-1].get_extra_info("peername")[0]) if pooled and pooled[-1] else ""
