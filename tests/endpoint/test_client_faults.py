"""Network faults: each is reported as its word in ``Answer.fault``, never as an exception or as a refusal."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme

from stream_capi.core.outcomes import Transient, classify
from stream_capi.endpoint.client import EndpointClient
from stream_capi.errors import ConfigurationError
from tests.endpoint.conftest import MakeClient
from tests.endpoint.raw import OK, Behaviour, Connection, RawServer, answering, tunnel
from tests.stack.waiting import eventually

KEY = "canary-key-0123456789"
PIXEL = "canary-pixel"
BODY = b'{"events":[{"user_data":{"email":"canary@example.com"}}]}'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def hang(connection: Connection) -> None:
    await connection.request()
    await connection.gone()


async def drip_head(connection: Connection) -> None:
    await connection.request()
    for sign in b"HTTP/1.1 200 OK\r\nX-Slow: " + bytes(1000):
        await connection.send(bytes([sign]))
        await asyncio.sleep(0.02)


async def reset_before_body(connection: Connection) -> None:
    await connection.head()
    connection.reset()


async def reset_after_body(connection: Connection) -> None:
    await connection.request()
    connection.reset()


async def close_after_body(connection: Connection) -> None:
    await connection.request()


async def close_in_head(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")


def says(reply: bytes) -> Behaviour:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(reply)
        await connection.gone()

    return behave


FAULTS: dict[str, tuple[Behaviour, set[str]]] = {
    "reset before the body": (reset_before_body, {"reset"}),
    "reset after the body": (reset_after_body, {"reset"}),
    "closed without an answer": (close_after_body, {"disconnected"}),
    "closed in the midst of the head": (close_in_head, {"disconnected"}),
    "not HTTP": (says(b"220 mail.example.com ESMTP\r\n\r\n"), {"protocol"}),
    "HTTP of another kind": (says(b"HTTP/2 200\r\n\r\n"), {"protocol"}),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_connection_has_its_word(client: MakeClient, name: str) -> None:
    behaviour, expected = FAULTS[name]
    async with RawServer(behaviour) as server:
        made = await client(server.url)
        answer = await made.post(PIXEL, KEY, BODY)
    assert answer.status is None
    assert answer.fault in expected
    assert answer.seconds > 0
    assert isinstance(classify(answer, 0.0), Transient)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", [hang, drip_head, says(b""), says(b"HTTP/1.1 100 Continue\r\n\r\n")])
async def test_what_takes_longer_than_the_time_out_is_a_timeout(client: MakeClient, behaviour: Behaviour) -> None:
    async with RawServer(behaviour) as server:
        made = await client(server.url, timeout_seconds=0.3)
        answer = await made.post(PIXEL, KEY, BODY)
        await eventually(lambda: server.ended == server.connections, 20, "the client closes")
    assert answer.fault == "timeout"
    assert answer.seconds >= 0.29


async def test_an_address_that_nobody_listens_on_is_a_fault_of_the_connection(client: MakeClient) -> None:
    port = free_port()
    made = await client(f"http://127.0.0.1:{port}/v1/event")
    assert (await made.post(PIXEL, KEY, BODY)).fault == "connect"
    why = f"no connection to 127.0.0.1:{port}: Connection refused; check endpoint.url, firewall and network policy"
    assert await made.probe() == why


async def test_a_proxy_that_nobody_listens_on_is_a_fault_of_the_connection(client: MakeClient) -> None:
    made = await client("http://127.0.0.1:9/v1/event", proxy=f"http://127.0.0.1:{free_port()}")
    assert (await made.post(PIXEL, KEY, BODY)).fault == "connect"
    assert (await made.probe() or "").startswith("endpoint.proxy doesn't connect to 127.0.0.1:9")


@pytest.mark.parametrize("host", ["endpoint.invalid", "a" * 70 + ".invalid"])
async def test_a_name_that_nobody_knows_is_a_fault_of_names(client: MakeClient, host: str) -> None:
    made = await client(f"https://{host}/v1/event", timeout_seconds=120)
    assert (await made.post(PIXEL, KEY, BODY)).fault == "dns"
    message = await made.probe()
    assert message is not None
    assert f"the name {host} can't be resolved" in message


async def test_a_name_server_that_does_not_answer_is_a_timeout(
    client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: object, **options: object) -> list[object]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    made = await client("https://endpoint.invalid/v1/event", timeout_seconds=0.2)
    assert (await made.post(PIXEL, KEY, BODY)).fault == "timeout"
    assert "within 0.2 s" in (await made.probe() or "")


# Connections that fail after they have worked


async def test_a_kept_connection_that_ends_with_the_next_request_is_a_fault_and_no_refusal(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        if server.connections == 1:
            await connection.request()  # read, and never answered
        else:
            await connection.gone()

    async with RawServer(behave) as server:
        made = await client(server.url)
        assert (await made.post(PIXEL, KEY, BODY)).status == 200
        assert (await made.post(PIXEL, KEY, BODY)).fault == "disconnected"
        assert (await made.post(PIXEL, KEY, BODY)).status == 200
    assert len(server.requests) == 3, "the client must not send a batch again by itself"


async def test_a_kept_connection_that_was_dropped_meanwhile_is_no_refusal(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)

    async with RawServer(behave) as server:
        made = await client(server.url)
        for _ in range(3):
            answer = await made.post(PIXEL, KEY, BODY)
            assert answer.status == 200 or answer.fault in ("disconnected", "reset")
            await eventually(lambda: server.ended == server.connections, 20, "dropped")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    client: MakeClient, authority: trustme.CA, ca_file: str
) -> None:
    async with RawServer(answering(OK), tls(authority.issue_cert("127.0.0.1"))) as server:
        made = await client(server.url, ca_file=ca_file)
        assert await made.probe() is None
        assert server.requests == []
        assert (await made.post(PIXEL, KEY, BODY)).status == 200


async def test_through_a_proxy_the_certificate_is_still_the_endpoints(
    client: MakeClient, authority: trustme.CA, ca_file: str
) -> None:
    right, wrong = authority.issue_cert("127.0.0.1"), authority.issue_cert("elsewhere.example")
    async with (
        RawServer(tunnel) as proxy,
        RawServer(answering(OK), tls(right)) as server,
        RawServer(answering(OK), tls(wrong)) as other,
    ):
        by_proxy = {"proxy": f"http://127.0.0.1:{proxy.port}", "ca_file": ca_file}
        made = await client(server.url, **by_proxy)
        assert await made.probe() is None
        assert (await made.post(PIXEL, KEY, BODY)).status == 200
        assert (await (await client(other.url, **by_proxy)).post(PIXEL, KEY, BODY)).fault == "tls"
        assert [request.line.split()[0] for request in proxy.requests] == ["CONNECT"] * 3
        assert KEY not in str(proxy.requests)
    assert len(server.requests) == 1
    assert other.requests == []


LONG_AGO = datetime.now(UTC) - timedelta(days=30)
WRONG: dict[str, tuple[Callable[[trustme.CA], trustme.LeafCert], str]] = {
    "another authority": (lambda _: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer certificate"),
    "another host": (lambda ca: ca.issue_cert("elsewhere.example"), "not valid for '127.0.0.1'"),
    "expired": (
        lambda ca: ca.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=1)),
        "expired",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_certificate_gets_no_request(
    client: MakeClient, authority: trustme.CA, ca_file: str, name: str
) -> None:
    certificate, why = WRONG[name]
    async with RawServer(answering(OK), tls(certificate(authority))) as server:
        made = await client(server.url, ca_file=ca_file)
        assert (await made.post(PIXEL, KEY, BODY)).fault == "tls"
        message = await made.probe()
    assert server.requests == []
    assert message is not None
    assert why in message
    assert "\n" not in message


async def test_without_the_authority_its_certificates_are_not_trusted(
    client: MakeClient, authority: trustme.CA
) -> None:
    async with RawServer(answering(OK), tls(authority.issue_cert("127.0.0.1"))) as server:
        made = await client(server.url)
        assert (await made.post(PIXEL, KEY, BODY)).fault == "tls"
        assert "endpoint.ca_file" in (await made.probe() or "")
    assert server.requests == []


async def test_plain_http_where_tls_was_meant_is_a_fault_of_tls(client: MakeClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.gone()

    async with RawServer(behave) as server:
        made = await client(server.url.replace("http:", "https:"))
        assert (await made.post(PIXEL, KEY, BODY)).fault == "tls"
        assert "TLS with 127.0.0.1" in (await made.probe() or "")


@pytest.mark.parametrize("content", [None, "", "no certificate at all"])
def test_a_ca_file_without_certificates_is_a_fault_of_the_settings(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"endpoint\.ca_file: .*ca\.pem"):
        EndpointClient(url="https://127.0.0.1/v1/event", ca_file=str(path))


# The probe of `check`


async def test_the_probe_of_a_plain_endpoint_connects_and_sends_nothing(client: MakeClient) -> None:
    async with RawServer(answering(OK)) as server:
        made = await client(server.url)
        assert await made.probe() is None
        await eventually(lambda: server.ended == 1, 20, "the probe closes its connection")
    assert server.connections == 1
    assert server.requests == []


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_nothing_goes_to_the_other_origin(client: MakeClient, status: int) -> None:
    async with RawServer(answering(OK)) as other, RawServer(redirecting(status, other)) as server:
        made = await client(server.url)
        assert (await made.post(PIXEL, KEY, BODY)).status == status
        assert other.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_mutant_a_client_that_followed_redirects_would_deliver_falsely_and_be_seen(
    client: MakeClient, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with the library's default the client asks the other origin, and takes its 200 for ours."""
    request = aiohttp.ClientSession._request

    async def following(*args: object, **options: object) -> aiohttp.ClientResponse:
        return await request(*args, **(options | {"allow_redirects": True}))  # type: ignore[arg-type]

    monkeypatch.setattr(aiohttp.ClientSession, "_request", following)
    async with RawServer(answering(OK)) as other, RawServer(redirecting(status, other)) as server:
        made = await client(server.url)
        answer = await made.post(PIXEL, KEY, BODY)
        # After 301 to 303 the client sends a GET without a body: its answer breaks the second rule of connections.py.
        assert answer.status == 200 if status in (307, 308) else answer.fault == "early_answer"
        assert other.connections == 1
        assert (other.requests[0].body == BODY) is (status in (307, 308))


def redirecting(status: int, to: RawServer) -> Behaviour:
    return answering(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {to.url}\r\nContent-Length: 0\r\n\r\n".encode())


# No secrets and no exceptions get out


@pytest.mark.slow
async def test_no_fault_tells_the_key_the_pixel_or_the_event(
    client: MakeClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    said: list[str] = []
    for behaviour, _ in FAULTS.values():
        async with RawServer(behaviour) as server:
            made = await client(server.url)
            said += [repr(await made.post(PIXEL, KEY, BODY)), repr(made), str(vars(made)), await made.probe() or ""]
    text = "\n".join([*said, caplog.text, *capsys.readouterr()])
    assert "canary" not in text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_no_answer_however_broken_comes_out_as_an_exception(client: MakeClient, seed: int) -> None:
    chance = random.Random(seed)
    whole = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 503 No\r\nRetry-After: 5\r\nSet-Cookie: a=b; x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
    ]

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            reply = bytearray(chance.choice(whole))
            for _ in range(chance.randrange(5)):
                at = chance.randrange(len(reply) + 1)
                if chance.random() < 0.5:
                    reply[at : at + chance.randrange(8)] = b""
                reply[at:at] = chance.choice([b"\r\n", b"\0", b":", chance.randbytes(3), b"Content-Length: 9\r\n"])
            await connection.send(bytes(reply))
            if chance.random() < 0.3:
                return connection.reset()
            if chance.random() < 0.7:
                return None

    words = {None, "early_answer", "timeout", "reset", "disconnected", "protocol"}
    async with RawServer(behave) as server:
        made = await client(server.url, timeout_seconds=0.3)
        for _ in range(200):
            answer = await made.post(PIXEL, KEY, BODY)
            assert answer.fault in words
            assert (answer.status is None) is (answer.fault is not None)
