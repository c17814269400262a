"""The registry's client against a fake registry."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from confluent_kafka import schema_registry

from stream_capi.avro import registry_client
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.refused_registry_properties import PROPERTIES
from stream_capi.avro.registry import MAX_KNOWN, MAX_REFERENCES, MAX_TOTAL_BYTES
from stream_capi.avro.registry_client import LOOKUPS, MAX_ANSWER_BYTES
from stream_capi.avro.schemas import RegistrySchemas, WriterSchema
from stream_capi.avro.writer_schema import UnknownSchemas
from stream_capi.errors import ConfigurationError, RegistryUnavailable
from stream_capi.model import Code, Rejection
from tests.avro.fake_registry import OWN_PATH, Answer, FakeRegistry
from tests.avro.packed import ZLIB, bomb
from tests.avro.records import LEAD, record

GUID = "6c1a5ed8-5b1e-4f0e-9f5c-6d3f1a2b3c4d"
SECRET = "canary-password"
KEY = SchemaKey("id", 1)


def answers(status: int, body: str = "{}") -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, content_type="application/json", headers={"Location": "/"})

    return answer


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry().serving() as fake:
        yield fake


@pytest.fixture
async def schemas(registry: FakeRegistry) -> AsyncIterator[RegistrySchemas]:
    source = RegistrySchemas(registry.url, timeout=2)
    yield source
    await source.aclose()


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_path_in_the_url_is_kept_with_or_without_a_slash_behind_it(registry: FakeRegistry, slash: str) -> None:
    source = RegistrySchemas(registry.url + slash)
    found = await source.load(KEY)
    assert isinstance(found, WriterSchema)
    assert found.name == "stream_capi.Lead"
    assert registry.asked == {"/schemas/ids/1": 1}
    await source.aclose()


async def test_a_thousand_records_ask_once_and_from_then_on_nobody_does(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    assert schemas.cached(KEY) is None
    found = await asyncio.gather(*(schemas.load(KEY) for _ in range(1000)))
    assert len({id(one) for one in found}) == 1
    assert schemas.cached(KEY) is found[0]
    assert await schemas.load(KEY) is found[0]
    assert registry.asked.total() == 1


async def test_one_waiter_that_is_cancelled_doesnt_take_the_answer_from_the_others(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def wait(_: web.Request) -> None:
        arrived.set()
        await go.wait()

    registry.before = wait
    first, second = asyncio.create_task(schemas.load(KEY)), asyncio.create_task(schemas.load(KEY))
    await arrived.wait()
    first.cancel()
    go.set()
    assert isinstance(await second, WriterSchema)
    assert first.cancelled()
    assert registry.asked.total() == 1


async def test_an_id_that_a_healthy_registry_doesnt_know_is_unknown_for_a_minute(registry: FakeRegistry) -> None:
    now = [1000.0]
    source = RegistrySchemas(registry.url, clock=lambda: now[0])
    key = SchemaKey("id", 999)
    answer = await source.load(key)
    assert answer == Rejection(Code.UNKNOWN_SCHEMA, "schema id 999 is not known to the registry (schema id 999: 40403)")
    assert source.cached(key) is answer
    registry.answers["/schemas/ids/999"] = {"schema": json.dumps(LEAD)}
    assert await source.load(key) is answer
    now[0] += UnknownSchemas.SECONDS
    assert source.cached(key) is None
    assert isinstance(await source.load(key), WriterSchema)
    await source.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (500, '{"error_code": 50001, "message": "store"}', "status 500"),
        (503, "{}", "status 503"),
        (429, "{}", "status 429"),
        (401, '{"error_code": 40101}', "status 401; check schema_registry.properties"),
        (403, "{}", "status 403; check"),
        (404, "not a registry", "status 404 without a registry's error code; check the path"),
        (404, '{"error_code": 404, "message": "HTTP 404 Not Found"}', "check the path"),
        (302, "", "status 302"),
        (200, "<html>", "JSONDecodeError"),
        (200, "", "no schema in it"),
        (200, "[]", "no schema in it"),
        (200, "{}", "no schema in it"),
        (200, '{"status": "ok"}', "no schema in it"),
        (200, '{"schema": 5}', "no schema in it"),
        (200, '{"schema": null}', "no schema in it"),
        (200, '{"schema": {"type": "record"}}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "schemaType": 5}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": 5}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [5]}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [{}]}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [{"subject": "s", "version": [1]}]}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [{"subject": "s", "version": true}]}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [{"subject": "a\\u0000", "version": 1}]}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [{"subject": "\\ud800", "version": 1}]}', "no schema in it"),
        (200, '{"schema": "\\"int\\"", "references": [{"subject": "..", "version": 1}]}', "no schema in it"),
        (200, "[" * 100_000, "RecursionError"),
        (200, '{"schema": ' + "9" * 5000 + "}", "ValueError"),
        (404, "[" * 100_000, "RecursionError"),
        (404, "[40403]", "status 404"),
        (404, '{"error_code": [40403]}', "status 404"),
    ],
)
async def test_an_answer_that_says_nothing_about_the_schema_decides_nothing(
    registry: FakeRegistry, schemas: RegistrySchemas, status: int, body: str, text: str
) -> None:
    registry.before = answers(status, body)
    with pytest.raises(RegistryUnavailable, match=text):
        await schemas.load(KEY)
    assert schemas.cached(KEY) is None
    assert registry.asked.total() == 1  # no retry: the caller decides when to ask again
    registry.before = None
    assert isinstance(await schemas.load(KEY), WriterSchema)


async def test_a_registry_that_doesnt_answer_in_time_is_unavailable_though_it_drips(registry: FakeRegistry) -> None:
    stop = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        await stop.wait()
        return web.Response()

    registry.before = wait
    source = RegistrySchemas(registry.url, timeout=0.2)
    with pytest.raises(RegistryUnavailable, match=r"no answer in 0\.2 s|ReadTimeout"):
        await source.load(KEY)
    stop.set()
    await source.aclose()


async def test_a_registry_that_isnt_there_is_unavailable_and_its_password_is_not_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = RegistrySchemas(f"http://user:{SECRET}@127.0.0.1:{port}")
    with pytest.raises(RegistryUnavailable) as caught:
        await source.load(KEY)
    told = "asked the registry for schema id 1: Connection refused; check the registry's address and that it runs"
    assert str(caught.value) == told
    assert SECRET not in repr(caught.value)
    await source.aclose()


async def test_a_registry_that_isnt_there_is_named_by_its_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = RegistrySchemas(f"http://127.0.0.1:{port}")
    with pytest.raises(
        RegistryUnavailable, match=rf"^asked http://127\.0\.0\.1:{port} for schema id 1: Connection refused; "
    ):
        await source.load(KEY)
    await source.aclose()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://user:{secret}@registry.invalid", "its name can't be resolved"),
        ("https://user:{secret}@127.0.0.1:{port}", r"no TLS connection \([A-Z_]+\)"),
    ],
)
async def test_why_there_is_no_connection_is_said_in_words(registry: FakeRegistry, address: str, why: str) -> None:
    port = registry.url.rpartition(":")[2].partition("/")[0]
    source = RegistrySchemas(address.format(secret=SECRET, port=port))
    with pytest.raises(RegistryUnavailable) as caught:
        await source.load(KEY)
    told = f"asked the registry for schema id 1: {why}; check the registry's address and that it runs"
    assert re.fullmatch(told, str(caught.value))
    await source.aclose()


def test_a_fault_without_words_has_its_type_and_one_of_many_its_own() -> None:
    refused = ConnectionRefusedError(111, "Connect call failed ('::1', 1)")
    several = OSError("All connection attempts failed")
    several.__cause__ = ExceptionGroup("many", [refused, refused])
    assert registry_client.why(several) == "Connection refused"
    untrusted = ssl.SSLCertVerificationError(1, "no")
    untrusted.verify_message = "self-signed certificate"
    assert registry_client.why(untrusted) == "its certificate is not trusted (self-signed certificate)"
    assert registry_client.why(KeyError("secret")) == "KeyError"
    circle = ValueError("secret")
    circle.__context__ = KeyError("secret")
    circle.__context__.__context__ = circle
    assert registry_client.why(circle) == "ValueError"


async def test_closing_ends_what_is_under_way(registry: FakeRegistry) -> None:
    arrived = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    registry.before = wait
    source = RegistrySchemas(registry.url, timeout=30)
    waiting = asyncio.create_task(source.load(KEY))
    await arrived.wait()
    await source.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_guid_is_looked_up_as_one(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    registry.answers[f"/schemas/guids/{GUID}"] = {"schema": json.dumps(LEAD), "id": 1, "guid": GUID}
    found = await schemas.load(SchemaKey("guid", GUID))
    assert isinstance(found, WriterSchema)
    assert found.key == SchemaKey("guid", GUID)


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
async def test_a_schema_of_another_kind_is_refused_for_good(
    registry: FakeRegistry, schemas: RegistrySchemas, kind: str
) -> None:
    registry.answers["/schemas/ids/1"] = {"schema": "{}", "schemaType": kind}
    answer = await schemas.load(KEY)
    assert answer == Rejection(Code.DECODE_ERROR, f"schema id 1 is refused: its type is {kind}, not AVRO")
    assert schemas.cached(KEY) is answer


async def test_the_name_of_an_unheard_of_type_is_not_repeated(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    registry.answers["/schemas/ids/1"] = {"schema": "{}", "schemaType": "\x1b[31m jane@example.com"}
    answer = await schemas.load(KEY)
    assert answer == Rejection(Code.DECODE_ERROR, "schema id 1 is refused: its type is another one, not AVRO")


async def test_a_recursive_schema_is_refused(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    raw = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
    registry.answers["/schemas/ids/1"] = {"schema": json.dumps(raw)}
    answer = await schemas.load(KEY)
    assert isinstance(answer, Rejection)
    assert (answer.code, "recursive" in answer.detail) == (Code.DECODE_ERROR, True)


async def test_references_are_followed_through_references(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    def reference(name: str) -> dict[str, Any]:
        return {"name": name, "subject": f"s/{name}", "version": 3}

    country = {"type": "enum", "name": "Country", "namespace": "geo", "symbols": ["DE"]}
    address = {"type": "record", "name": "geo.Address", "fields": [{"name": "country", "type": "Country"}]}
    registry.answers["/schemas/ids/1"] = {
        "schema": json.dumps(record("geo.Address")),
        "references": [reference("geo.Address")],
    }
    registry.answers["/subjects/s/geo.Address/versions/3"] = {
        "schema": json.dumps(address), "references": [reference("geo.Country")], "subject": "s/geo.Address", "version": 3, "id": 5,
    }  # fmt: skip
    registry.answers["/subjects/s/geo.Country/versions/3"] = {
        "schema": json.dumps(country), "references": [reference("geo.Address")], "subject": "s/geo.Country", "version": 3, "id": 6,
    }  # fmt: skip
    found = await schemas.load(KEY)
    assert isinstance(found, WriterSchema), found
    assert dict(dict(found.parsed.fields)["f0"].fields)["country"].name == "geo.Country"
    assert registry.asked.total() == 3


async def test_a_reference_that_is_gone_is_an_unknown_schema(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    references = [{"name": "X", "subject": "x", "version": 1}]
    registry.answers["/schemas/ids/1"] = {"schema": json.dumps(record("X")), "references": references}
    answer = await schemas.load(KEY)
    assert isinstance(answer, Rejection)
    assert answer.code is Code.UNKNOWN_SCHEMA
    assert "its reference x version 1: 40401" in answer.detail


@pytest.mark.slow
async def test_references_without_end_are_refused(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    references = [{"name": "X", "subject": "x", "version": n} for n in range(1, MAX_REFERENCES + 2)]
    registry.answers["/schemas/ids/1"] = {"schema": json.dumps(record("X")), "references": references}
    for n in range(1, MAX_REFERENCES + 2):
        registry.answers[f"/subjects/x/versions/{n}"] = {"schema": '"int"', "subject": "x", "version": n, "id": n + 9}
    answer = await schemas.load(KEY)
    assert isinstance(answer, Rejection)
    assert answer.code is Code.DECODE_ERROR


async def test_the_newest_schema_of_a_topic_is_asked_for_anew_each_time(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    path = "/subjects/leads-value/versions/latest"
    registry.answers[path] = {"schema": json.dumps(LEAD), "id": 11, "version": 1, "subject": "leads-value"}
    assert [one.key for one in await schemas.newest("leads")] == [SchemaKey("id", 11)]
    registry.answers[path] = {"schema": json.dumps(record("int")), "id": 12, "version": 2, "subject": "leads-value"}
    (newest,) = await schemas.newest("leads")
    assert (newest.key, newest.name) == (SchemaKey("id", 12), "R")
    with pytest.raises(ConfigurationError, match="no subject other-value"):
        await schemas.newest("other")
    registry.answers[path]["schema"] = '"int"'
    with pytest.raises(ConfigurationError, match="newest schema of leads-value is refused: its top level is int"):
        await schemas.newest("leads")


def subject(registry: FakeRegistry, name: str, id_: int, raw: Any) -> None:
    answer = {"schema": json.dumps(raw), "id": id_, "version": 1, "subject": name}
    registry.answers[f"/subjects/{name}/versions/latest"] = answer


def named(name: str) -> dict[str, Any]:
    return record("int") | {"name": name, "namespace": "acme"}


@pytest.mark.parametrize("before", ["", "events-"])
async def test_record_types_that_are_named_have_their_own_subjects(
    registry: FakeRegistry, schemas: RegistrySchemas, before: str
) -> None:
    """They are found whatever type the most recent record has."""
    subject(registry, f"{before}acme.Lead", 11, named("Lead"))
    subject(registry, f"{before}acme.View", 12, named("View"))
    registry.answers["/schemas/ids/9"] = {"schema": json.dumps(named("View"))}

    async def found(names: list[str], *ids: int) -> dict[str, Any]:
        newest = await schemas.newest("events", names, [SchemaKey("id", id_) for id_ in ids])
        return {one.name: one.key.value for one in newest}

    assert await found(["acme.Lead"]) == {"acme.Lead": 11}
    assert await found(["acme.Lead"], 9) == {"acme.Lead": 11, "acme.View": 12}
    assert await found(["acme.Lead", "acme.View"]) == {"acme.Lead": 11, "acme.View": 12}
    assert await found([], 9) == {"acme.View": 12}
    assert await found(["acme.Nothing"], 9) == {"acme.View": 12}
    assert await found(["acme.Lead"], 404) == {"acme.Lead": 11}, "an unknown one is the records' matter"
    with pytest.raises(ConfigurationError, match="no subject events-value"):
        await found(["acme.Nothing"])


async def test_the_subject_of_the_topic_is_taken_where_it_has_a_named_record(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    subject(registry, "events-value", 11, ["null", named("Lead"), named("View")])
    subject(registry, "acme.Tick", 12, named("Tick"))
    assert [one.key.value for one in await schemas.newest("events", ["acme.View"])] == [11]
    assert [one.key.value for one in await schemas.newest("events", ["acme.Tick"])] == [12]
    assert [one.key.value for one in await schemas.newest("events", ["acme.Nothing"])] == [11]


async def test_properties_reach_the_client(registry: FakeRegistry) -> None:
    source = RegistrySchemas(registry.url, {"basic.auth.user.info": "user:pass"})
    assert isinstance(await source.load(KEY), WriterSchema)
    assert registry.authorization == {"Basic dXNlcjpwYXNz"}
    await source.aclose()


@pytest.mark.parametrize(
    ("url", "properties", "text"),
    [
        ("http://localhost", {"nonsuch": SECRET}, "properties.nonsuch: unknown property"),
        (f"ftp://user:{SECRET}@localhost", {}, "ValueError from its client; check url and properties"),
        ("http://localhost", {"ssl.ca.location": "/nonsuch/ca.pem"}, "names a file that is not there"),
    ],
)
def test_what_the_client_refuses_is_a_fault_of_the_configuration(
    url: str, properties: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        RegistrySchemas(url, properties)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({"basic.auth.user.inf": f"u:{SECRET}"}, ['"basic.auth.user.inf": unknown property; did you mean']),
        ({"basic.auth.user.info": SECRET}, ['"basic.auth.user.info": must be "user:password"']),
        ({"ssl.ca.location": "/nonsuch"}, ['"ssl.ca.location": names a file that is not there']),
        ({"ssl.ca.location": __file__}, ['"ssl.ca.location": names a file that holds no certificate']),
        ({"ssl.key.location": __file__}, ['"ssl.certificate.location": is missing']),
        (
            {"max.retries": "x", "cache.capacity": "x"},
            ['"max.retries": must be a number', '"cache.capacity": must be a'],
        ),
        ({"bearer.auth.token": SECRET}, ['"bearer.auth.credentials.source": is missing']),
        (
            {"basic.auth.credentials.source": "USER_INFO"},
            ['"basic.auth.credentials.source": is a property of Java clients'],
        ),
        ({"bearer.auth.credentials.source": "X"}, ['"bearer.auth.credentials.source": must be']),
        (
            {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": "l"},
            ['"bearer.auth.token": is missing'],
        ),
        (
            {"bearer.auth.credentials.source": "OAUTHBEARER", "bearer.auth.client.secret": SECRET},
            ['"bearer.auth.logical.cluster": is missing'],
        ),
        ({"timeout": SECRET}, [".timeout: "]),
        ({"proxy": SECRET}, [".proxy: "]),
        (
            {"basic.auth.user.inf": SECRET, "ssl.ca.location": "/nonsuch", "max.retries": "x", "nonsuch": 1},
            ['"basic.auth.user.inf": unknown', '"ssl.ca.location": names', '"max.retries": must', ".nonsuch: unknown"],
        ),
    ],
)
def test_each_property_that_the_client_refuses_is_told_with_its_key(
    properties: dict[str, Any], wanted: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RegistrySchemas("http://localhost", properties)
    faults = caught.value.faults
    assert all(fault.startswith("schema_registry.properties.") for fault in faults)
    assert [any(start in fault for fault in faults) for start in wanted] == [True] * len(wanted), faults
    assert len(faults) == len(wanted), faults
    assert SECRET not in str(faults)


def test_the_names_are_the_clients_own() -> None:
    folder = Path(schema_registry.__file__).parent
    files = (folder / "_async/schema_registry_client.py", folder / "common/_oauthbearer.py")
    source = "".join(file.read_text() for file in files)
    popped = set(re.findall(r"conf(?:_copy)?\.pop\(\s*'([a-z.]+)'", source)) - {"url"}
    assert popped - {name for name in popped if ".custom.provider." in name} == PROPERTIES


async def test_a_key_that_no_registry_knows_of_is_unknown(schemas: RegistrySchemas) -> None:
    answer = await schemas.load(SchemaKey("fingerprint", "00"))
    assert isinstance(answer, Rejection)
    assert answer.code is Code.UNKNOWN_SCHEMA


# Bounds


def sent(*pieces: bytes, encoding: str = "", forever: bool = False) -> Answer:
    """An answer whose body is sent in pieces; with ``forever`` the last one is repeated without end."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": encoding} if encoding else {})
        response.content_type = "application/json"
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        while forever:
            await response.write(pieces[-1])
            await asyncio.sleep(0)
        return response

    return answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (sent(b" " * 65_536, forever=True), f"more than {MAX_ANSWER_BYTES} bytes"),
        (sent(b" " * (MAX_ANSWER_BYTES + 1)), f"more than {MAX_ANSWER_BYTES} bytes"),
        (sent(bomb(200), encoding="gzip"), f"more than {MAX_ANSWER_BYTES} bytes"),
        (sent(bomb(200, ZLIB), encoding="deflate"), f"more than {MAX_ANSWER_BYTES} bytes"),
        (
            sent(gzip.compress(b"{}"), b"\0" * 65_536, encoding="gzip", forever=True),
            f"more than {MAX_ANSWER_BYTES} bytes",
        ),
        (sent(b"no gzip", encoding="gzip"), "not what its Content-Encoding says"),
        (sent(b"{}", encoding="br"), "Content-Encoding is not one of"),
        (sent(b"{}", encoding="gzip, gzip"), "Content-Encoding is not one of"),
    ],
    ids=["endless", "large", "gzip", "deflate", "endless behind its end", "no gzip", "brotli", "twice"],
)
async def test_an_answer_is_read_within_a_bound_packed_or_not(
    registry: FakeRegistry, schemas: RegistrySchemas, answer: Answer, text: str
) -> None:
    registry.before = answer
    tracemalloc.start()
    try:
        with pytest.raises(RegistryUnavailable, match=text):
            await schemas.load(KEY)
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_ANSWER_BYTES
    finally:
        tracemalloc.stop()
    registry.before = None
    assert isinstance(await schemas.load(KEY), WriterSchema)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_a_packed_answer_is_unpacked(
    registry: FakeRegistry, schemas: RegistrySchemas, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(json.dumps({"schema": json.dumps(LEAD)}).encode())
    registry.before = sent(packed[:7], packed[7:], encoding=encoding)
    assert isinstance(await schemas.load(KEY), WriterSchema)


async def test_references_that_are_too_large_together_are_refused(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    many = MAX_TOTAL_BYTES // 1_000_000 + 1
    references = [{"name": "X", "subject": "x", "version": n} for n in range(1, many + 1)]
    registry.answers["/schemas/ids/1"] = {"schema": json.dumps(record("X")), "references": references}
    for n in range(1, many + 1):
        registry.answers[f"/subjects/x/versions/{n}"] = {"schema": '"int"' + " " * 1_000_000, "id": n + 9}
    answer = await schemas.load(KEY)
    assert isinstance(answer, Rejection)
    assert f"more than {MAX_TOTAL_BYTES} bytes" in answer.detail


@pytest.mark.slow
async def test_only_a_few_schemas_are_asked_for_at_a_time(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    at_once = most = 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.005)
        at_once -= 1
        return web.json_response({"error_code": 40403}, status=404)

    registry.before = answer
    found = await asyncio.gather(*(schemas.load(SchemaKey("id", id_)) for id_ in range(200)))
    assert most == LOOKUPS
    assert {one.code for one in found if isinstance(one, Rejection)} == {Code.UNKNOWN_SCHEMA}


@pytest.mark.slow
async def test_of_what_is_known_only_the_latest_is_kept(registry: FakeRegistry, schemas: RegistrySchemas) -> None:
    registry.before = answers(200, '{"schema": "no JSON"}')
    for id_ in range(MAX_KNOWN + 5):
        await schemas.load(SchemaKey("id", id_))
    kept = [schemas.cached(SchemaKey("id", id_)) is not None for id_ in range(MAX_KNOWN + 5)]
    assert kept == [False] * 5 + [True] * MAX_KNOWN


async def test_an_answer_s_rules_say_what_is_encrypted_and_odd_rules_are_no_answer(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    rule = {"name": "r", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"]}
    answer = {"schema": json.dumps(LEAD), "metadata": {"tags": {"**.email": ["PII"]}}}
    registry.answers["/schemas/ids/1"] = answer | {"ruleSet": {"domainRules": [rule]}}
    registry.answers[f"/schemas/guids/{GUID}"] = answer | {"ruleSet": {"encodingRules": [{"type": "ENCRYPT_PAYLOAD"}]}}
    registry.answers["/schemas/ids/2"] = answer | {"ruleSet": {"domainRules": ["ENCRYPT"]}}
    by_id, by_guid = [await schemas.load(key) for key in (KEY, SchemaKey("guid", GUID))]
    assert isinstance(by_id, WriterSchema)
    assert isinstance(by_guid, WriterSchema)
    assert by_id.encrypted.fields == {"stream_capi.Lead.email"}
    assert by_guid.encrypted.payload
    with pytest.raises(RegistryUnavailable, match="no schema in it"):
        await schemas.load(SchemaKey("id", 2))


GLOBAL = SchemaKey("global id", 6)


async def test_apicurio_s_content_ids_are_the_ids_of_its_compatible_api(schemas: RegistrySchemas) -> None:
    assert isinstance(await schemas.load(SchemaKey("content id", 1)), WriterSchema)


@pytest.mark.parametrize("version", ["v3", "v2"])
async def test_apicurio_s_global_ids_are_asked_of_its_own_api_of_either_version(
    registry: FakeRegistry, schemas: RegistrySchemas, version: str
) -> None:
    registry.answers[f"{OWN_PATH}/{version}/ids/globalIds/6"] = LEAD
    loaded = await schemas.load(GLOBAL)
    assert isinstance(loaded, WriterSchema)
    assert (loaded.name, loaded.key) == ("stream_capi.Lead", GLOBAL)


async def test_only_apicurio_s_word_for_not_found_is_an_unknown_schema(
    registry: FakeRegistry, schemas: RegistrySchemas
) -> None:
    for name in ("NotFoundException", "UnauthorizedException", 5, None):
        registry.before = answers(404, json.dumps({"name": name, "status": 404, "title": "no"}))
        with pytest.raises(RegistryUnavailable):
            await schemas.load(GLOBAL)
    registry.before = answers(404, json.dumps({"name": "VersionNotFoundException", "status": 404}))
    loaded = await schemas.load(GLOBAL)
    assert isinstance(loaded, Rejection)
    assert loaded.code is Code.UNKNOWN_SCHEMA


async def test_a_global_id_at_another_registry_waits_and_ends_nothing() -> None:
    source = RegistrySchemas("http://127.0.0.1:9", timeout=1)
    with pytest.raises(RegistryUnavailable, match="not Apicurio's"):
        await source.load(GLOBAL)
    await source.aclose()
