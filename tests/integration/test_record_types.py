"""Several event types on one topic in the whole program: a union schema, a schema for each type, two sources."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stream_capi import config
from stream_capi.sandbox.samples import Samples
from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, produce, register
from tests.integration.test_commands import assert_plain, command, write
from tests.ledger import DeadLetterReader, FoundDeadLetter, assert_private
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
    """A topic with events of all types: the ids of the good ones by type, and the offsets of undecodable ones."""

    leads: set[str]
    views: set[str]
    damaged: list[int]
    end: int


def filled(broker: Broker, registry: Registry, topic: str) -> Topic:
    """200 leads and views, alternately with the union and their type's own schema; ticks, nulls and damaged records."""
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
    """Each good event was delivered once, under its own event name."""
    assert endpoint.answered() == dict.fromkeys(made.leads | made.views, 1)
    assert member.metric("stream_capi_delivered_total", event="generate_lead") == len(made.leads)
    assert member.metric("stream_capi_delivered_total", event="page_view") == len(made.views)
    endpoint.assert_valid()


def read(dead_letters: DeadLetterReader) -> list[FoundDeadLetter]:
    """The dead letters so far."""
    dead_letters.read()
    return dead_letters.found


@pytest.mark.repeat(of="test_two_sources_share_a_topic_and_the_rest_is_counted_as_unrouted")
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


def test_two_sources_share_a_topic_and_the_rest_is_counted_as_unrouted(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic = names.topic("events")
    made = filled(broker, registry, topic)
    currency = {"data.currency": {"const": "EUR"}}
    sources: list[dict[str, Any]] = [
        {"topic": topic, "record": LEAD_NAME, "event": "generate_lead", "fields": currency},
        {"topic": topic, "record": VIEW_NAME, "event": "page_view", "window_ms": 50},
    ]
    with Endpoint() as endpoint:
        settings = settings_of(broker, registry, endpoint, names, sources)
        with run_through(tmp_path, broker, settings, topic, made.end) as member:
            assert_delivered(member, endpoint, made)
            assert member.metric("stream_capi_skipped_total", topic=topic, reason="unrouted") == 20
            assert member.metric("stream_capi_skipped_total", topic=topic, reason="tombstone") == 40
            assert member.metric("stream_capi_dead_lettered_total", topic=topic, code="decode_error") == 2
            assert member.terminate() == 0
            assert_private(member.output)
        file = write(tmp_path, settings)
        checked = command("check", "--config", file)
        assert_plain(checked, 0)
        for name in (LEAD_NAME, VIEW_NAME):
            assert f"mapping of {topic} ({name})" in checked.stdout
        told = command("explain", "--config", file, "--topic", topic, "--latest", "9", "--json")
        assert_plain(told, 1)
        outcomes = [one["outcome"] for one in json.loads(told.stdout)]
        assert {one.get("event") or one.get("reason") or one["code"] for one in outcomes} >= {
            "generate_lead",
            "page_view",
            "decode_error",
        }


@pytest.mark.repeat(of="test_two_sources_share_a_topic_and_the_rest_is_counted_as_unrouted")
def test_dead_letters_of_a_shared_topic_are_redriven_by_the_source_of_their_record(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic = broker.create_topic(names.topic("events"))
    union = register(registry, f"{topic}-value", UNION)
    ids: dict[str, list[str]] = {LEAD_NAME: [], VIEW_NAME: []}
    values: list[bytes | None] = []
    for event, row in Samples(7, bad_share=0).stream(30, int(time.time() * 1000)):
        name = LEAD_NAME if event.value == "generate_lead" else VIEW_NAME
        ids[name].append(row["event_id"])
        of_union: Any = (name, row | {"sid": None})
        values.append(confluent(union, encoded(UNION, of_union)))
    produce(broker, topic, values)
    absent = {"event_source_url": "sid"}  # null in every record
    views = {"topic": topic, "record": VIEW_NAME, "event": "page_view"}
    leads = {"topic": topic, "record": LEAD_NAME, "event": "generate_lead"}
    with Endpoint() as endpoint:
        settings = settings_of(broker, registry, endpoint, names, [leads | {"fields": absent}, views])
        with run_through(tmp_path, broker, settings, topic, len(values)) as member:
            assert endpoint.answered() == dict.fromkeys(ids[VIEW_NAME], 1)
            assert member.metric("stream_capi_dead_lettered_total", code="missing_field") == len(ids[LEAD_NAME])
            assert member.terminate() == 0
        settings["sources"] = [{"pixel": "main", **source} for source in (leads, views)]
        file = write(tmp_path, settings)
        shown = command("dead-letters", "show", "--config", file, "--limit", "1", "--json")
        assert_plain(shown, 0)
        assert LEAD_NAME in shown.stdout
        redriven = command("dead-letters", "redrive", "--config", file, "--execute")
        assert_plain(redriven, 0)
        assert endpoint.answered() == dict.fromkeys([*ids[LEAD_NAME], *ids[VIEW_NAME]], 1)
        endpoint.assert_valid()


def test_a_first_configuration_has_a_source_for_each_record(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic = broker.create_topic(names.topic("events"))
    register(registry, f"{topic}-value", ["null", LEAD, VIEW])
    done = command("init", "--registry", registry.url, "--topic", topic)
    assert_plain(done, 0)
    file = tmp_path / "first.toml"
    file.write_text(done.stdout.replace("localhost:9092", broker.bootstrap))
    settings = config.load(file, {"AXON_API_KEY": "k"})
    assert [(one.topic, one.record, one.event) for one in settings.sources] == [
        (topic, LEAD_NAME, "generate_lead"),
        (topic, VIEW_NAME, "page_view"),
    ]
