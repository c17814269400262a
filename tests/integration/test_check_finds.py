"""`check` finds what `run` finds: for each wrong setting that `run` refuses at its start, a FAIL line names the key."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import pytest

from tests.integration.test_check_records import _coordinator as coordinator
from tests.integration.test_commands import assert_plain, command, write
from tests.program import KEY, Program, configuration
from tests.stack import Broker
from tests.stack.names import Names
from tests.stack.process import free_ports

__all__ = ["coordinator"]

pytestmark = [pytest.mark.slow, pytest.mark.real]

_SCHEMAS = Path(__file__).parents[2] / "schemas"
_SECRET = "canary-secret"
_SASL = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": _SECRET}


class Wrong(NamedTuple):
    """Wrong settings: ``changes`` by dotted section, with {folder} for the files' folder. The FAIL line has ``key``."""

    key: str
    changes: dict[str, Any]


def kafka(key: str, **properties: Any) -> Wrong:
    return Wrong(f"kafka.properties.{key}", {"kafka": {"properties": properties}})


def registry(key: str, properties: dict[str, Any], url: str = "http://127.0.0.1:1") -> Wrong:
    return Wrong(f"schema_registry.properties.{key}", {"schema_registry": {"url": url, "properties": properties}})


WRONG = {
    "session too long": kafka('"session.timeout.ms"', **{"session.timeout.ms": 400_000}),
    "session not a number": kafka('"session.timeout.ms"', **{"session.timeout.ms": "long"}),
    "session out of range": kafka('"session.timeout.ms"', **{"session.timeout.ms": 9_999_999}),
    "unknown property": kafka('"sesion.timeout.ms"', **{"sesion.timeout.ms": 9000}),
    "poll interval below the session": kafka('"max.poll.interval.ms"', **{"max.poll.interval.ms": 5000}),
    "of the consumer alone": kafka('"fetch.max.bytes"', **{"fetch.max.bytes": 1}),
    "of the producer alone": kafka('"max.in.flight"', **{"max.in.flight": 1000}),
    "strategy": kafka('"partition.assignment.strategy"', **{"partition.assignment.strategy": "fair"}),
    "consumer protocol's own": kafka('"session.timeout.ms"', **{"group.protocol": "consumer", "session.timeout.ms": 9000}),
    "assignor": kafka('"group.protocol"', **{"group.protocol": "comsumer"}),
    "mechanism missing": kafka('"sasl.mechanism"', **{"security.protocol": "SASL_SSL"}),
    "kerberos": kafka('"sasl.mechanism"', **_SASL | {"sasl.mechanism": "GSSAPI"}),
    "no user": kafka('"sasl.username"', **{"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}),
    "java's": kafka('"sasl.jaas.config"', **{"sasl.jaas.config": f"password={_SECRET};"}),
    "authority": kafka('"ssl.ca.location"', **{"security.protocol": "SSL", "ssl.ca.location": "/nonsuch"}),
    "owned": kafka('"enable.auto.commit"', **{"enable.auto.commit": True}),
    "registry's property": registry('"basic.auth.user.inf"', {"basic.auth.user.inf": f"u:{_SECRET}"}),
    "registry's authority": registry('"ssl.ca.location"', {"ssl.ca.location": "/nonsuch"}),
    "registry's token": registry('"bearer.auth.token"', {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": "l"}),
    "registry's user in its url": Wrong("schema_registry.url", {"schema_registry": {"url": f"http://u:{_SECRET}@h"}}),
    "authorities of the endpoint": Wrong("endpoint.ca_file", {"endpoint": {"ca_file": "{folder}/empty"}}),
    "people": Wrong("suppress.file", {"suppress": {"file": "{folder}/binary"}}),
    "schema": Wrong("binary", {"sources": {"schema_file": "{folder}/binary"}}),
    "folder of schemas": Wrong("nothing", {"sources": {"framing": "single_object", "schema_file": "{folder}/nothing"}}),
    "admin host": Wrong("admin.host", {"admin": {"host": "192.0.2.1"}}),
    "admin port": Wrong("admin.port", {"admin": {"port": "{taken}"}}),
    "key in quotes": Wrong("pixels[0].api_key_file", {"pixels": {"api_key_file": "{folder}/quoted"}}),
    "key with its name": Wrong("pixels[0].api_key_file", {"pixels": {"api_key_file": "{folder}/named"}}),
    "pixel in quotes": Wrong("pixels[0].pixel_id_file", {"pixels": {"pixel_id_file": "{folder}/quoted"}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def topics(broker: Broker, coordinator: None) -> tuple[str, str]:
    names = Names()
    return broker.create_topic(names.topic("leads")), broker.create_topic(names.topic("dead"))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def right(tmp_path: Path, broker: Broker, topics: tuple[str, str]) -> dict[str, Any]:
    """Settings that `run` accepts."""
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff\x00\n" * 5)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "quoted").write_text('"canary-secret"\n')
    (tmp_path / "named").write_text("AXON_API_KEY=canary-secret\n")
    schema = str(_SCHEMAS / "lead.avsc")
    source = {"topic": topics[0], "event": "generate_lead", "framing": "raw", "schema_file": schema}
    url = f"http://{broker.bootstrap}/v1/event"  # any port that accepts connections
    return configuration(broker.bootstrap, None, url, Names().group(), [source], topics[1], admin={"port": 0})


def changed(settings: dict[str, Any], changes: dict[str, Any], **texts: Any) -> dict[str, Any]:
    def filled(value: Any) -> Any:
        if value == "{taken}":
            return texts["taken"]
        return value.format(**texts) if isinstance(value, str) and value.startswith("{folder}") else value

    for section, keys in changes.items():
        of = settings.setdefault(section, {})
        table = of[0] if isinstance(of, list) else of
        if section == "pixels":
            for key in [key for key in table if any(new.startswith(key.rsplit("_", 1)[0]) for new in keys)]:
                del table[key]
        table |= {key: filled(value) for key, value in keys.items()}
    return settings


def both(config: str) -> tuple[CompletedProcess[str], CompletedProcess[str]]:
    with ThreadPoolExecutor(2) as pool:
        ran, checked = pool.map(lambda word: command(word, "--config", config), ("run", "check"))
    return ran, checked


@pytest.mark.cases(1)
@pytest.mark.parametrize("name", WRONG)
def test_what_run_refuses_is_a_line_of_check_that_names_the_key(
    name: str, tmp_path: Path, right: dict[str, Any], taken: int
) -> None:
    wrong = WRONG[name]
    ran, checked = both(write(tmp_path, changed(right, wrong.changes, folder=tmp_path, taken=taken)))
    assert_plain(ran, 2)
    assert_plain(checked, 1)
    (told,) = [line for line in ran.stderr.splitlines() if line.startswith("stream-capi: ")]
    assert wrong.key in told
    fault = told.removeprefix("stream-capi: ")
    failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL") and fault in line]
    assert len(failed) == 1, checked.stdout
    assert checked.stderr == ""
    for text in (_SECRET, "recompile"):
        assert text not in ran.stdout + ran.stderr + checked.stdout


@pytest.mark.repeat(of="test_what_run_refuses_is_a_line_of_check_that_names_the_key")
def test_all_properties_that_are_refused_are_told_at_once_by_both(tmp_path: Path, right: dict[str, Any]) -> None:
    properties = {"client.idd": "x", "debug": "x", "session.timeout.ms": 400_000, "linger.ms": 10_000_000}
    of_registry = {"basic.auth.user.inf": f"u:{_SECRET}", "max.retries": "x", "ssl.ca.location": "/nonsuch"}
    right["kafka"]["properties"] = properties
    right["schema_registry"] = {"url": "http://127.0.0.1:1", "properties": of_registry}
    right["endpoint"]["ca_file"] = str(tmp_path / "empty")
    ran, checked = both(write(tmp_path, right))
    assert_plain(ran, 2)
    assert_plain(checked, 1)
    failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
    for key in [*properties, *of_registry]:
        told = re.compile(rf'_?properties\."?{re.escape(key)}"?: ')
        assert sum(bool(told.search(line)) for line in failed) == 1, (key, checked.stdout)
        assert sum(bool(told.search(line)) for line in ran.stderr.splitlines()) == 1, (key, ran.stderr)
    assert any("endpoint.ca_file" in line for line in failed)
    assert f"pass  mapping of {right['sources'][0]['topic']}: fits stream_capi.Lead" in checked.stdout
    assert 'did you mean "basic.auth.user.info"?' in checked.stdout


def test_what_run_takes_fails_in_no_line_of_its_settings(tmp_path: Path, right: dict[str, Any]) -> None:
    """The wrong settings are derived from these: if these failed, the table would prove nothing."""
    with Program(tmp_path, right) as member:
        member.start()
        right["admin"] = {"port": member.port}
        done = command("check", "--config", write(tmp_path, right), "--json")
        assert member.terminate() == 0
    found = json.loads(done.stdout)
    assert [line for line in found if not line["passed"]] == []
    assert {line["subject"]: line["detail"] for line in found}[f"admin port {member.port}"].startswith("a member of")
    assert KEY not in done.stdout


@pytest.mark.repeat(of="test_what_run_refuses_is_a_line_of_check_that_names_the_key")
def test_json_has_all_faults_too(tmp_path: Path, right: dict[str, Any]) -> None:
    (port,) = free_ports(1)
    right["schema_registry"] = {"url": f"http://127.0.0.1:{port}", "properties": {"max.retrie": 1}}
    done = command("check", "--config", write(tmp_path, right), "--json")
    assert_plain(done, 1)
    assert done.stderr == ""
    (line,) = [line for line in json.loads(done.stdout) if line["subject"] == "schema registry"]
    assert line == {
        "subject": "schema registry",
        "passed": False,
        "detail": 'schema_registry.properties."max.retrie": unknown property; did you mean "max.retries"?',
    }


def test_the_retention_of_dead_letters_is_the_brokers_word(
    tmp_path: Path, right: dict[str, Any], broker: Broker
) -> None:
    subject = f"dead-letter topic {right['dead_letter']['topic']}: 1 partitions, kept"
    assert f"pass  {subject} for 7 days" in command("check", "--config", write(tmp_path, right)).stdout
