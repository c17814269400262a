"""Faults of the input: a record with any bytes becomes a dead letter at bounded cost, and stops nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_capi.model import Code
from tests.faults.crafted_records import LEAD, Made, Maker, encoded, place_of, produce
from tests.scene import Scene
from tests.stack import Broker, Registry

pytestmark = pytest.mark.real

_DAY_MS = 86_400_000


def _record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": k, "type": v} for k, v in fields.items()]}


def _corrupt(maker: Maker) -> Iterator[bytes]:
    """Leads of the contract's schema with corrupt bytes."""
    event = maker.event(dedupe_id="d", email="ü@example.com")
    payload = encoded(LEAD, event)
    union, enum, text = (place_of(LEAD, event, field) for field in ("dedupe_id", "esi", "event_id"))
    numbers = {
        "the last branch, to a reader that counts from behind": (union, b"\x01"),
        "a branch too many": (union, b"\x04"),
        "the last symbol, to a reader that counts from behind": (enum, b"\x01"),
        "a symbol too many": (enum, b"\x04"),
        "a negative length": (text, b"\x01"),
        "a length of gigabytes": (text, b"\xfe\xff\xff\xff\x0f"),
        "a number longer than 64 bits": (text, b"\xff" * 10 + b"\x01"),
        "no UTF-8": (text + 1, b"\xff"),
    }
    for at, number in numbers.values():
        yield maker.framed(LEAD, payload[:at] + number + payload[at + 1 :])
    yield maker.framed(LEAD, payload + b"\x00")
    yield maker.framed(LEAD, payload + payload)
    yield maker.framed(LEAD, b"")
    for cut in range(1, len(payload), 7):
        yield maker.framed(LEAD, payload[:cut])


def _unframed(maker: Maker) -> Iterator[bytes]:
    """Values without a valid schema id."""
    payload = encoded(LEAD, maker.event())
    yield from (b"", b"\x00", b"\x00\x00\x00", b"\x02\x00\x00\x00\x01" + payload, payload, b"\xc3\x01" + b"\x00" * 8)
    yield json.dumps({"email": "canary@example.com"}).encode()


def _hostile(maker: Maker) -> Iterator[bytes]:
    """A few bytes whose schemas decode them to very many values."""
    nodes = _record("Node", next=["null", "Node"])
    yield maker.framed(nodes, b"\x02" * 4_600 + b"\x00")
    yield maker.framed(_record("Many", items={"type": "array", "items": "null"}), b"\x80\x84\xaf\x5f\x00")
    empty = _record("Empty")
    yield maker.framed(_record("ManyEmpty", items={"type": "array", "items": empty}), b"\x80\x84\xaf\x5f\x00")
    yield maker.framed(_record("Map", items={"type": "map", "values": "null"}), b"\x80\x84\xaf\x5f\x00")
    yield maker.framed(_record("Longs", items={"type": "array", "items": "long"}), b"\xff\xff\xff\xff\x0f\x02\x00")
    yield maker.framed(_doubling(40), b"")
    yield maker.framed("string", b"\x02a")
    other = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {}}
    yield maker.framed(other, b"{}", kind="JSON")


def _doubling(levels: int) -> dict[str, Any]:
    """A record of two records of two records …: it has no bytes, but two to the power of ``levels`` values."""
    schema = _record("Level0", a="null")
    for level in range(1, levels):
        schema = _record(f"Level{level}", a=schema, b=f"Level{level - 1}")
    return schema


def _with_value(kind: dict[str, Any]) -> dict[str, Any]:
    fields = [{**field, "type": kind} if field["name"] == "value" else field for field in LEAD["fields"]]
    return {**LEAD, "fields": fields}


def test_corrupt_and_hostile_avro_becomes_dead_letters_at_bounded_cost_with_the_process_alive(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        maker = Maker(scene)
        member = scene.member(dead_letter={"max_ratio": 1.0})
        scene.produce(200)
        scene.ledger.await_all(60)
        memory, cpu = member.process.memory_info().rss, sum(member.process.cpu_times()[:2])
        values = [*_corrupt(maker), *_unframed(maker), *_hostile(maker)]
        maker.put(record for value in values for record in (maker.lead(), Made(value, Code.DECODE_ERROR)))
        huge = _with_value({"type": "bytes", "logicalType": "decimal", "precision": 1_000_000, "scale": 2})
        maker.put(maker.lead(Code.INVALID_FIELD, schema=huge, value=b"\x7f" * size) for size in (100, 400_000))
        maker.put([maker.lead(Code.DECODE_ERROR)._replace(headers=(("__value_schema_id", b"\x00\x01"),))])
        scene.close(duplicates=0)
        assert member.peak_memory() - memory < 64 * 2**20
        assert sum(member.process.cpu_times()[:2]) - cpu < 10
        assert len(scene.ledger.dead_letters()) == len(values) + 3
        assert member.is_ready()


def test_a_record_is_dead_lettered_as_it_was_with_the_code_of_what_is_wrong_with_it_and_tombstones_are_counted_and_skipped(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    sections: dict[str, dict[str, Any]] = {"batch": {"max_bytes": 4096}, "dead_letter": {"max_ratio": 1.0}}
    with Scene(tmp_path, broker, registry, sections=sections) as scene:
        maker, now = Maker(scene), int(time.time() * 1000)
        wrong = [
            maker.lead(Code.TOO_OLD, event_time=now - 2 * _DAY_MS),
            maker.lead(Code.IN_FUTURE, event_time=now + _DAY_MS),
            maker.lead(Code.INVALID_FIELD, event_time=now // 1000),
            maker.lead(Code.INVALID_FIELD, event_source_url="/thanks"),
            maker.lead(Code.INVALID_FIELD, currency="ECU"),
            maker.lead(Code.INVALID_FIELD, value=float("nan")),
            maker.lead(Code.INVALID_FIELD, value=-1.0),
            maker.lead(Code.INVALID_FIELD, client_ip_address="300.1.2.3"),
            maker.lead(Code.MISSING_FIELD, client_user_agent="  "),
            maker.lead(Code.TOO_LARGE, client_user_agent="Mozilla/5.0 " * 500),
        ]
        headers = (("trace", b"4bf92f35"), ("empty", b""))
        made = [record._replace(headers=headers) for record in wrong]
        maker.put(record for bad in made for record in (maker.lead(), bad, *(maker.lead() for _ in range(20))))
        produce(broker.bootstrap, scene.leads, [Made(None, key=f"gone-{n}".encode()) for n in range(30)])
        member = scene.member(delivery={"max_age_seconds": 86_400})
        scene.close(duplicates=0)
        assert member.metric("stream_capi_skipped_total", topic=scene.leads, reason="tombstone") == 30
        dead_letters = {dead_letter.key: dead_letter for dead_letter in scene.ledger.dead_letters()}
        for record in made:
            dead_letter = dead_letters[record.key]
            assert dead_letter.value == record.value
            assert [(name, dead_letter.headers[name]) for name, _ in headers] == list(headers)
