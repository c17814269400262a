"""However the program ends, its process exits, even if a part of it blocks and holds the interpreter's lock."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from stream_capi import config
from stream_capi.workers.supervisor import of_worker
from tests.integration import locked_client
from tests.program import KEY, configuration
from tests.stack.process import free_ports
from tests.stack.waiting import until

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[2]
_DRAIN, _ALARM = 0.5, 3.0
_SLACK = 5.0  # for a busy machine


@contextmanager
def program(folder: Path, way: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program with a part that blocks; its output goes to a file in ``folder``."""
    env = {"PATH": os.defpath, "HOME": str(folder), "CAPI_TEST_KEY": KEY, "PYTHONUNBUFFERED": "1"}
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", locked_client.__name__, *words],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=_ROOT,
            env={**env, locked_client.WAY: way, "LOCKED_CONFIG": str(folder / "capi.toml")},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def settings(folder: Path) -> Path:
    schema = str(_ROOT / "schemas" / "lead.avsc")
    source = {"topic": "leads", "event": "generate_lead", "framing": "raw", "schema_file": schema}
    given: dict[str, Any] = configuration(
        "127.0.0.1:1", None, "http://127.0.0.1:1", "group", [source], "dead-letters", shutdown={"drain_seconds": _DRAIN}
    )
    file = folder / "capi.toml"
    file.write_text(tomli_w.dumps({**given, "admin": {"port": free_ports(1)[0]}}))
    return file


@pytest.mark.cases(1)
@pytest.mark.parametrize("way", ["lost", "thread_bug", "loop_bug", "job", "deserted", "signal"])
def test_a_way_out_on_which_the_interpreters_lock_is_held_for_good_ends_a_little_behind_the_deadline(
    way: str, tmp_path: Path
) -> None:
    file = settings(tmp_path)
    words = ("run", "--config", str(file), *(["--worker=1"] if way == "deserted" else []))

    def printed(text: str) -> bool:
        return text in (tmp_path / "output").read_text()

    with program(tmp_path, way, *words) as process:
        assert process.stdin is not None
        if way == "deserted":
            start = of_worker(config.load(file, {"CAPI_TEST_KEY": KEY}), 1, free_ports(1)[0], "token")
            process.stdin.write(pickle.dumps(start))
            process.stdin.flush()
        until(lambda: printed("started"), 30, "the start")
        if way == "deserted":
            process.stdin.close()
        if way == "signal":
            process.send_signal(signal.SIGTERM)
        until(lambda: printed("lock held"), 10, "the part that holds the lock")
        begun = time.monotonic()
        code = process.wait(_DRAIN + _ALARM + _SLACK)
        assert code == -signal.SIGALRM, "a shell calls it 142"
        assert time.monotonic() - begun < _DRAIN + _ALARM + 1
