"""Running the commands as a user does, to their end or until a test stops them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from tests.integration.test_commands import assert_plain, command
from tests.program import KEY
from tests.scene import Scene
from tests.stack import Produced
from tests.stack.waiting import until

_ROOT = Path(__file__).parents[2]
_PROGRAM = (sys.executable, "-m", "stream_capi")
_ENV = {"PATH": os.defpath, "HOME": os.environ.get("HOME", "/"), "CAPI_TEST_KEY": KEY, "COLUMNS": "160"}


def configuration_of(scene: Scene, **sections: dict[str, Any]) -> str:
    """Write the scene's settings to a file, with the given sections' keys added; return its path."""
    settings = {**scene.settings}
    for section, keys in sections.items():
        settings[section] = {**settings.get(section, {}), **keys}
    path = scene.folder / "command.toml"
    path.write_text(tomli_w.dumps(settings))
    return str(path)


def run_command(scene: Scene, *words: str, code: int = 0, **sections: Any) -> subprocess.CompletedProcess[str]:
    """Run a command with the scene's settings; assert its exit code, and no traceback or personal data in the output."""
    done = command(*words, "--config", configuration_of(scene, **sections))
    assert_plain(done, code)
    for text in ("@example.com", *scene.secrets):
        assert text not in done.stdout + done.stderr, f"{text!r} stands in an output"
    return done


def run_for_json(scene: Scene, *words: str, code: int = 0, **sections: Any) -> Any:
    """Run a command with ``--json``; return what it prints, parsed."""
    return json.loads(run_command(scene, *words, "--json", code=code, **sections).stdout)


class Started:
    """A command that runs in the background. If it still runs at the end of the context, it is killed."""

    def __init__(self, scene: Scene, *words: str, **sections: dict[str, Any]) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed with the context
        self._process = subprocess.Popen(
            [*_PROGRAM, *words, "--config", configuration_of(scene, **sections)],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=_ROOT,
            env=_ENV,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            error.add_note(f"--- output of the command ---\n{self.output[-4000:]}")
        self.kill()
        self._output.close()

    @property
    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float = 60) -> int:
        """The exit code, once it ends."""
        until(lambda: not self.running, seconds, "the command's end")
        return self._process.wait()


def ids_of(events: list[Produced]) -> set[str]:
    """The ids of the events that can be delivered."""
    return {event.event_id for event in events if event.bad_code is None}


def only(events: list[Produced], topic: str, *, fits: Callable[[Produced], bool] = lambda _: True) -> list[Produced]:
    """The events of one topic for which ``fits`` is true."""
    return [event for event in events if event.topic == topic and fits(event)]


def on_a_terminal(scene: Scene, *words: str) -> tuple[int, str]:
    """Run a command to its end with a terminal as its standard error; return its exit code and what it wrote there."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [*_PROGRAM, *words, "--config", configuration_of(scene)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=its,
        cwd=_ROOT,
        env={**_ENV, "TERM": "xterm"},
    ) as process:
        os.close(its)
        seen = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                seen += part
        os.close(ours)
        return process.wait(30), seen.decode(errors="replace")
