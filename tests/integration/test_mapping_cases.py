"""``stream-capi test`` with a real registry: a topic's record as a case has the outcome of the topic's mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_capi.kafka.scan import latest_records
from tests.commands.mapping_cases import TIME, a_lead
from tests.events.real_topic import confluent, encoded, produce, register, settings_of
from tests.events.sources_and_records import LEAD, lead
from tests.faults.registry_gateway import Front
from tests.integration.test_commands import assert_plain, command
from tests.program import KEY, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names

pytestmark = [pytest.mark.real, pytest.mark.slow]
EMAIL = "canary.person@example.com"


@pytest.fixture
def folder(tmp_path: Path, broker: Broker, registry: Registry, names: Names) -> Path:
    """A configuration for the real stack with cases without a schema: one of a topic's record, one of its fields."""
    topic = broker.create_topic(names.topic("leads"), 1)
    value = confluent(register(registry, f"{topic}-value", LEAD), encoded(LEAD, lead(event_time=TIME, email=EMAIL)))
    produce(broker, topic, [value], headers=[("traceparent", b"00-1")])
    source = {"topic": topic, "event": "generate_lead"}
    tables = configuration(
        broker.bootstrap, registry.url, "http://127.0.0.1:9/v1/event", names.group(), [source], "dead"
    )
    (record,) = latest_records(settings_of(tmp_path, tables).kafka, topic, 1)
    assert record.value() == value
    (tmp_path / "cases").mkdir()
    cases: list[dict[str, Any]] = [
        {"name": "as it came", "hex": value.hex(), "partition": record.partition(), "offset": record.offset()},
        {"name": "by its fields", "record": a_lead(email=EMAIL)},
    ]
    (tmp_path / "cases/leads.json").write_text(json.dumps({"cases": cases}))
    return tmp_path


def test_the_registry_is_asked_for_the_schema_that_no_case_names(
    folder: Path, broker: Broker, registry: Registry
) -> None:
    words = ("test", "--config", str(folder / "stream-capi.toml"))
    assert_plain(command(*words, "--update"), 0)
    done = command(*words, "--junit", str(folder / "report.xml"))
    assert_plain(done, 0)
    assert done.stdout.splitlines()[-1] == "2 cases: 2 passed"
    first, second = json.loads((folder / "cases/leads.json").read_text())["cases"]
    assert first["expect"] == second["expect"]
    assert EMAIL not in json.dumps(first["expect"])
    for shown in (done.stdout, done.stderr, (folder / "report.xml").read_text()):
        assert EMAIL not in shown
        assert KEY not in shown


@pytest.mark.repeat(of="test_the_registry_is_asked_for_the_schema_that_no_case_names")
def test_a_schema_that_the_registry_does_not_know_is_a_dead_letter_and_a_registry_that_is_away_a_broken_case(
    folder: Path,
) -> None:
    file = folder / "cases/leads.json"
    case = {"name": "x", "hex": "007fffffff00", "expect": {"dead_letter": "unknown_schema"}}
    file.write_text(json.dumps({"cases": [case]}))
    words = ("test", "--config", str(folder / "stream-capi.toml"))
    assert_plain(command(*words), 0)
    away = command(*words, env={"STREAM_CAPI_SCHEMA_REGISTRY__URL": "http://127.0.0.1:9"})
    assert_plain(away, 2)
    assert "--schema" in away.stderr
    assert len(away.stderr.splitlines()) == 1


@pytest.mark.repeat(of="test_the_registry_is_asked_for_the_schema_that_no_case_names")
def test_what_the_registry_s_rules_encrypt_is_no_case_that_passes(folder: Path, registry: Registry) -> None:
    rule = {"name": "r", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"]}
    with Front(registry.url) as front:
        front.adds["stream_capi"] = {"ruleSet": {"domainRules": [rule]}, "metadata": {"tags": {"**.email": ["PII"]}}}
        env = {"STREAM_CAPI_SCHEMA_REGISTRY__URL": f"http://127.0.0.1:{front.port}{front.path}"}
        done = command("test", "--config", str(folder / "stream-capi.toml"), "--update", env=env)
    assert_plain(done, 2)
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.endswith("encrypt fields that are mapped (ENCRYPT): email; its records wait")
