"""Console blocks of the documents: their commands, the output shown, and a shell to type the commands into."""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil

from tests.stack.waiting import until

CTRL_C = "^C"
# What differs from run to run, and its replacement on both sides of a comparison. Pages show "…" for anything else that
# may differ.
_VOLATILE = (
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r"\b1[6-9]\d{11}\b", "EPOCH-MS"),
    (r"\b(?:127\.0\.0\.1|localhost):\d+", "HOST:PORT"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\b[0-9a-f]{10}\b", "ID"),  # a replay's id
    (r"\(schema id \d+\)", "(schema id N)"),
    (r"(?<=\])@\d+", "@OFFSET"),
    (r"\b\d+(?:\.\d+)? (?:ms|s|events/s)\b", "N UNIT"),
    (r"\b\d+ needed at most, \d+ allowed", "N needed at most, N allowed"),
    (r"─+", "─"),
    (r"[ \t]+", " "),  # columns are as wide as their widest cell
    (r" ?… ?", "…"),
    (r" $", ""),
    (r"\n{3,}", "\n\n"),
)
_VOLATILE_ALL = [(re.compile(pattern, re.MULTILINE), stands) for pattern, stands in _VOLATILE]


class Step(NamedTuple):
    """A command and its output. An empty command continues the output of an earlier block's command."""

    command: str
    output: str


def steps(text: str) -> list[Step]:
    """The commands of a console block. ``$ `` begins a command; a backslash at the end of a line continues it."""
    found: list[Step] = []
    continued = False
    for line in text.splitlines():
        if continued:
            found[-1] = Step(f"{found[-1].command}\n{line.removeprefix('> ')}", "")
            continued = line.endswith("\\")
        elif line.startswith("$ "):
            found.append(Step(line[2:], ""))
            continued = line.endswith("\\")
        else:
            last = found.pop() if found else Step("", "")
            found.append(Step(last.command, f"{last.output}{line}\n"))
    return found


def normal(text: str) -> str:
    """A text with its volatile parts replaced."""
    for pattern, stands in _VOLATILE_ALL:
        text = pattern.sub(stands, text)
    return text.strip("\n") + "\n"


def matches(shown: str, printed: str) -> bool:
    """Whether the printed text is the one shown, where ``…`` stands for any text."""
    want = normal(shown).replace("…", "...")
    return doctest.OutputChecker().check_output(want, normal(printed), doctest.ELLIPSIS)


class Shell:
    """A bash into which commands are typed one after the other; its output is kept."""

    def __init__(self, folder: Path, scratch: Path, env: Mapping[str, str]) -> None:
        self.status = 0
        self._scratch = scratch
        scratch.mkdir(parents=True)
        self._log = scratch / "output"
        self._read = self._begun = 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                # Handle Ctrl-C as in a terminal, even if the tests run in the background with SIGINT ignored.
                ["env", "--default-signal=INT", "bash", "--noprofile", "--norc"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(env),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(AssertionError, psutil.NoSuchProcess):  # let a member leave its group, if it can
            if error is None and self._begun and not self.ended:
                self.interrupt()
                until(lambda: self.ended, 5, "the end of the last command")
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(10)

    def start(self, command: str) -> None:
        """Type a command. It sees the status of the one before it as ``$?``."""
        assert self._process.stdin is not None
        self._begun += 1
        self._read = self._log.stat().st_size
        line = f"(exit {self.status})\n{{ {command}\n}} </dev/null\nprintf '%s\\n' $? > {self._done}\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    @property
    def output(self) -> str:
        """The output since the last command was typed."""
        return self._log.read_bytes()[self._read :].decode(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether the last command has ended."""
        return self._done.exists() and self._done.read_text().endswith("\n")

    def wait(self, seconds: float, what: str) -> None:
        """Wait until the last command has ended, and keep its exit code."""
        until(lambda: self.ended, seconds, what)
        self.status = int(self._done.read_text())

    def interrupt(self) -> None:
        """Ctrl-C: interrupt the running command, not the shell."""
        bash = psutil.Process(self._process.pid)
        until(lambda: self.ended or bool(bash.children()), 10, "a command to interrupt")
        for child in bash.children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGINT)

    @property
    def _done(self) -> Path:
        return self._scratch / f"status-{self._begun}"
