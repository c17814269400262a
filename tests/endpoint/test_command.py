"""``stream-capi mock-endpoint``, run as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from tests.endpoint.events import batch, lead

pytestmark = pytest.mark.slow

KEY = "canary-key"
SECONDS = 60


class Running:
    """The command in a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        return self._lines.get(timeout=SECONDS)

    def stop(self, number: signal.Signals) -> tuple[int, list[str]]:
        """Send the signal; returns the exit code, and the lines that were printed from then on."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        rest = []
        while not self._lines.empty():
            rest.append(self._lines.get())
        return code, rest


@contextmanager
def running(*arguments: str, **environ: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "stream_capi", "mock-endpoint", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream_capi", "mock-endpoint", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def post(url: str, body: bytes, authorization: str = f"Bearer {KEY}") -> int:
    headers: Mapping[str, str] = {"Content-Type": "application/json", "Authorization": authorization}
    request = urllib.request.Request(f"{url}?pixel_id=p", body, dict(headers))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.cases(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_tells_the_totals(number: signal.Signals) -> None:
    with running() as program:
        said = program.line()
        url = said.split()[2].rstrip(",")
        assert said.startswith("listening at http://127.0.0.1:")
        assert post(url, batch(lead(), lead())) == 200
        assert post(url, batch(lead(), lead(), lead(esi="canary"))) == 400
        code, lines = program.stop(number)
    output = "\n".join(lines)
    assert code == 0
    assert [line.split() for line in lines if "events accepted" in line or "events refused" in line] == [
        ["│", "events", "accepted", "│", "2", "│"],
        ["│", "events", "refused", "│", "3", "│"],
    ]
    assert "answered 400" in output
    assert "violation: request 2: events[2].user_data.esi: must be one of web, app" in output
    assert "canary" not in output


@pytest.mark.repeat(of="test_it_serves_until_a_signal_and_tells_the_totals")
def test_in_json_it_says_where_it_listens_and_what_it_met(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text("[[rules]]\nfirst = 1\nstatus = 503\n")
    with running("--json", "--script", str(script), "--key-env", "THE_KEY", THE_KEY=KEY) as program:
        url = json.loads(program.line())["listening"]
        answers = [post(url, batch(lead())), post(url, batch(lead())), post(url, batch(lead()), "Bearer other")]
        code, lines = program.stop(signal.SIGTERM)
    assert answers == [503, 200, 401]
    assert code == 0
    totals: dict[str, Any] = json.loads("".join(lines))
    assert totals == {
        "requests": 3,
        "events_accepted": 1,
        "events_refused": 0,
        "answers": {"200": 1, "401": 1, "503": 1},
        "violations": 0,
        "first_violations": [],
    }


@pytest.mark.repeat(of="test_it_serves_until_a_signal_and_tells_the_totals")
def test_on_a_terminal_the_counts_are_live() -> None:
    terminal, side = os.openpty()
    command = [sys.executable, "-m", "stream_capi", "mock-endpoint", "--port", "0"]
    with subprocess.Popen(command, stdout=side, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"}) as process:
        os.close(side)
        seen = ""
        try:
            while "until Ctrl-C" not in seen:
                seen += os.read(terminal, 4096).decode()
            url = seen.split("listening at ")[1].split(",")[0]
            assert post(url, batch(lead())) == 200
            while "answered 200" not in seen:  # the test's own time limit is the deadline
                seen += os.read(terminal, 4096).decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
            os.close(terminal)


@pytest.mark.repeat(of="test_it_serves_until_a_signal_and_tells_the_totals")
def test_a_port_in_use_is_one_line_and_exit_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ended("--port", str(port))
    assert done.returncode == 2
    assert done.stderr == f"stream-capi: port {port} on 127.0.0.1 is in use; choose another\n"


@pytest.mark.repeat(of="test_it_serves_until_a_signal_and_tells_the_totals")
def test_a_faulty_script_and_a_missing_key_are_told_and_exit_2(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text("[[rules]]\nstatus = 1\n[[rules]]\nfirst = 3\n")
    done = ended("--script", str(script))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"stream-capi: {script}: rule 1: status: must be greater than or equal to 200",
        f"stream-capi: {script}: rule 2: does nothing: give it a status, a delay_ms, a body, a redirect, a hang, a reset, early or stray",
    ]
    done = ended("--key-env", "CANARY_UNSET")
    assert done.returncode == 2
    assert done.stderr == "stream-capi: --key-env names a variable that the environment lacks or leaves empty; set it\n"
    assert ended("--authorization", "basic").returncode == 2
