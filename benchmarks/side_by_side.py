"""From bytes to payloads, the program and the commit before in turn. Each has a process; one waits while the other works."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import inside
from benchmarks.before import WORKER, search_path
from benchmarks.figures import Pairs
from benchmarks.stack import ROOT, environment

RUN = 1000  # records that the program takes in at once when it works off a backlog
CHUNKS = (1, 5, 20, 100, 1000)
_EVENTS = 10_000
_ROUNDS, _REPEATS = 3, 4


class Side:
    """One of the two processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._ask, self._answers = process.stdin, process.stdout
        self.digest = self._line()

    def cost(self, work: str, chunk: int) -> float:
        """Microseconds of processor time for an event."""
        self._ask.write(f"{work} {chunk}\n")
        self._ask.flush()
        return float(self._line())

    def _line(self) -> str:
        line = self._answers.readline()
        assert line, "a process that maps events has ended; its error is above"
        return line.strip()


@contextmanager
def sides(shape: str, before: Path, events: int = _EVENTS) -> Iterator[tuple[Side, Side]]:
    """The commit before and the program, with the same events of a shape.

    Raises AssertionError if the two make different payloads.
    """
    with ExitStack() as running:
        values = Path(running.enter_context(tempfile.TemporaryDirectory()), "values.json")
        values.write_text(
            json.dumps({topic: [one.hex() for one in of] for topic, of in inside.values(events, shape).items()})
        )
        both = [Side(running.enter_context(_started(at, shape, values))) for at in (before, ROOT)]
        assert both[0].digest == both[1].digest, f"the payloads of {shape} records aren't those of the commit before"
        yield both[0], both[1]


@contextmanager
def _started(at: Path, shape: str, values: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", WORKER, "--shape", shape, "--values", str(values)]
    with subprocess.Popen(
        command,
        cwd=at,
        env=environment(search_path(at)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process  # ends when its standard input is closed


def measured(
    shape: str, before: Path, works: Sequence[tuple[str, int]], rounds: int = _ROUNDS, events: int = _EVENTS
) -> dict[tuple[str, int], Pairs]:
    """Time each work (its name, and the records of a chunk) in both processes in turn, each time the other one first.

    Each round starts new processes: a process's memory layout changes its speed by a few percent for its whole life.
    """
    found = {work: Pairs([], []) for work in works}
    for _ in range(rounds):
        with sides(shape, before, events) as both:
            for (name, chunk), pairs in found.items():
                for repeat in range(_REPEATS):
                    for at in (0, 1) if repeat % 2 else (1, 0):
                        pairs[at].append(both[at].cost(name, chunk))
    return found
