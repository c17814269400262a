"""Several event types on one topic, through the whole program: a union as its schema, types with a schema each, two sources."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stream_capi.sandbox.samples import Samples
from tests.events.real import confluent, encoded, produce, register
from tests.integration.test_commands import assert_plain, command, write
from tests.ledger import DeadLetterReader, FoundDeadLetter, assert_private
from tests.outside import Endpoint
from tests.program import Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = pytest.mark.real

SCHEMAS = Path(__file__).parents[2] / "schemas"
LEAD: Any = json.loads((SCHEMAS / "lead.avsc").read_text())
PAGE_VIEW: Any = json.loads((SCHEMAS / "page_view.avsc").read_text())
LEAD_NAME, VIEW_NAME, TICK_NAME = "stream_capi.Lead", "stream_capi.PageView", "acme.Tick"
VIEW = PAGE_VIEW | {
    "fields": [field | {"type": "Esi"} if field["name"] == "esi" else field for field in PAGE_VIEW["fields"]]
}
TICK = {"type": "record", "name": "Tick", "namespace": "acme", "fields": [{"name": "at", "type": "long"}]}
UNION: Any = ["null", LEAD, VIEW, TICK]


class Topic(NamedTuple):
    """A topic with events of all types: the ids of its good ones by type, and the offsets of those that can't be decoded."""

    leads: set[str]
    views: set[str]
    damaged: list[int]
    end: int


def filled(broker: Broker, registry: Registry, topic: str) -> Topic:
    """200 leads and views, each other one of the union and of its type's own schema; ticks, nulls, and damaged records."""
    broker.create_topic(topic)
    union = register(registry, f"{topic}-value", UNION)
    alone = {LEAD_NAME: register(registry, f"{topic}-{LEAD_NAME}", LEAD)}
    alone[VIEW_NAME] = register(registry, f"{topic}-{VIEW_NAME}", PAGE_VIEW)
    ids: dict[str, set[str]] = {LEAD_NAME: set(), VIEW_NAME: set()}
    values: list[bytes | None] = []
    for at, (event, row) in enumerate(Samples(5, bad_share=0).stream(200, int(time.time() * 1000))):
        name = LEAD_NAME if event.value == "generate_lead" else VIEW_NAME
        ids[name].add(row["event_id"])
        of_union: Any = (name, row)
        own = LEAD if name == LEAD_NAME else PAGE_VIEW
        values.append(
            confluent(alone[name], encoded(own, row)) if at % 2 else confluent(union, encoded(UNION, of_union))
        )
        if at % 10 == 0:
            tick: Any = (TICK_NAME, {"at": at})
            values += [confluent(union, encoded(UNION, tick)), confluent(union, b"\x00"), None]
    damaged = [len(values), len(values) + 1]
    values += [confluent(union, b"\x08"), confluent(union, b"\x02\x02")]
    produce(broker, topic, values)
    return Topic(ids[LEAD_NAME], ids[VIEW_NAME], damaged, len(values))


def settings_of(
    broker: Broker, registry: Registry, endpoint: Endpoint, names: Names, sources: list[dict[str, Any]]
) -> dict[str, Any]:
    dead = broker.create_topic(names.topic("dead"))
    return configuration(broker.bootstrap, registry.url, endpoint.url, names.group(), sources, dead)


def run_through(folder: Path, broker: Broker, settings: Mapping[str, Any], topic: str, end: int) -> Program:
    member = Program(folder, settings)
    member.start(ready=True)
    group = settings["kafka"]["group_id"]
    until(lambda: broker.committed(group, topic).get(0, (0, ""))[0] == end, 90, "a commit behind every record")
    return member


def assert_delivered(member: Program, endpoint: Endpoint, made: Topic) -> None:
    """Each good event once, under its own name."""
    assert endpoint.answered() == dict.fromkeys(made.leads | made.views, 1)
    assert member.metric("stream_capi_delivered_total", event="generate_lead") == len(made.leads)
    assert member.metric("stream_capi_delivered_total", event="page_view") == len(made.views)
    endpoint.assert_valid()


def read(dead_letters: DeadLetterReader) -> list[FoundDeadLetter]:
    """The dead letters so far."""
    dead_letters.read()
    return dead_letters.found


def test_the_records_name_routes_the_events_of_one_source(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic = names.topic("events")
    made = filled(broker, registry, topic)
    events = {LEAD_NAME: "generate_lead", VIEW_NAME: "page_view", "*": "skip"}
    source = {"topic": topic, "event_field": "$record", "events": events}
    with Endpoint() as endpoint:
        settings = settings_of(broker, registry, endpoint, names, [source])
        with run_through(tmp_path, broker, settings, topic, made.end) as member:
            assert_delivered(member, endpoint, made)
            assert member.metric("stream_capi_skipped_total", reason="event") == 20
            assert member.metric("stream_capi_skipped_total", reason="tombstone") == 40
            assert member.metric("stream_capi_dead_lettered_total", code="decode_error") == 2
            assert member.terminate() == 0
            assert_private(member.output)
        dead_letters = DeadLetterReader(broker, settings["dead_letter"]["topic"])
        try:
            until(lambda: len(read(dead_letters)) == 2, 30, "both dead letters")
        finally:
            dead_letters.close()
        assert {dead_letter.source for dead_letter in dead_letters.found} == {(topic, 0, at) for at in made.damaged}
        done = command("check", "--config", write(tmp_path, settings))
        assert_plain(done, 0)
        for line in (f"fits {LEAD_NAME}", f"fits {VIEW_NAME}", f"skips {TICK_NAME}"):
            assert line in done.stdout
