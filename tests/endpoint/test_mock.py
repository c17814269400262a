"""The mock endpoint: how it validates, what it remembers, and how scripts work with the program's own client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import trustme

from stream_capi.errors import ConfigurationError
from stream_capi.model import Answer
from stream_capi.sandbox.fault_script import Action, RequestInfo, Script
from stream_capi.sandbox.mock_api import ANY_PIXEL, MAX_BODY_BYTES, MAX_VIOLATIONS, MockEndpoint
from tests.endpoint.conftest import MakeClient
from tests.endpoint.events import batch, lead, view
from tests.endpoint.raw import OK, RawServer, answering
from tests.endpoint.test_client_faults import tls
from tests.sandbox.test_api_document import VIOLATIONS
from tests.stack.waiting import eventually

KEY = "canary-key"
KEYS = {"AXON-1": KEY, "AXON-2": "canary-other"}
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


@pytest.fixture
async def mock() -> AsyncIterator[MockEndpoint]:
    async with MockEndpoint(keys=KEYS) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
        yield session


async def status_of(http: aiohttp.ClientSession, url: str, **options: Any) -> int:
    options = {"params": {"pixel_id": "AXON-1"}, "headers": HEADERS, "data": batch(lead())} | options
    async with http.post(url, **options) as response:
        await response.read()
        return response.status


# Validation


async def test_a_valid_batch_is_accepted_as_a_whole_and_remembered(client: MakeClient, mock: MockEndpoint) -> None:
    made = await client(mock.url)
    assert (await made.post("AXON-1", KEY, batch(lead("a"), lead("b")))).status == 200
    assert (await made.post("AXON-2", "canary-other", batch(view("c")))).status == 200
    assert [(taken.pixel_id, taken.event) for taken in mock.events] == [
        ("AXON-1", lead("a")),
        ("AXON-1", lead("b")),
        ("AXON-2", view("c")),
    ]
    first, second = mock.requests
    assert (first.number, first.pixel_id, first.status, first.n_events, first.dedupe_ids) == (
        1, "AXON-1", 200, 2, ("a", "b"),
    )  # fmt: skip
    assert first.accepted
    assert first.answered
    assert first.at <= second.at
    assert mock.times_accepted() == mock.times_answered() == {"a": 1, "b": 1, "c": 1}
    assert (mock.counts.requests, mock.counts.accepted, mock.counts.refused) == (2, 3, 0)
    assert mock.counts.statuses == {"200": 2}
    assert mock.violations == []


@pytest.mark.slow
@pytest.mark.parametrize("name", VIOLATIONS)
async def test_one_violation_refuses_the_whole_batch_and_is_listed(
    client: MakeClient, mock: MockEndpoint, name: str
) -> None:
    change, expected = VIOLATIONS[name]
    wrong = lead("wrong")
    change(wrong)
    made = await client(mock.url)
    assert (await made.post("AXON-1", KEY, batch(wrong, lead("right")))).status == 400
    assert mock.events == []
    assert mock.counts.refused == 2
    (violation,) = mock.violations
    assert violation.startswith(f"request 1: {expected}")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"data": b"{"}, "the body is not JSON in UTF-8"),
        ({"data": b'{"events":[]}'}, "events: must have at least one event"),
        ({"data": batch(*[lead()] * 101)}, "events: must have at most 100 events"),
        ({"headers": HEADERS | {"Content-Type": "text/plain"}}, "the content type is not application/json"),
        ({"params": {}}, "the query is not one pixel_id and nothing else"),
        ({"params": {"pixel_id": ""}}, "the query is not one pixel_id and nothing else"),
        ({"params": {"pixel_id": "AXON-1", "debug": "1"}}, "the query is not one pixel_id and nothing else"),
        ({"params": [("pixel_id", "AXON-1")] * 2}, "the query is not one pixel_id and nothing else"),
    ],
)
async def test_a_request_that_the_document_does_not_allow_is_refused_and_listed(
    http: aiohttp.ClientSession, options: dict[str, Any], expected: str
) -> None:
    async with MockEndpoint() as mock:
        assert await status_of(http, mock.url, **options) == 400
        assert mock.violations == [f"request 1: {expected}"]
        assert mock.events == []


async def test_another_path_or_method_is_not_the_documents(http: aiohttp.ClientSession, mock: MockEndpoint) -> None:
    assert await status_of(http, mock.url + "s") == 404
    async with http.get(mock.url, params={"pixel_id": "AXON-1"}, headers=HEADERS) as response:
        assert response.status == 405
    assert len(mock.violations) == 2


async def test_a_body_beyond_the_bound_is_not_read_to_its_end(client: MakeClient, mock: MockEndpoint) -> None:
    made = await client(mock.url)
    got = await made.post("AXON-1", KEY, b" " * (8 * MAX_BODY_BYTES))
    assert got.status == 413 or got.fault == "reset"
    assert mock.counts.statuses == {"413": 1}


async def test_a_charset_beside_the_content_type_is_allowed(http: aiohttp.ClientSession, mock: MockEndpoint) -> None:
    headers = HEADERS | {"Content-Type": "application/json; charset=utf-8"}
    assert await status_of(http, mock.url, headers=headers) == 200


# Keys


@pytest.mark.parametrize(
    ("authorization", "header", "status"),
    [
        ("bearer", f"Bearer {KEY}", 200),
        ("bearer", f"bearer {KEY}", 200),
        ("bearer", KEY, 401),
        ("bearer", f"Basic {KEY}", 401),
        ("bearer", "Bearer ", 401),
        ("bearer", "Bearer wrong", 401),
        ("bearer", "Bearer canary-other", 401),
        ("bearer", None, 401),
        ("raw", KEY, 200),
        ("raw", f"Bearer {KEY}", 401),
        ("any", KEY, 200),
        ("any", f"Bearer {KEY}", 200),
        ("any", "wrong", 401),
    ],
)
async def test_a_key_must_be_the_pixels_own_and_in_the_form_asked_for(
    http: aiohttp.ClientSession, authorization: Any, header: str | None, status: int
) -> None:
    headers = {"Content-Type": "application/json"} | ({"Authorization": header} if header else {})
    async with MockEndpoint(keys=KEYS, authorization=authorization) as mock:
        assert await status_of(http, mock.url, headers=headers) == status
        assert len(mock.events) == (status == 200)
        assert mock.violations == [], "a wrong key is no violation of the document"


async def test_the_key_of_an_unknown_pixel_is_wrong_unless_there_is_one_for_any(client: MakeClient) -> None:
    async with MockEndpoint(keys=KEYS) as mock:
        assert (await (await client(mock.url)).post("AXON-9", KEY, batch(lead()))).status == 401
    async with MockEndpoint(keys={"AXON-2": "canary-other", ANY_PIXEL: KEY}) as mock:
        made = await client(mock.url)
        assert (await made.post("AXON-9", KEY, batch(lead()))).status == 200
        assert (await made.post("AXON-2", KEY, batch(lead()))).status == 401


@pytest.mark.parametrize(("key", "status"), [("anything", 200), ("", 401)])
async def test_without_keys_any_key_is_right_but_none_is_not(client: MakeClient, key: str, status: int) -> None:
    async with MockEndpoint() as mock:
        assert (await (await client(mock.url)).post("AXON-9", key, batch(lead()))).status == status


async def test_a_request_with_two_keys_has_none(http: aiohttp.ClientSession, mock: MockEndpoint) -> None:
    headers = [*HEADERS.items(), ("Authorization", f"Bearer {KEY}")]
    assert await status_of(http, mock.url, headers=headers) == 401


async def test_a_wrong_key_does_not_hide_that_the_batch_is_wrong_too(client: MakeClient, mock: MockEndpoint) -> None:
    made = await client(mock.url)
    assert (await made.post("AXON-1", "wrong", batch(lead(esi="tv")))).status == 401
    assert mock.violations == ["request 1: events[0].user_data.esi: must be one of web, app"]


# What it keeps, its address, start and stop


async def test_without_keeping_there_are_counts_alone(client: MakeClient) -> None:
    async with MockEndpoint(keep=False) as mock:
        made = await client(mock.url)
        await made.post("AXON-1", KEY, batch(lead(), lead()))
        await made.post("AXON-1", KEY, batch(lead(esi="tv")))
        assert (mock.events, mock.requests) == ([], [])
        assert (mock.counts.requests, mock.counts.accepted, mock.counts.refused) == (2, 2, 1)
        assert mock.counts.violations == len(mock.violations) == 1


@pytest.mark.slow
async def test_violations_without_end_are_counted_and_not_kept(client: MakeClient, mock: MockEndpoint) -> None:
    made = await client(mock.url)
    for _ in range(60):
        await made.post("AXON-1", KEY, batch(*[lead(esi="tv")] * 100))
    assert len(mock.violations) == MAX_VIOLATIONS
    assert mock.counts.violations == 60 * 20


async def test_nothing_it_shows_tells_of_an_event(client: MakeClient, mock: MockEndpoint) -> None:
    made = await client(mock.url)
    await made.post("AXON-1", KEY, batch(lead("canary-id", email="canary@example.com")))
    assert "canary" not in f"{mock!r} {mock.events!r} {mock.requests!r} {mock.counts!r}"


async def test_it_can_be_stopped_and_started_again_on_its_port(client: MakeClient) -> None:
    mock = MockEndpoint()
    await mock.start()
    port = mock.port
    made = await client(mock.url)
    assert (await made.post("AXON-1", KEY, batch(lead("a")))).status == 200
    await mock.stop()
    assert (await made.post("AXON-1", KEY, batch(lead("b")))).fault in ("connect", "disconnected", "reset")
    await mock.start()
    try:
        assert mock.port == port
        assert (await made.post("AXON-1", KEY, batch(lead("b")))).status == 200
        assert mock.times_accepted() == {"a": 1, "b": 1}
    finally:
        await mock.stop()


async def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as raised:
            await MockEndpoint(port=port).start()
    assert raised.value.faults == (f"port {port} on 127.0.0.1 is in use; choose another",)


async def test_an_address_that_is_not_ours_is_told_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match=r"^port 0 on 192\.0\.2\.1 can't be used: "):
        await MockEndpoint("192.0.2.1").start()


async def test_it_speaks_tls(client: MakeClient, tmp_path: Any) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with MockEndpoint(ssl_context=tls(authority.issue_cert("127.0.0.1"))) as mock:
        assert mock.url.startswith("https://")
        made = await client(mock.url, ca_file=str(tmp_path / "ca.pem"))
        assert await made.probe() is None
        assert (await made.post("AXON-1", KEY, batch(lead()))).status == 200
        mock.answer = lambda _: Action(reset="after_body")
        assert (await made.post("AXON-1", KEY, batch(lead()))).fault in ("reset", "disconnected")


# Scripts, through the program's own client


async def scripted(
    client: MakeClient, rule: dict[str, Any], posts: int = 1, **options: Any
) -> tuple[MockEndpoint, list[Answer]]:
    mock = MockEndpoint(script=Script.parse({"rules": [rule]}))
    async with mock:
        made = await client(mock.url, **options)
        answers = [await made.post("AXON-1", KEY, batch(lead(f"lead-{number}"))) for number in range(posts)]
    assert mock.violations == []
    return mock, answers


async def test_a_scripted_status_comes_with_its_headers_and_accepts_nothing(client: MakeClient) -> None:
    mock, answers = await scripted(client, {"first": 1, "status": 429, "headers": {"Retry-After": 3}}, posts=2)
    assert [(got.status, got.retry_after) for got in answers] == [(429, "3"), (200, None)]
    assert mock.times_accepted() == {"lead-1": 1}
    assert mock.counts.statuses == {"429": 1, "200": 1}


async def test_poison_refuses_the_batch_while_it_is_in_it(client: MakeClient) -> None:
    script = Script.parse({"rules": [{"dedupe_ids": ["bad"], "status": 400}]})
    async with MockEndpoint(script=script) as mock:
        made = await client(mock.url)
        got = [
            (await made.post("AXON-1", KEY, batch(*map(lead, ids)))).status for ids in (["a", "bad"], ["bad"], ["a"])
        ]
    assert got == [400, 400, 200]
    assert mock.counts.refused == 3
    assert mock.times_accepted() == {"a": 1}


async def test_a_delay_comes_before_the_answer_and_after_the_acceptance(client: MakeClient) -> None:
    mock, (got,) = await scripted(client, {"delay_ms": 150})
    assert got.status == 200
    assert got.seconds >= 0.15
    mock, (got,) = await scripted(client, {"delay_ms": 3_600_000}, timeout_seconds=0.3)
    assert got.fault == "timeout"
    assert mock.times_accepted() == {"lead-0": 1}
    assert mock.times_answered() == {}


@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize(
    ("rule", "fault", "seconds"),
    [({"hang": True}, "timeout", 0.3), ({"reset": "after_body"}, "reset", 30), ({"status": 500}, None, 30)],
)
async def test_an_answer_may_be_lost_before_or_after_the_processing(
    client: MakeClient, rule: dict[str, Any], fault: str | None, seconds: float, processed: bool
) -> None:
    mock, (got,) = await scripted(client, rule | {"processed": processed}, timeout_seconds=seconds)
    assert got.fault == fault
    assert mock.times_accepted() == ({"lead-0": 1} if processed else {})
    assert mock.times_answered() == {}
    assert mock.requests[0].status == rule.get("status")


async def test_a_reset_before_the_body_leaves_it_unread(client: MakeClient) -> None:
    mock, answers = await scripted(client, {"first": 1, "reset": "before_body"}, posts=2)
    assert [got.fault for got in answers] == ["reset", None]
    assert [(record.status, record.n_events) for record in mock.requests] == [(None, 0), (200, 1)]
    assert mock.times_accepted() == {"lead-1": 1}


@pytest.mark.parametrize(("rule", "status"), [({}, None), ({"status": 413}, 413)])
async def test_an_early_answer_leaves_the_body_unread_and_accepts_nothing(
    client: MakeClient, rule: dict[str, Any], status: int | None
) -> None:
    script = Script.parse({"rules": [{"first": 2, "early": True} | rule]})
    body = batch(*(lead(f"lead-{number}", client_user_agent="agent" * 200) for number in range(100)))
    async with MockEndpoint(script=script) as mock:
        made = await client(mock.url)
        answers = [await made.post("AXON-1", KEY, body) for _ in range(3)]
    assert [got.status for got in answers] == [status, status, 200]
    assert [got.fault for got in answers] == [None if status else "early_answer"] * 2 + [None]
    assert [(record.status, record.n_events, record.accepted) for record in mock.requests] == [
        (status or 200, 0, False),
        (status or 200, 0, False),
        (200, 100, True),
    ]
    assert mock.violations == []


async def test_a_body_that_the_kernel_takes_whole_gets_no_early_answer(client: MakeClient) -> None:
    mock, answers = await scripted(client, {"early": True})
    assert answers[0].status == 200
    assert mock.times_answered() == {"lead-0": 1}


@pytest.mark.parametrize("stray", [200, 401, 408])
async def test_a_stray_answer_is_nobodys(client: MakeClient, stray: int) -> None:
    mock = MockEndpoint(script=Script.parse({"rules": [{"first": 1, "stray": stray}, {"status": 500}]}))
    async with mock:
        made = await client(mock.url)
        assert (await made.post("AXON-1", KEY, batch(lead("a")))).status == 200
        await eventually(lambda: mock.strays == 1, 20, "the stray answer")
        assert (await made.post("AXON-1", KEY, batch(lead("b")))).status == 500
    assert mock.times_answered() == {"a": 1}


async def test_a_stray_answer_is_written_on_a_connection_that_is_idle() -> None:
    async with MockEndpoint(script=Script.parse({"rules": [{"stray": 408}]})) as mock:
        reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
        body = batch(lead())
        head = f"POST /v1/event?pixel_id=p HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}\r\n"
        request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
        answers = []
        for count in (1, 1, 2):  # the second request arrives before the first one's stray answer is due
            writer.write(request)
            answers += [(await reader.readuntil(b"\r\n\r\n")).split(b" ")[1] for _ in range(count)]
        writer.close()
    assert answers == [b"200", b"200", b"200", b"408"]
    assert mock.strays == 1


async def test_a_redirect_goes_to_another_origin_which_sees_nothing(client: MakeClient) -> None:
    async with RawServer(answering(OK)) as other:
        mock, (got,) = await scripted(client, {"redirect": other.url})
        assert got.status == 307
        assert other.connections == 0
    assert mock.events == []


@pytest.mark.slow
@pytest.mark.parametrize("body", ["endless", "drip", "gzip_bomb"])
async def test_a_strange_body_does_not_keep_the_client(client: MakeClient, body: str) -> None:
    mock, answers = await scripted(client, {"body": body}, posts=2)
    assert [got.status for got in answers] == [200, 200]
    assert mock.times_answered() == {"lead-0": 1, "lead-1": 1}


@pytest.mark.slow
async def test_the_bomb_is_one(http: aiohttp.ClientSession) -> None:
    options: dict[str, Any] = {"params": {"pixel_id": "p"}, "headers": HEADERS, "data": batch(lead())}
    async with (
        MockEndpoint(script=Script.parse({"rules": [{"body": "gzip_bomb"}]})) as mock,
        http.post(mock.url, **options) as response,
    ):
        assert int(response.headers["Content-Length"]) < 100_000
        assert len(await response.read()) == 64 * 2**20


async def test_a_scripted_200_for_a_wrong_batch_is_false_and_shows_as_such(client: MakeClient) -> None:
    async with MockEndpoint(script=Script.parse({"rules": [{"status": 200}]})) as mock:
        made = await client(mock.url)
        assert (await made.post("AXON-1", KEY, batch(lead(esi="tv")))).status == 200
        assert mock.times_answered() == {}
        assert len(mock.violations) == 1


async def test_a_test_may_decide_by_itself_and_hold_an_answer_back(client: MakeClient, mock: MockEndpoint) -> None:
    release = asyncio.Event()

    def answer(request: RequestInfo) -> Action | None:
        assert request.pixel_id == "AXON-1"
        return Action(until=release) if "held" in request.dedupe_ids else None

    mock.answer = answer
    made = await client(mock.url)
    held = asyncio.create_task(made.post("AXON-1", KEY, batch(lead("held"))))
    assert (await made.post("AXON-1", KEY, batch(lead("free")))).status == 200
    await eventually(lambda: mock.times_accepted() == {"held": 1, "free": 1}, 20, "both are accepted")
    assert mock.times_answered() == {"free": 1}
    release.set()
    assert (await held).status == 200
    assert mock.times_answered() == {"held": 1, "free": 1}


async def test_what_hangs_does_not_hold_up_its_stop(client: MakeClient) -> None:
    mock = MockEndpoint(script=Script.parse({"rules": [{"hang": True}]}))
    await mock.start()
    made = await client(mock.url)
    task = asyncio.create_task(made.post("AXON-1", KEY, batch(lead())))
    await eventually(lambda: bool(mock.requests), 20, "the request arrives")
    await mock.stop()
    assert (await task).fault in ("disconnected", "reset")


async def test_what_hangs_ends_with_its_client(client: MakeClient) -> None:
    async with MockEndpoint(script=Script.parse({"rules": [{"hang": True}]})) as mock:
        before = len(asyncio.all_tasks())
        made = await client(mock.url, timeout_seconds=0.3)
        await asyncio.gather(*(made.post("AXON-1", KEY, batch(lead())) for _ in range(5)))
        await eventually(lambda: len(asyncio.all_tasks()) == before, 20, "no request is left hanging")


async def test_the_faults_of_a_refused_batch_are_in_the_answer(http: aiohttp.ClientSession, mock: MockEndpoint) -> None:
    async with http.post(
        mock.url, params={"pixel_id": "AXON-1"}, headers=HEADERS, data=batch(lead(zip=""), lead(esi="canary"))
    ) as response:
        assert response.status == 400
        assert json.loads(await response.read()) == {"faults": ["events[1].user_data.esi: must be one of web, app"]}
