"""The commands as a new user runs them: their output and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from confluent_kafka.schema_registry import Schema

from tests.program import KEY, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.process import free_ports

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[2]
_LEAD = (_ROOT / "schemas" / "lead.avsc").read_text()


def command(*words: str, seconds: float = 90, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream_capi", *words],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=_ROOT,
        env={
            "PATH": os.defpath,
            "HOME": os.environ.get("HOME", "/"),
            "COLUMNS": "160",
            "CAPI_TEST_KEY": KEY,
            **(env or {}),
        },
    )


def write(folder: Path, settings: Mapping[str, Any]) -> str:
    path = folder / "stream-capi.toml"
    path.write_text(tomli_w.dumps(settings))
    return str(path)


def assert_plain(done: subprocess.CompletedProcess[str], code: int) -> None:
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


def test_a_wrong_configuration_shows_every_fault_at_once_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        '[kafka]\ngroup = "x"\nproperties = {"enable.auto.commit" = "true"}\n[[pixels]]\nname = "main"\npixel_id = "p"\n'
        'api_key = "SECRET-IN-FILE"\n[[sources]]\ntopic = "leads"\nevent = "lead"\npixel = "mian"\n'
    )
    done = command("run", "--config", str(path))
    assert_plain(done, 2)
    assert "SECRET-IN-FILE" not in done.stderr
    lines = done.stderr.splitlines()
    assert all("wrong.toml" in line for line in lines), done.stderr
    for key in ("kafka.group", "enable.auto.commit", "pixels[0].api_key", "sources[0].event", "sources[0].pixel"):
        assert any(key in line for line in lines), f"{key} is not told:\n{done.stderr}"
    assert 'did you mean "group_id"' in done.stderr
    checked = command("check", "--config", str(path))
    assert_plain(checked, 1)
    assert checked.stdout.count("FAIL") == len(lines)


@pytest.mark.repeat(of="test_a_wrong_configuration_shows_every_fault_at_once_with_file_and_key")
def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = command("run", "--config", str(tmp_path / "none.toml"))
    assert_plain(done, 2)
    assert "none.toml" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.repeat(of="test_a_wrong_configuration_shows_every_fault_at_once_with_file_and_key")
def test_several_workers_of_one_static_name_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path, {"kafka": {"properties": {"group.instance.id": "pod-0"}}})
    done = command("run", "--workers", "2", "--config", config)
    assert_plain(done, 2)
    assert f'{config}: kafka.properties."group.instance.id": must hold "{{worker}}" with --workers 2' in done.stderr


@pytest.mark.repeat(of="test_a_wrong_configuration_shows_every_fault_at_once_with_file_and_key")
def test_a_worker_without_its_watcher_is_told(tmp_path: Path) -> None:
    done = command("run", "--worker", "1", "--config", write(tmp_path, {}))
    assert_plain(done, 2)
    assert "use --workers" in done.stderr


@pytest.mark.repeat(of="test_a_wrong_configuration_shows_every_fault_at_once_with_file_and_key")
def test_unknown_options_end_with_usage() -> None:
    assert_plain(command("run", "--nonsense"), 2)
    assert_plain(command("nonsense"), 2)


@pytest.fixture
def settings(broker: Broker, registry: Registry, names: Names) -> dict[str, Any]:
    topic, dead_letters = broker.create_topic(names.topic("leads"), 2), broker.create_topic(names.topic("dead"))
    with registry.client() as client:
        client.register_schema(f"{topic}-value", Schema(_LEAD, "AVRO"))
    (port,) = free_ports(1)
    return configuration(
        broker.bootstrap,
        registry.url,
        f"http://127.0.0.1:{port}/v1/event",
        names.group(),
        [{"topic": topic, "event": "generate_lead"}],
        dead_letters,
    )


@pytest.mark.real
def test_check_tells_each_thing_in_a_line_and_all_that_is_wrong(tmp_path: Path, settings: dict[str, Any]) -> None:
    topic = settings["sources"][0]["topic"]
    settings["sources"].append({"topic": f"{topic}-missing", "event": "page_view", "pixel": "main"})
    settings["sources"][0]["fields"] = {"user_data.email": "customer.email"}
    done = command("check", "--config", write(tmp_path, settings))
    assert_plain(done, 1)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    for part in (f"topic {topic}-missing", f"no subject {topic}-missing-value", "customer", "endpoint"):
        assert any(part in line for line in failed), f"{part} is not told:\n{done.stdout}"
    assert "pass  brokers" in done.stdout
    assert f"pass  topic {topic}: 2 partitions" in done.stdout


@pytest.mark.real
def test_check_passes_where_everything_is_there(tmp_path: Path, settings: dict[str, Any], broker: Broker) -> None:
    settings["endpoint"]["url"] = f"http://{broker.bootstrap}/v1/event"  # any port that accepts connections
    done = command("check", "--config", write(tmp_path, settings), "--json")
    assert_plain(done, 0)
    found = json.loads(done.stdout)
    assert {finding["passed"] for finding in found} == {True}
    assert len(found) >= 6


@pytest.mark.cases(1)
@pytest.mark.real
@pytest.mark.parametrize(
    ("properties", "line"),
    [
        ({}, "pass  group {group}: session time-out 9 s, heartbeat 1 s"),
        ({"group.instance.id": "pod-0"}, "pass  group {group}: session time-out 45 s, heartbeat 1 s (static member)"),
        (
            {"session.timeout.ms": 400},
            "FAIL  group {group}: session time-out 0.4 s, heartbeat 0.1 s: the broker allows 0.5 to 1800 s; "
            'set kafka.properties."session.timeout.ms"',
        ),
        (
            {"group.protocol": "consumer"},
            "pass  group {group}: session time-out 5 s, set by the broker (group.protocol=consumer)",
        ),
    ],
    ids=["classic", "static", "refused", "consumer"],
)
def test_check_tells_how_long_a_killed_member_is_waited_for(
    tmp_path: Path, settings: dict[str, Any], properties: dict[str, Any], line: str
) -> None:
    settings["kafka"]["properties"] |= properties
    done = command("check", "--config", write(tmp_path, settings))
    assert line.format(group=settings["kafka"]["group_id"]) in done.stdout.splitlines()


@pytest.mark.repeat(of="test_check_tells_how_long_a_killed_member_is_waited_for")
@pytest.mark.real
def test_check_tells_the_session_that_is_set_for_the_group(
    tmp_path: Path, settings: dict[str, Any], broker: Broker
) -> None:
    settings["kafka"]["properties"] |= {"group.protocol": "consumer"}
    group = settings["kafka"]["group_id"]
    broker.configure_group(group, {"consumer.session.timeout.ms": "7000"})
    done = command("check", "--config", write(tmp_path, settings))
    assert f"pass  group {group}: session time-out 7 s, set by the broker" in done.stdout


@pytest.mark.repeat(of="test_check_tells_each_thing_in_a_line_and_all_that_is_wrong")
@pytest.mark.real
def test_check_says_of_unreachable_neighbours_what_they_are(tmp_path: Path, settings: dict[str, Any]) -> None:
    free = free_ports(2)
    settings["kafka"]["bootstrap_servers"] = f"127.0.0.1:{free[0]}"
    settings["schema_registry"]["url"] = f"http://127.0.0.1:{free[1]}"
    done = command("check", "--config", write(tmp_path, settings))
    assert_plain(done, 1)
    brokers = [line for line in done.stdout.splitlines() if "brokers" in line]
    assert len(brokers) == 1
    assert str(free[0]) in brokers[0]
    assert any("registry" in line for line in done.stdout.splitlines())


@pytest.mark.real
def test_produce_samples_fills_the_configured_topics(tmp_path: Path, settings: dict[str, Any], broker: Broker) -> None:
    topic = settings["sources"][0]["topic"]
    done = command("produce-samples", "--config", write(tmp_path, settings), "--count", "250", "--json")
    assert_plain(done, 0)
    assert json.loads(done.stdout) == {topic: 250}
    assert sum(broker.end_offsets(topic).values()) == 250


@pytest.mark.repeat(of="test_produce_samples_fills_the_configured_topics")
@pytest.mark.real
def test_produce_samples_names_the_source_that_it_cannot_serve(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["sources"][0]["fields"] = {"user_data.email": "customer.email"}
    done = command("produce-samples", "--config", write(tmp_path, settings), "--count", "1")
    assert_plain(done, 2)
    assert "mapping of its own" in done.stderr
