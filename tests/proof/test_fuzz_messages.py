"""Messages with any bytes in keys, header names and headers pass the whole program; the client's C library produces them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer
from confluent_kafka import TopicPartition as ClientPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_capi import config
from stream_capi.app import App
from stream_capi.cli.dead_letter_view import Shown
from stream_capi.config import Settings
from stream_capi.model import EventName
from stream_capi.observe import logs
from stream_capi.operations.dead_letters import dead_letter_of
from stream_capi.operations.explain import explain_records
from stream_capi.record_headers import lost_headers
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from stream_capi.sandbox.samples import Samples
from tests.endpoint_thread import Endpoint
from tests.fake_record import FakeRecord
from tests.faults.crafted_records import LEAD, encoded
from tests.program import KEY, PIXEL_ID
from tests.proof.profile import LONG, tries
from tests.stack.raw_producer import Raw, produce_raw
from tests.stack.waiting import until

_SCHEMA = Path(__file__).parents[2] / "schemas" / "lead.avsc"
CANARY = b"jane.canary@example.com"
NAMES = [
    *(b"\x63\x61\x66\xe9", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"a\x00b", b"", b"\x1b[31m", b"h", b"traceparent"),
    *(b"capi-error-code", b"capi-headers-lost", b"capi-by-reference", b"__value_schema_id", CANARY, "é\u202e".encode()),
]
TIMES = (0, 0, 0, 1, -5, 2**62, -(2**63), 2**63 - 1)


def raw_records(seed: int, count: int) -> list[Raw]:
    """Good and spoiled leads with random keys, headers and timestamps."""
    chance, samples = random.Random(seed), Samples(seed, bad_share=0)
    now = 1_800_000_000_000

    def some_bytes() -> bytes:
        return chance.choice((b"", CANARY, chance.randbytes(chance.randrange(40))))

    records = []
    for _ in range(count):
        value: bytes | None = encoded(LEAD, samples.event(EventName.GENERATE_LEAD, now))
        value = chance.choice((value, value, some_bytes(), None))
        headers = [
            (chance.choice((*NAMES, chance.randbytes(5))), chance.choice((None, some_bytes())))
            for _ in range(chance.choice((0, 0, 1, 5, 300)))
        ]
        records.append(Raw(value, chance.choice((None, some_bytes())), headers, chance.choice(TIMES)))
    return records


def settings_of(folder: Path, bootstrap: str, url: str) -> Settings:
    source = {
        "topic": "leads",
        "event": "generate_lead",
        "pixel": "main",
        "framing": "auto",
        "schema_file": str(_SCHEMA),
    }
    text = {
        "kafka": {"bootstrap_servers": bootstrap, "group_id": "fuzz", "commit_interval_ms": 100},
        "endpoint": {"url": url},
        "pixels": [{"name": "main", "pixel_id": PIXEL_ID, "api_key_env": "CAPI_TEST_KEY"}],
        "sources": [source],
        "delivery": {"max_future_seconds": 2**40},
        "batch": {"window_ms": 50},
        "dead_letter": {"topic": "dead", "max_ratio": 1.0},
        "admin": {"port": 0},
    }
    (folder / "fuzz.toml").write_text(tomli_w.dumps(text))
    return config.load(folder / "fuzz.toml", environ={"CAPI_TEST_KEY": KEY})


async def run_all(settings: Settings, count: int) -> dict[str, int]:
    """Run a member until each record has an outcome; returns their counts."""
    app = App(settings, {"CAPI_TEST_KEY": KEY})
    metrics = app.metrics

    def outcomes() -> dict[str, int]:
        counts = (metrics.delivered_counts, metrics.dead_letter_counts, metrics.skipped_counts)
        return dict(zip(("delivered", "dead", "skipped"), (of.total() for of in counts), strict=True))

    running = asyncio.create_task(app.run())
    async with asyncio.timeout(60):
        while sum(outcomes().values()) < count and not running.done():  # noqa: ASYNC110 -- counters send no event
            await asyncio.sleep(0.05)
    app.snapshot.status()
    app.stop_asked.set()
    assert await running == 0
    return outcomes()


def read(bootstrap: str, topic: str, count: int) -> list[Message]:
    conf = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0}
    found: list[Message] = []
    with closing(Consumer(conf)) as consumer:
        consumer.assign([ClientPartition(topic, number, OFFSET_BEGINNING) for number in range(4)])

        def more() -> bool:
            found.extend(message for message in consumer.consume(500, 0.1) if message.error() is None)
            return len(found) >= count

        until(more, 30, f"{count} records of {topic}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.repeat) for seed in range(1, 40 if LONG else 2))]
)
def test_any_messages_have_outcomes_and_their_dead_letters_can_be_read(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", "json")
    records = raw_records(seed, 300)
    with EmbeddedBroker() as broker, Endpoint() as endpoint:
        made = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0}).list_topics("dead", timeout=10)
        assert len(made.topics["dead"].partitions) == 4
        produce_raw(broker.bootstrap, "leads", *records)
        settings = settings_of(tmp_path, broker.bootstrap, endpoint.url)
        outcomes = asyncio.run(run_all(settings, len(records)))
        assert sum(outcomes.values()) == len(records)
        assert outcomes["delivered"] > 20, "good values in any wrapping are delivered"
        assert outcomes["dead"] > 20
        dead_letters: Any = read(broker.bootstrap, "dead", outcomes["dead"])
        assert len(dead_letters) == outcomes["dead"]
        for record in dead_letters:
            dead_letter = dead_letter_of(record)
            assert dead_letter is not None
            lost = sum(not _is_utf8(name) for name, _ in records[dead_letter.source_offset].headers)
            assert dead_letter.headers_lost == (str(lost) if lost else "")
            assert lost_headers(record) == ""
            assert_shown_safely(str(Shown(dead_letter, record, None, "").facts()))
        originals: Any = read(broker.bootstrap, "leads", len(records))
        told = asyncio.run(explain_records(settings, settings.sources, originals))
        assert len(told) == len(records)
        endpoint.assert_valid()
    said = capsys.readouterr()
    assert CANARY.decode() not in said.out + said.err


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return b"\x00" in name and _is_utf8(name.partition(b"\x00")[0])  # the client ends a name at NUL
    return True


def assert_shown_safely(text: str) -> None:
    assert CANARY.decode() not in text
    assert text.isprintable()


_FORGED = ("error-code", "error-detail", "attempts", "version", "headers-lost", "by-reference", "")
_SOURCE = ("source-topic", "source-partition", "source-offset", "source-timestamp")
_TEXTS = st.one_of(
    st.binary(max_size=40),
    st.integers().map(lambda number: str(number).encode()),
    st.sampled_from((b"too_old", b"leads", CANARY, b"9" * 5000, b"-1", b"\x1b[2J", b"all", b"0")),
)


@tries(400)
@given(st.dictionaries(st.sampled_from((*_FORGED, *_SOURCE)), st.one_of(st.none(), _TEXTS)))
def test_any_headers_are_a_dead_letter_within_bounds_or_none(changes: dict[str, bytes | None]) -> None:
    whole = dict.fromkeys(_SOURCE[1:], b"0") | {"error-code": b"too_old", "source-topic": b"leads"}
    headers: Sequence[tuple[str, bytes | None]] = [(f"capi-{name}", text) for name, text in (whole | changes).items()]
    record: Any = FakeRecord(headers=list(headers))
    dead_letter = dead_letter_of(record)
    if dead_letter is not None:
        assert 0 <= dead_letter.source.partition < 2**31
        assert 0 <= dead_letter.source_offset < 2**63 - 1
        assert dead_letter.source.topic.isascii()
        assert_shown_safely(str(Shown(dead_letter, record, None, "").facts()))
