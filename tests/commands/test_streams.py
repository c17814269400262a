"""Every command with streams that are closed, in another encoding, without a reader, or on a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomli_w
from confluent_kafka import Producer

from stream_capi.model import EventName
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from stream_capi.sandbox.samples import Samples
from tests.faults.crafted_records import LEAD, encoded
from tests.program import KEY
from tests.stack.process import free_ports
from tests.stack.waiting import until

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[2]
_ENV = {"PATH": os.defpath, "HOME": os.environ.get("HOME", "/"), "COLUMNS": "160", "CAPI_TEST_KEY": KEY}
# Text and JSON are written to the same streams, so only `make test-all` tests JSON too.
FORMS = [pytest.param((), id="text"), pytest.param(("--json",), id="json", marks=pytest.mark.repeat)]
CLOSED = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-", "all": "<&- >&- 2>&-"}


def configuration(folder: Path, bootstrap: str = "127.0.0.1:1") -> str:
    """A configuration that needs no registry."""
    settings = {
        "kafka": {"bootstrap_servers": bootstrap, "group_id": "streams"},
        "endpoint": {"url": "http://127.0.0.1:1/v1/event"},
        "pixels": [{"name": "main", "pixel_id": "p1", "api_key_env": "CAPI_TEST_KEY"}],
        "sources": [
            {
                "topic": "leads",
                "event": "generate_lead",
                "pixel": "main",
                "framing": "raw",
                "schema_file": str(_ROOT / "schemas" / "lead.avsc"),
            }
        ],
        "admin": {"port": free_ports(1)[0]},
    }
    path = folder / "streams.toml"
    path.write_text(tomli_w.dumps(settings))
    return str(path)


def explain(folder: Path, *more: str) -> list[str]:
    event = Samples(1, bad_share=0).event(EventName.GENERATE_LEAD, 1_700_000_000_000) | {"email": "jane.dœ@example.com"}
    (folder / "event.bin").write_bytes(encoded(LEAD, event))
    words = ["explain", "--topic", "leads", "--file", str(folder / "event.bin"), *more]
    return [*words, "--config", configuration(folder)]


def shell(
    words: Sequence[str], redirected: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirected}', "_", sys.executable, "-m", "stream_capi", *words],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=_ROOT,
        env=_ENV | (env or {}),
        start_new_session=True,
    )


def assert_quiet(done: subprocess.CompletedProcess[bytes]) -> None:
    for text in (b"Traceback", b"a bug", b"could not be raised", b"Exception ignored"):
        assert text not in done.stdout + done.stderr, done.stderr.decode()


@pytest.mark.cases(1)
@pytest.mark.parametrize("redirected", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("more", FORMS)
def test_a_stream_that_is_closed_from_the_start_costs_its_text_alone(
    tmp_path: Path, redirected: str, more: tuple[str, ...]
) -> None:
    done = shell(explain(tmp_path, *more), redirected)
    assert_quiet(done)
    assert done.returncode == 0
    assert bool(done.stdout) == (redirected == CLOSED["stderr"])


@pytest.mark.cases(1)
@pytest.mark.parametrize("redirected", CLOSED.values(), ids=CLOSED)
def test_an_error_is_an_exit_code_where_nobody_can_be_told(tmp_path: Path, redirected: str) -> None:
    done = shell(["explain", "--topic", "nope", "--latest", "1", "--config", configuration(tmp_path)], redirected)
    assert_quiet(done)
    assert done.returncode == 2


@pytest.mark.cases(1)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_another_encoding_prints_all_that_it_can_and_json_that_can_be_read(tmp_path: Path, encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding}
    done = shell(explain(tmp_path, "--show-personal-data"), "", env)
    assert_quiet(done)
    assert done.returncode == 0
    done = shell(explain(tmp_path, "--json", "--show-personal-data"), "", env)
    assert done.returncode == 0, done.stderr.decode()
    (explained,) = json.loads(done.stdout.decode(encoding))
    assert "jane.dœ@example.com" in {field["value"] for field in explained["fields"]}


@pytest.mark.parametrize("more", FORMS)
def test_a_reader_that_has_gone_ends_the_command_without_a_word(tmp_path: Path, more: tuple[str, ...]) -> None:
    for words in (explain(tmp_path, *more), ["--help"], ["explain", "--help"]):
        done = shell(words, "| true")
        assert_quiet(done)
        assert done.returncode in (0, 1), "0 where all of it went into the pipe before"
        assert not done.stderr


@pytest.mark.repeat(of="test_an_error_is_an_exit_code_where_nobody_can_be_told")
@pytest.mark.parametrize("more", FORMS)
def test_a_full_disk_is_told(tmp_path: Path, more: tuple[str, ...]) -> None:
    for words in (explain(tmp_path, *more), ["--help"], ["--version"], ["demo", "--events", "50", *more]):
        done = shell(words, "> /dev/full")
        assert_quiet(done)
        assert done.returncode == 1
        assert b"the output can't be written: No space left on device" in done.stderr
    assert shell(explain(tmp_path, *more), "2> /dev/full").returncode == 0


@pytest.mark.cases(1)
@pytest.mark.parametrize("redirected", [*CLOSED.values(), "> /dev/full 2> /dev/full"], ids=[*CLOSED, "full"])
def test_the_main_job_runs_and_stops_in_order_without_its_streams(tmp_path: Path, redirected: str) -> None:
    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce("leads", None)
        assert producer.flush(10) == 0
        words = ["run", "--config", configuration(tmp_path, broker.bootstrap)]
        started = subprocess.Popen(
            ["bash", "-c", f'exec "$@" {redirected}', "_", sys.executable, "-m", "stream_capi", *words],
            cwd=_ROOT,
            env=_ENV,
        )
        try:
            port = int(Path(tmp_path / "streams.toml").read_text().split("port = ")[1].split()[0])
            until(lambda: _listens(port), 20, "the admin port")
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 0
        finally:
            started.kill()
            started.wait()


def _listens(port: int) -> bool:
    listening = f":{port:04X} "
    return any(listening in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines())


CANARY = "jane.doe@example.com"
_INJECTED = f"""
import sys
from stream_capi import cli, config
from stream_capi.cli import config_schema, demo, init, mock_endpoint
def broken(*args, **kwargs):
    email = {CANARY!r}
    try:
        raise KeyError(email)
    except KeyError:
        raise RuntimeError("a value: " + email)
config.load = config_schema.json_schema = demo.Demo = init._newest = mock_endpoint.MockEndpoint = broken
cli.main()
"""
COMMANDS = [
    "demo",
    "run --config f",
    "check --config f",
    "config-schema",
    "explain --config f --topic t --latest 1",
    "test --config f",
    "dry-run --config f",
    "send-one --config f --topic t --file f --yes",
    "find --config f --key k",
    "init --registry http://localhost:1 --topic t",
    "replay --config f --topic t --from earliest",
    "reset --config f --to latest",
    "dead-letters list --config f",
    "dead-letters show --config f",
    "dead-letters redrive --config f",
    "status --config f",
    "mock-endpoint",
    "produce-samples --config f --count 1",
]


# One command of each kind: the main one, a reading one, a server, one of several words.
FIRST = {
    "run --config f",
    "explain --config f --topic t --latest 1",
    "mock-endpoint",
    "dead-letters redrive --config f",
}


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    "words", [words if words in FIRST else pytest.param(words, marks=pytest.mark.repeat) for words in COMMANDS]
)
def test_a_bug_in_any_command_is_told_by_its_type_and_place_alone(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INJECTED, *words.split()],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env=_ENV,
        timeout=60,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "RuntimeError" in output
    assert "a bug ended the program" in output
    assert CANARY not in output
    assert "Traceback (most recent call last)" not in output


def test_every_command_has_a_bug_injected() -> None:
    from stream_capi import cli

    assert set(cli.COMMANDS) <= {words.split()[0] for words in COMMANDS}
