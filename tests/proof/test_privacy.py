"""The whole program goes through every fault at debug level, with canaries as data, and all its outputs are searched.

Searched are standard output and error (every log line, also of libraries, tracebacks, and uncaught exceptions), every page
of the admin server in every state, the headers of the dead letters, and the ``repr`` of the program's values. The canaries
must be found at the endpoint and in the dead letters' values, which shows that the search works.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import io
import json
import pkgutil
import sys
import threading
import time
import typing
import urllib.error
import urllib.request
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import stream_capi
from stream_capi import config
from stream_capi.app import App
from stream_capi.core.batch import Batch
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Code, Columns, DeadLetter, EventName, Lane, Records
from stream_capi.observe import logs
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from stream_capi.sandbox.fault_script import Action, RequestInfo
from stream_capi.sandbox.mock_api import MockEndpoint
from tests.events.sources_and_records import LEAD, break_rule
from tests.fake_record import FakeRecord

EMAIL = "Canary.Person+tag@canary-mail.example"
PHONE = "+1 (650) 555-0199"
ADDRESS = "203.0.113.77"
FORGOTTEN = sha256(b"canary.forgotten@canary-mail.example").hexdigest()
CANARIES = {
    "email": EMAIL,
    "email, normalised": EMAIL.lower(),
    "email's hash": sha256(EMAIL.lower().encode()).hexdigest(),
    "phone": PHONE,
    "phone's digits": "16505550199",
    "phone's hash": sha256(b"16505550199").hexdigest(),
    "address": ADDRESS,
    "agent": "canary-agent/7.31",
    "click id": "canaryAleid123",
    "user id": "canary-user-88",
    "visitor's page": "canary-page-77",
    "key": "axonKEYcanary0123456789abcdefghij",
    "rotated key": "axonKEYcanaryROTATED98765432109876",
    "token": "canary-registry-token",
    "password": "canary-sasl-password",
    "forgotten user": "canary-forgotten-12",
    "forgotten email's hash": FORGOTTEN,
    "pixel": "canary-pixel-id",
}
PAGES = ("/healthz", "/readyz", "/status", "/metrics", "/", "/nothing?email=" + EMAIL)
TOPICS = ("leads", "framed", "unasked")
DEAD_LETTERS = "dead-letters"
SECONDS = 60.0

CONFIGURATION = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "privacy"
commit_interval_ms = 100
[kafka.properties]
"sasl.password" = "canary-sasl-password"
[schema_registry]
url = "http://127.0.0.1:9"
[schema_registry.properties]
"basic.auth.user.info" = "canary-user:canary-registry-token"
[endpoint]
url = "{url}"
timeout_seconds = 1
[[pixels]]
name = "main"
pixel_id = "canary-pixel-id"
api_key_file = "key"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
framing = "raw"
schema_file = "lead.avsc"
[[sources]]
topic = "framed"
event = "generate_lead"
pixel = "main"
schema_folder = "schemas"
[[sources]]
topic = "unasked"
event = "generate_lead"
pixel = "main"
[batch]
window_ms = 20
max_bytes = 4096
[delivery]
backoff_initial_ms = 20
backoff_max_ms = 200
probe_seconds = 0.1
max_age_seconds = 3600
[dead_letter]
topic = "dead-letters"
[suppress]
file = "forgotten"
[shutdown]
drain_seconds = 5
[admin]
port = 0
[log]
level = "debug"
format = "json"
"""


def leaks(text: str) -> list[str]:
    """The names of the canaries in a text, also in escaped form."""
    plain = text.replace("%40", "@").replace("%2B", "+").replace("\\u002b", "+").replace("\\u0040", "@")
    return [name for name, canary in CANARIES.items() if canary.lower() in plain.lower()]


def lead(**fields: Any) -> bytes:
    """A lead with the canaries, in Avro."""
    values = dict.fromkeys((field["name"] for field in LEAD["fields"]), None) | {
        "event_id": "e-1",
        "event_time": _now_ms() - 1000,
        "event_source_url": "https://shop.example/canary-page-77?aleid=canaryAleid123",
        "currency": "USD",
        "value": 30.0,
        "email": EMAIL,
        "phone": PHONE,
        "user_id": "canary-user-88",
        "client_ip_address": ADDRESS,
        "client_user_agent": "canary-agent/7.31",
        "esi": "web",
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(LEAD), values | fields)
    return out.getvalue()


NOBODY = {"email": None, "phone": None, "user_id": None, "event_source_url": "https://shop.example/canary-page-77"}
BUG = "BUG"  # a currency for which ``raising`` raises


def raising(text: str) -> str | None:
    """A mapping rule with a bug."""
    if text == BUG:
        raise LookupError(f"no currency {text} for {EMAIL}")
    return text


BAD: dict[Code, Callable[[], tuple[str, bytes]]] = {
    Code.DECODE_ERROR: lambda: ("leads", EMAIL.encode() * 3),
    Code.UNKNOWN_SCHEMA: lambda: ("framed", b"\0\0\0\0\x63" + lead()),
    Code.MISSING_FIELD: lambda: ("leads", lead(client_user_agent="  ")),
    Code.INVALID_FIELD: lambda: ("leads", lead(event_source_url=EMAIL)),
    Code.NO_IDENTIFIER: lambda: ("leads", lead(**NOBODY)),
    Code.TOO_OLD: lambda: ("leads", lead(event_time=_now_ms() - 10**8)),
    Code.IN_FUTURE: lambda: ("leads", lead(event_time=_now_ms() + 10**8)),
    Code.TOO_LARGE: lambda: (
        "leads",
        lead(client_user_agent="canary-agent/7.31 " * 200, user_id="canary-user-88" * 200),
    ),
    Code.REFUSED: lambda: ("leads", lead(event_id="poison")),
    Code.INTERNAL_ERROR: lambda: ("leads", lead(currency=BUG)),
}
# Answers other than 200, by the name under which they are counted; each quotes a canary in its body and headers.
ECHO = {"X-Echo": f"{EMAIL} Bearer axonKEYcanary0123456789abcdefghij", "Location": f"https://x.example/?email={EMAIL}"}
FAULTS: dict[str, Action] = {
    "500": Action(status=500, headers=ECHO),
    "429": Action(status=429, headers=ECHO | {"Retry-After": "0"}),
    "503": Action(status=503, headers=ECHO | {"Retry-After": EMAIL}),
    "reset": Action(reset="before_body"),
    "timeout": Action(hang=True),
    "401": Action(status=401, headers=ECHO),
    "302": Action(status=302, headers=ECHO),
    "404": Action(status=404, headers=ECHO),
}


class Scene:
    """The program with its broker and endpoint, and the pages that it has shown."""

    def __init__(self, app: App, endpoint: MockEndpoint, bootstrap: str, folder: Path) -> None:
        self.app, self.endpoint, self.folder = app, endpoint, folder
        self.fault: Action | None = None
        self.pages: list[str] = []
        self.bootstrap = bootstrap
        self.producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
        endpoint.answer = self._answer

    def _answer(self, request: RequestInfo) -> Action | None:
        if self.fault is not None:
            return self.fault
        return Action(status=400, headers=ECHO) if "poison" in request.dedupe_ids else None

    def send(self, topic: str, value: bytes) -> None:
        headers: Any = {"email": EMAIL.encode(), "authorization": b"Bearer axonKEYcanary0123456789abcdefghij"}
        self.producer.produce(topic, value, key=EMAIL.encode(), headers=headers, partition=0)
        self.producer.flush(10)

    async def look(self) -> None:
        """Record every page in its present state."""
        for page in PAGES:
            self.pages.append(await asyncio.to_thread(_get, f"http://127.0.0.1:{self.app.admin.port}{page}"))

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = asyncio.get_running_loop().time() + SECONDS
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what} has not come"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    (folder / "key").write_text(CANARIES["key"])
    (folder / "forgotten").write_text("canary-forgotten-12\n")
    (folder / "lead.avsc").write_text(json.dumps(LEAD))
    (folder / "schemas").mkdir()
    (folder / "schemas" / "1.avsc").write_text(json.dumps(LEAD))
    with EmbeddedBroker() as broker:
        async with MockEndpoint() as endpoint:
            file = folder / "privacy.toml"
            file.write_text(CONFIGURATION.format(bootstrap=broker.bootstrap, url=endpoint.url))
            settings = config.load(file, {})
            logs.configure(settings.log.level, settings.log.format)
            logs.install_hooks(asyncio.get_running_loop())
            await asyncio.to_thread(_make_topics, broker.bootstrap)
            yield Scene(App(settings, {}), endpoint, broker.bootstrap, folder)


@pytest.mark.slow
@pytest.mark.usefixtures("own_logging")
async def test_no_output_holds_personal_data_a_hash_a_key_or_a_token(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(monkeypatch, "data.currency", raising)
    async with scene(tmp_path) as seen:
        running = asyncio.create_task(seen.app.run())
        await seen.until(lambda: len(seen.app.pipeline.partitions) >= 3, "an assignment")
        seen.send("unasked", b"\0\0\0\0\1" + lead())  # waits for a registry that can't be reached
        for code, bad in BAD.items():
            seen.send(*bad())
            await seen.until(lambda code=code: _dead_letters(seen.app)[code], f"a dead letter of code {code.value}")  # type: ignore[misc]
        for name, fault in FAULTS.items():
            await through(seen, name, fault)
        await rotate_the_key(seen)
        await forget(seen)
        await seen.look()
        await a_bug(seen, running)
        dead_letters = await asyncio.to_thread(_read_dead_letters, seen.bootstrap)
    uncaught()
    out, err = capfd.readouterr()
    assert leaks(str([value for _, value in dead_letters])), "the canaries are there to be found"
    assert leaks(str([accepted.event for accepted in seen.endpoint.events]))
    assert {headers["capi-error-code"] for headers, _ in dead_letters} == {code.value for code in BAD}
    for what, text in {
        "standard error": err,
        "standard output": out,
        "a page": "\n".join(seen.pages),
        "a dead letter's header": str([_own(headers) for headers, _ in dead_letters]),
    }.items():
        found = leaks(text)
        assert not found, f"{what} holds {found}: {_around(text, CANARIES[found[0]])}"
    logged = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    for event in (
        "held",
        "records wait for their schema",
        "internal error",
        "suppression list read",
        "suppression list unreadable",
        "suppression list readable again",
        "a bug ended the program; what was under way stays uncommitted",
    ):
        assert event in logged


async def through(seen: Scene, name: str, fault: Action) -> None:
    """Let the endpoint answer with this fault for a while, and record the pages meanwhile."""
    answers = seen.endpoint.counts.requests
    seen.fault = fault
    seen.send("leads", lead())
    await seen.until(lambda: seen.endpoint.counts.requests >= answers + 2, f"a second request under {name}")
    await seen.look()
    delivered = seen.app.metrics.delivered_counts.total()
    seen.fault = None
    await seen.until(lambda: seen.app.metrics.delivered_counts.total() > delivered, f"a delivery after {name}")


async def rotate_the_key(seen: Scene) -> None:
    """Refuse the key, delete its file, and write another one."""
    seen.endpoint.keys = {"canary-pixel-id": CANARIES["rotated key"]}
    seen.send("leads", lead())
    await seen.until(lambda: seen.app.health.held(), "a hold for the old key")
    (seen.folder / "key").unlink()
    await seen.until(lambda: seen.app.keys["main"].changed() or seen.app.keys["main"].fault, "a fault of the key file")
    await seen.look()
    (seen.folder / "key").write_text(CANARIES["rotated key"])
    await seen.until(lambda: not seen.app.health.held(), "the end of the hold")


async def forget(seen: Scene) -> None:
    """Send an event of a suppressed person, change the list, delete it, and write it again."""

    def skipped() -> int:
        return seen.app.metrics.skipped_counts["leads", "suppressed"]

    seen.send("leads", lead(user_id="canary-forgotten-12"))
    await seen.until(lambda: skipped() == 1, "a person who is forgotten")
    (seen.folder / "forgotten").write_text(f"canary-forgotten-12\n{FORGOTTEN}\n")
    await seen.until(lambda: len(seen.app.suppression or ()) == 2, "the new list")
    seen.send("leads", lead(email="Canary.Forgotten@canary-mail.example"))
    await seen.until(lambda: skipped() == 2, "another one")
    (seen.folder / "forgotten").rename(seen.folder / "away")
    await seen.until(lambda: "suppress.file" in str(seen.app.health.notices()), "a notice of the list")
    await seen.look()
    seen.send("leads", lead(email="Canary.Forgotten@canary-mail.example"))
    await seen.until(lambda: skipped() == 3, "the last list in use")
    (seen.folder / "away").rename(seen.folder / "forgotten")
    await seen.until(lambda: "suppress.file" not in str(seen.app.health.notices()), "the end of the notice")


async def a_bug(seen: Scene, running: asyncio.Task[int]) -> None:
    """Raise an unexpected exception with personal data in its text, in its cause and in its frames."""

    def transform(codec: object, payloads: list[bytes], *rest: object) -> list[Any]:
        person = {"email": EMAIL, "key": CANARIES["key"]}
        try:
            raise KeyError(EMAIL)
        except KeyError as cause:
            raise ValueError(f"can't map {person} from {payloads}") from cause

    seen.app.pipeline._sources["leads"].transform = transform  # type: ignore[method-assign,assignment]
    seen.send("leads", lead())
    with pytest.raises(ValueError, match="can't map") as caught:
        await asyncio.wait_for(running, SECONDS)
    sys.excepthook(type(caught.value), caught.value, caught.value.__traceback__)
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": f"about {EMAIL}", "exception": caught.value, "payload": lead()})


def uncaught() -> None:
    """Raise uncaught exceptions in a thread and in a destructor, and issue a warning that quotes a value."""

    class Leaving:
        def __del__(self) -> None:
            raise ValueError(EMAIL)

    def fail() -> None:
        raise ValueError(f"in a thread about {EMAIL}")

    thread = threading.Thread(target=fail, name=EMAIL)
    thread.start()
    thread.join()
    Leaving()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = logs._warned
        warnings.warn(f"deprecated for {EMAIL}", stacklevel=1)


# The repr of the program's values


def carriers() -> Iterator[type]:
    """Every dataclass and named tuple of the program."""
    for module in pkgutil.walk_packages(stream_capi.__path__, "stream_capi."):
        if module.name.endswith("__main__"):
            continue
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
                yield kind


def _filled(kind: type) -> Any:
    """A value of the class with canaries in every field whose annotation allows a payload; None if there is none."""
    hints = {name: str(hint) for name, hint in inspect.get_annotations(kind).items()}
    given = {name: _payload(hint) for name, hint in hints.items()}
    if not any(given.values()):
        return None
    if hasattr(kind, "_fields"):
        return tuple.__new__(kind, [given[name] for name in typing.cast(Any, kind)._fields])
    value: Any = object.__new__(kind)
    for field in dataclasses.fields(typing.cast(Any, kind)):
        object.__setattr__(value, field.name, given[field.name])
    return value


def _payload(hint: str) -> Any:
    payload = EMAIL.encode() if "bytes" in hint else {"email": EMAIL} if "Any" in hint else None
    several = any(word in hint for word in ("list[", "Sequence[", "tuple["))
    return [payload] if several and payload else [] if several else payload


# Classes with a field of any type that never has an event's data.
_HARMLESS = {"stream_capi.operations.group_status.MemberAnswer": "what a member's own status page says"}


@pytest.mark.parametrize("kind", list(carriers()), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_no_value_class_shows_a_payload(kind: type) -> None:
    value = None if f"{kind.__module__}.{kind.__qualname__}" in _HARMLESS else _filled(kind)
    try:
        shown = f"{value!r} {value}"
    except (AttributeError, TypeError):  # a custom repr that needs parts of the right type: see the next test
        return
    assert not leaks(shown), shown


def test_the_carriers_of_payloads_show_none() -> None:
    record: Any = _Record()
    lane = Lane("main", EventName.GENERATE_LEAD)
    batch = Batch(lane)
    batch.extend([EMAIL.encode()], Columns.of([record]), [PartitionOffsets("leads", 0, 1, 0)])
    for carrier in (
        batch,
        Columns.of([record]),
        DeadLetter(record, Code.REFUSED, "why"),
        Records("leads", 0, 1, [record]),
    ):
        assert not leaks(f"{carrier!r} {carrier}")


class _Record(FakeRecord):
    """A record whose repr shows everything, as the client's might some day."""

    def __repr__(self) -> str:
        return f"Record({EMAIL})"


# Helpers


def _now_ms() -> int:
    return int(time.time() * 1000)


def _dead_letters(app: App) -> dict[Code, int]:
    counts = app.metrics.dead_letter_counts
    return {code: sum(n for key, n in counts.items() if code.value in key) for code in Code}


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- the admin server's own address
            return f"{answer.headers}\n{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}\n{error.read().decode()}"


def _make_topics(bootstrap: str) -> None:
    """Create the topics: the mock cluster creates a topic when its metadata is first requested."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "topics", "allow.auto.create.topics": True})
    for topic in (*TOPICS, DEAD_LETTERS):
        while not reader.list_topics(topic, timeout=5).topics[topic].partitions:
            pass
    reader.close()


def _read_dead_letters(bootstrap: str) -> list[tuple[dict[str, str], bytes | None]]:
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "letters", "enable.auto.commit": False})
    reader.assign([TopicPartition(DEAD_LETTERS, number, 0) for number in range(4)])
    dead_letters: list[tuple[dict[str, str], bytes | None]] = []
    while len(dead_letters) < len(BAD):
        for message in reader.consume(100, 0.1):
            given: Any = message.headers() or []
            headers = {name: (text or b"").decode() for name, text in given}
            dead_letters.append((headers, message.value()))
    reader.close()
    return dead_letters


def _own(headers: dict[str, str]) -> dict[str, str]:
    """The headers that the program adds; those of the record are copied unchanged."""
    return {name: text for name, text in headers.items() if name.startswith("capi-")}


def _around(text: str, canary: str) -> str:
    at = text.lower().find(canary.lower())
    return text[max(0, at - 300) : at + 100]
