"""The effect of signals on the program, from its start on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.commands.test_streams import configuration
from tests.program import KEY
from tests.stack.waiting import until

pytestmark = pytest.mark.slow

# As python -m, from where the program first sets SIGINT's handler: before that the interpreter may lose an interrupt.
_FROM_THE_FIRST_WORD = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("begun", flush=True)
from stream_capi.__main__ import main
main()
"""


def _heed_signals() -> None:
    """Reset signals that are ignored if the tests themselves run under nohup or in the background."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(
    folder: Path, *before: str, program: Sequence[str] = ("-m", "stream_capi")
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the program without a broker; yields the process and its admin port."""
    file = configuration(folder)
    port = port_of(file)
    started = subprocess.Popen(
        [*before, sys.executable, *program, "run", "--config", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.defpath, "CAPI_TEST_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        preexec_fn=_heed_signals,
    )
    try:
        yield started, port
    finally:
        started.kill()
        started.communicate()


def port_of(file: str) -> int:
    """The admin port of a configuration."""
    return int(Path(file).read_text().rsplit("port = ", 1)[1].split()[0])


def is_alive(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.mark.parametrize(
    "after", [0.0, 0.3, *(pytest.param(after, marks=pytest.mark.repeat) for after in (0.05, 0.1, 0.2, 0.4, 0.6))]
)
def test_an_interrupt_in_the_first_second_ends_it_without_a_traceback(tmp_path: Path, after: float) -> None:
    with running(tmp_path, program=("-c", _FROM_THE_FIRST_WORD)) as (program, _):
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        time.sleep(after)
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=60)
    assert "Traceback" not in output
    assert program.returncode in (0, 130, -signal.SIGINT)


_IN_A_CALLBACK = """
import signal, weakref
from stream_capi import cli

class Module: ...

signal.signal(signal.SIGINT, signal.SIG_DFL)
cli._heed_signals()
module = Module()
watched = weakref.ref(module, lambda _: signal.raise_signal(signal.SIGINT))
del module
print("went on")
"""


def test_an_interrupt_inside_a_callback_of_the_interpreter_is_not_lost() -> None:
    """Imports run callbacks that no exception can leave; a process that is interrupted there must end all the same."""
    ended = subprocess.run([sys.executable, "-c", _IN_A_CALLBACK], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.cases(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_these_signals_stop_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as (program, port):
        until(lambda: is_alive(port), 30, "an answer")
        program.send_signal(number)
        output, _ = program.communicate(timeout=60)
    assert '"event":"stopped"' in output
    assert program.returncode == 0


@pytest.mark.cases(1)
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_these_signals_do_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as (program, port):
        until(lambda: is_alive(port), 30, "an answer")
        program.send_signal(number)
        time.sleep(0.3)
        assert is_alive(port)


def test_a_hang_up_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    with running(tmp_path, "nohup") as (program, port):
        until(lambda: is_alive(port), 30, "an answer")
        program.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert is_alive(port)


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    "words",
    [("find", "--key", "x"), ("explain", "--topic", "leads", "--latest", "1"), ("dry-run",), ("dead-letters", "list")],
)
def test_an_interrupt_waits_for_no_broker(words: tuple[str, ...], tmp_path: Path) -> None:
    """For a broker that accepts connections and never answers the client's C code waits ten seconds."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(60)
        file = configuration(tmp_path, f"127.0.0.1:{broker.getsockname()[1]}")
        program = subprocess.Popen(
            [sys.executable, "-m", "stream_capi", *words, "--config", file],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_signals,
        )
        with broker.accept()[0]:
            time.sleep(0.5)  # let the command send its request
            asked = time.monotonic()
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=60)
        assert (program.returncode, errors) == (130, "")
        assert time.monotonic() - asked < 4
