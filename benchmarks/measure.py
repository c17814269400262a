"""One run of one contender, watched from outside: the time that the kernel counts for its process, and what it delivered.

The processor time is that of the whole process, from its start until all is delivered and, for a contender that promises it,
committed. The cost of the start alone is known from a run over a few events, and is subtracted. A reading taken during the
run would favour a contender that has many events in hand at that moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.stack import ROOT, Stack, environment

_POLL_SECONDS = 0.02
_PATIENCE = 300.0  # without one more event, after which a contender counts as stuck


class Run(NamedTuple):
    """The figures of one run: processor seconds, events in a second of wall-clock time after the warm-up, peak bytes."""

    events: int
    cpu: float
    per_second: float
    peak_bytes: int
    first_commit: float | None = None


class Plan(NamedTuple):
    """What to run, and until when. ``done``: whether, after ``events`` are delivered, the rest of the promises is kept, too.

    ``warm``: the events at the start that don't count for the rate. ``committed``: whether there is a first commit.
    """

    name: str
    command: Sequence[str]
    events: int
    warm: int
    env: dict[str, str]
    done: Callable[[], bool] = lambda: True
    committed: Callable[[], bool] | None = None
    folder: Path = ROOT


class Watched:
    """A contender's process and its readings."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self.begun = time.monotonic()
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                plan.command,
                cwd=plan.folder,
                env=environment(plan.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._process = psutil.Process(self._popen.pid)
        self._log = log
        self._name = plan.name
        self.whole_cpu: float | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    def cpu(self) -> float:
        """User and system time so far, in seconds."""
        self.check()
        times = self._process.cpu_times()
        return times.user + times.system

    def check(self) -> None:
        """Raise AssertionError with the process's output if it has ended."""
        if self._popen.poll() is not None:
            self.whole_cpu = float("nan")  # unknown: ``poll`` has reaped the process
            tail = self._log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"{self._name} ended with {self._popen.returncode}:\n{tail}")

    def resident(self) -> int:
        """Resident bytes now."""
        return int(self._process.memory_info().rss)

    def peak(self) -> int:
        """The most resident bytes so far. Not from ``ru_maxrss``, which includes the parent's size at the fork."""
        self.check()
        status = Path(f"/proc/{self._popen.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def end(self) -> float:
        """Send SIGTERM, and SIGKILL after half a minute. Returns the whole run's processor seconds."""
        self._popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while True:
            pid, _, usage = os.wait4(self._popen.pid, os.WNOHANG)
            if pid:
                self._popen.returncode = 0  # already reaped: the Popen object must not wait for it again
                self.whole_cpu = usage.ru_utime + usage.ru_stime
                return self.whole_cpu
            if time.monotonic() > deadline:
                self._popen.kill()
            time.sleep(_POLL_SECONDS)


@contextmanager
def watching(plan: Plan, log: Path) -> Iterator[Watched]:
    """A contender's process, which is stopped at the end."""
    watched = Watched(plan, log)
    try:
        yield watched
    finally:
        if watched.whole_cpu is None:
            watched.end()


def measured(stack: Stack, plan: Plan, log: Path) -> Run:
    """Run a contender until it has delivered ``plan.events`` and kept its promises."""
    stack.endpoint.reset()
    with watching(plan, log) as watched:
        first_commit = None
        if plan.committed is not None:
            _until(watched, plan.committed)
            first_commit = time.monotonic() - watched.begun
        before, begun = _delivered(stack, watched, plan.warm), time.monotonic()
        events = _delivered(stack, watched, plan.events)
        _until(watched, plan.done)
        per_second, peak = (events - before) / (time.monotonic() - begun), watched.peak()
        return Run(events, watched.end(), per_second, peak, first_commit)


def _delivered(stack: Stack, watched: Watched, events: int) -> int:
    """Wait until the endpoint has this many events; returns how many it has."""
    last, since = -1, time.monotonic()
    while (delivered := stack.endpoint.events()) < events:
        if delivered > last:
            last, since = delivered, time.monotonic()
        assert time.monotonic() - since < _PATIENCE, f"stuck at {delivered} of {events} events"
        watched.check()
        time.sleep(_POLL_SECONDS)
    return delivered


def _until(watched: Watched, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "what was promised didn't happen"
        watched.check()
        time.sleep(_POLL_SECONDS)
