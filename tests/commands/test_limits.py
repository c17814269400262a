"""When threads, memory or address space run out: one line that names the limit, and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from stream_capi import limits
from stream_capi.cli import process
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.client_errors import not_made
from tests.commands.test_streams import configuration
from tests.program import KEY

pytestmark = pytest.mark.slow

_ENV = {"PATH": os.defpath, "CAPI_TEST_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.cases(1)
@pytest.mark.parametrize("threads", [0, 1, 10, 24, 25])
def test_a_system_without_a_thread_left_is_named_and_ends_the_program(tmp_path: Path, threads: int) -> None:
    command = [sys.executable, "-m", "tests.faults.doubles.threads", "run", "--config", configuration(tmp_path)]
    env = _ENV | {"CAPI_TEST_THREADS": str(threads)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode in ((2,) if threads < 25 else (2, 3))
    assert "no more threads can be started" in ended.stderr
    assert "ulimit -u" in ended.stderr
    assert "a bug" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run_until_stopped(folder: Path, *limited: str) -> tuple[int, str]:
    """Run the program with the command prefix ``limited``; if it starts, stop it. Return its exit code and output."""
    command = [sys.executable, "-m", "stream_capi", "run", "--config", configuration(folder)]
    lines = []
    with subprocess.Popen([*limited, *command], env=_ENV, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        for line in started.stderr:
            lines.append(line)
            if '"event":"started"' in line:
                started.terminate()
    return started.returncode, "".join(lines)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "mebibytes", [300, *(pytest.param(size, marks=pytest.mark.repeat) for size in (350, 400, 450, 800, 1000, 1200))]
)
def test_a_short_address_space_is_named_or_enough(folder: Path, mebibytes: int) -> None:
    code, output = run_until_stopped(folder, "prlimit", f"--as={mebibytes * 1024**2}")
    assert code in (0, 2, 3)
    assert "a bug" not in output
    assert code == 0 or "ulimit -v" in output


def with_processes(most: int) -> list[str]:
    """A command prefix that limits processes and threads. The limit doesn't apply to root, so root changes the user."""
    reading = "+dac_override,+dac_read_search"  # the interpreter may be in a folder that only root may read
    user = ["setpriv", "--reuid=65534", "--clear-groups", f"--inh-caps={reading}", f"--ambient-caps={reading}"]
    return [*(user if os.geteuid() == 0 else []), "prlimit", f"--nproc={most}"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "most", [24, *(pytest.param(most, marks=pytest.mark.repeat) for most in (1, 6, 14, 20, 22, 23, 25, 26, 30))]
)
def test_a_short_number_of_threads_is_named_or_enough(folder: Path, most: int) -> None:
    code, output = run_until_stopped(folder, *with_processes(most))
    assert code in (0, 2, 3)
    assert "a bug" not in output
    assert code == 0 or f"ulimit -u is {most}" in output


def test_errors_of_the_system_are_told_from_bugs() -> None:
    assert "ulimit -v" in limits.short_of(MemoryError())
    assert "ulimit -u" in limits.short_of(RuntimeError("can't start new thread"))
    assert "ulimit -u" in limits.short_of(BlockingIOError(11, "Resource temporarily unavailable"))
    assert "ulimit -n" in limits.short_of(OSError(24, "Too many open files"))
    assert limits.short_of(RuntimeError("another")) == ""
    assert limits.short_of(FileNotFoundError(2, "no")) == ""
    with pytest.raises(RuntimeError, match="another"):
        process.out_of_resources(RuntimeError("another"), started=True)


def test_exit_codes_tell_the_start_from_later(capsys: pytest.CaptureFixture[str]) -> None:
    assert process.out_of_resources(MemoryError(), started=False) == 2
    assert process.out_of_resources(MemoryError(), started=True) == 3
    assert capsys.readouterr().err.count("\n") == 2


def test_a_kafka_client_without_threads_names_the_limit() -> None:
    error = KafkaError(KafkaError._CRIT_SYS_RESOURCE, "Failed to create thread")
    assert "no more threads can be started" in str(not_made(error))
    assert isinstance(not_made(error), ConfigurationError)
