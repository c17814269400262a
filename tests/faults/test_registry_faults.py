"""Faults of the schema registry: records of known schemas go on, records of unknown ones wait, and only a registry that works
can say that a schema doesn't exist.

The registry itself is shared and stays up; the faults are in front of it, in a connection or a gateway.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stream_capi.model import Code
from tests.avro.packed import bomb
from tests.faults.answers import await_progress, notices
from tests.faults.crafted_records import LEAD, Maker
from tests.faults.registry_gateway import Front, Said
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Proxy, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real


_FLOOD = 6_000  # records, each with a different unknown schema id
_ANSWERS = 40 * 2**20  # memory for the largest answers that are read, bytes
_JSON = "application/json"
_HOSTILE = [
    Said(200, b"{}", _JSON),
    Said(200, b'{"schema": 5}', _JSON),
    Said(200, b'{"schema": "\\"int\\"", "references": [{"name": "X", "subject": "x", "version": [1]}]}', _JSON),
    Said(200, bomb(256), _JSON, "gzip"),
    Said(200, b" " * 65_536, _JSON, endless=True),
]


class _Way(NamedTuple):
    """The way to the registry: a proxy and a gateway behind it; ``url`` leads through both."""

    proxy: Proxy
    front: Front

    @property
    def url(self) -> str:
        return f"http://{self.proxy.address}{self.front.path}"


@pytest.fixture
def way(registry: Registry) -> Iterator[_Way]:
    with Front(registry.url) as front, Proxy("127.0.0.1", front.port) as proxy:
        yield _Way(proxy, front)


def _grown(number: int) -> dict[str, Any]:
    """The contract's lead schema with another field, and so with another id."""
    more = {"name": f"added_{number}", "type": ["null", "string"], "default": None}
    return {**LEAD, "fields": [*LEAD["fields"], more]}


def _waits(member: Program, topic: str) -> bool:
    return f"{topic}: records wait for schema id" in notices(member)


def test_with_the_registry_down_at_the_start_everything_waits_and_then_goes_on(
    tmp_path: Path, broker: Broker, registry: Registry, way: _Way
) -> None:
    with Scene(tmp_path, broker, registry, registry_url=way.url) as scene:
        way.proxy.cut()
        scene.produce(400, bad=4)
        member = scene.member()
        until(lambda: _waits(member, scene.leads) and _waits(member, scene.views), 30, "a word on the registry")
        assert scene.ledger.lag() == 400
        assert scene.ledger.dead_letters() == []
        way.proxy.heal()
        await_progress(scene)
        scene.close(duplicates=0)


@pytest.mark.repeat(of="test_with_the_registry_down_at_the_start_everything_waits_and_then_goes_on")
def test_while_the_registry_gives_no_answer_only_records_of_unknown_schemas_wait(
    tmp_path: Path, broker: Broker, registry: Registry, way: _Way
) -> None:
    too_slow = 6.0  # seconds of delay for all data: longer than the client waits
    faults: list[Callable[[], None]] = [way.proxy.cut, way.proxy.half_open, lambda: way.proxy.slow(too_slow)]
    with Scene(tmp_path, broker, registry, registry_url=way.url) as scene:
        member = scene.member()
        scene.produce(300)
        scene.ledger.await_all(60)
        for number, begin in enumerate(faults):
            begin()
            _only_the_unknown_wait(scene, member, number)
            way.proxy.heal()
            await_progress(scene, scene.leads)
            scene.ledger.await_all(60)
        assert scene.ledger.dead_letters() == []
        scene.close(duplicates=0)


@pytest.mark.repeat(of="test_with_the_registry_down_at_the_start_everything_waits_and_then_goes_on")
def test_what_a_gateway_says_in_the_registrys_place_is_no_word_on_any_schema(
    tmp_path: Path, broker: Broker, registry: Registry, way: _Way
) -> None:
    answers = [
        Said(500, b'{"error_code": 50001, "message": "store"}', "application/json"),
        Said(503),
        Said(404, b"<html>no such page</html>"),
        Said(404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}', "application/json"),
        Said(401, b'{"error_code": 40101, "message": "Unauthorized"}', "application/json"),
        Said(200, b"<html>log in</html>"),
        *_HOSTILE,
    ]
    with Scene(tmp_path, broker, registry, registry_url=way.url) as scene:
        member = scene.member()
        scene.produce(300)
        scene.ledger.await_all(60)
        memory = member.process.memory_info().rss
        for number, said in enumerate(answers):
            way.front.says = said
            _only_the_unknown_wait(scene, member, number)
            way.front.says = None
            await_progress(scene, scene.leads)
            scene.ledger.await_all(60)
        assert member.peak_memory() < memory + _ANSWERS
        assert scene.ledger.dead_letters() == []
        scene.close(duplicates=0)


@pytest.mark.repeat(of="test_with_the_registry_down_at_the_start_everything_waits_and_then_goes_on")
def test_a_flood_of_unknown_schemas_is_a_few_questions_one_line_and_no_more_memory_than_the_budget(
    tmp_path: Path, broker: Broker, registry: Registry, way: _Way
) -> None:
    sections: dict[str, dict[str, Any]] = {"dead_letter": {"max_ratio": 1.0}, "log": {"level": "info"}}
    with Scene(tmp_path, broker, registry, registry_url=way.url, sections=sections) as scene:
        member = scene.member()
        scene.produce(300)
        scene.ledger.await_all(60)
        memory = member.process.memory_info().rss
        way.front.says, way.front.seconds = Said(503, b"{}", _JSON), 0.5
        way.front.most_at_once = 0
        maker = Maker(scene)
        leads = [maker.lead(Code.UNKNOWN_SCHEMA) for _ in range(_FLOOD)]
        maker.put(
            lead._replace(value=struct.pack(">bI", 0, 2_000_000_000 + at) + (lead.value or b"")[5:])
            for at, lead in enumerate(leads)
        )
        until(lambda: _waits(member, scene.leads), 30, "records that wait for their schema")
        until(lambda: member.status()["buffered"]["bytes"] > 10_000_000, 30, "the flood to be read")
        produced = scene.produce(200)
        until(lambda: scene.ledger.lag(scene.views) == 0, 60, "commits of the page views")
        for _ in range(20):
            begun = time.monotonic()
            assert member.get("/healthz")[0] == 200
            assert len(member.get("/status")[1]) < 30_000
            assert time.monotonic() - begun < 2
            time.sleep(0.2)
        assert way.front.most_at_once <= 4
        assert len(member.logged("records wait for their schema")) == 1
        assert member.peak_memory() < memory + 64 * 2**20
        way.front.says, way.front.seconds = Said(404, b'{"error_code": 40403, "message": "not found"}', _JSON), 0.0
        until(lambda: scene.ledger.lag(scene.leads) <= len(produced), 120, "the end of the flood")
        way.front.says = None
        scene.close(duplicates=0)
        assert len(member.output.splitlines()) < 200
        assert member.peak_memory() < memory + 64 * 2**20


def test_a_schema_that_a_healthy_registry_does_not_know_is_a_dead_letter_and_is_asked_for_once(
    tmp_path: Path, broker: Broker, registry: Registry, way: _Way
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1, registry_url=way.url) as scene:
        maker = Maker(scene)
        good = [maker.lead() for _ in range(200)]
        stray = [maker.lead(Code.UNKNOWN_SCHEMA) for _ in range(40)]
        maker.put(
            record._replace(value=b"\x00\x7f\xff\xff\xf0" + (record.value or b"")[5:]) if record.code else record
            for record in [*good[:100], *stray, *good[100:]]
        )
        scene.member()
        scene.close(duplicates=0)
        assert way.front.asked <= 4
        details = {dead_letter.headers["capi-error-detail"] for dead_letter in scene.ledger.dead_letters()}
        assert any(b"2147483632" in (detail or b"") for detail in details)


@pytest.mark.repeat(of="test_with_the_registry_down_at_the_start_everything_waits_and_then_goes_on")
def test_ciphertext_of_a_mapped_field_is_never_sent_and_waits_for_a_mapping_without_it(
    tmp_path: Path, broker: Broker, registry: Registry, way: _Way
) -> None:
    rule = {
        "name": "r",
        "kind": "TRANSFORM",
        "type": "ENCRYPT",
        "mode": "WRITEREAD",
        "tags": ["PII"],
        "disabled": False,
    }
    way.front.adds["added_99"] = {
        "ruleSet": {"domainRules": [rule]},
        "metadata": {"tags": {"**.email": ["PII"], "**.phone": ["PII"]}},
    }
    with Scene(tmp_path, broker, registry, registry_url=way.url) as scene:
        maker = Maker(scene)
        ciphertext: dict[str, Any] = {"email": "TTMxMDY1MDU1NTEyMTIxMg==", "phone": "MTY1MDU1NTEyMTIzNDU2Nw=="}
        made = [maker.lead(schema=_grown(99), client_id="visitor", **ciphertext) for _ in range(20)]
        maker.put(made)
        member = scene.member()
        scene.produce(100)
        until(lambda: "(ENCRYPT): email, phone" in notices(member), 30, "a word on the encrypted fields")
        until(lambda: scene.endpoint.answered().total() == 100, 60, "events of other schemas")
        time.sleep(2)
        assert not set(scene.endpoint.answered()) & {one.event_id for one in made}
        assert scene.ledger.dead_letters() == []
        (told,) = member.logged("records wait for their schema")
        assert told["level"] == "error"
        assert "ENCRYPT" in told["reason"]
        assert member.terminate() == 0
        without = [
            {**source, "fields": {f"user_data.{name}": "absent" for name in ciphertext}}
            for source in scene.settings["sources"]
        ]
        scene.settings["sources"] = without
        scene.member()
        scene.close(duplicates=0)


def _only_the_unknown_wait(scene: Scene, member: Program, number: int) -> None:
    """Produce leads of a new schema, then of a known one. Assert that only the new ones wait, and hold back commits."""
    maker = Maker(scene, seed=1000 + number)
    maker.put(maker.lead(schema=_grown(number)) for _ in range(5))
    until(lambda: _waits(member, scene.leads), 30, "records that wait for their schema")
    delivered = scene.endpoint.answered().total()
    produced = scene.produce(100)
    until(lambda: scene.endpoint.answered().total() == delivered + len(produced), 60, "events of known schemas")
    until(lambda: scene.ledger.lag(scene.views) == 0, 60, "commits of the page views")
    assert scene.ledger.lag(scene.leads) > 0
    assert member.is_ready()
