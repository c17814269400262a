"""Run the tests of the real broker repeatedly while busy loops keep the machine's cores occupied.

If a test sometimes fails here, it or the program waits for a fixed time instead of an event. Each round's failures are
printed; a failure in any round makes the exit code 1. The busy loops are Python processes, so nothing has to be installed
for them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_MARKED = "real and not long and not matrix and not repeat and not engine"  # those of `make test`


class Round(NamedTuple):
    """The results of one round. ``status`` is pytest's exit code: 0 if all passed."""

    status: int
    tests: int
    failed: tuple[str, ...]
    seconds: float
    load: float


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep ``loops`` processes busy, each for one core."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def run_round(marked: str, arguments: list[str]) -> Round:
    """Run the selected tests once and read the results from pytest's own report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            marked,
            "-q",
            "--no-header",
            f"--junit-xml={report}",
            *arguments,
        ]
        begun = time.monotonic()
        status = subprocess.run(command, check=False).returncode
        tests, failed = read_report(report)
    return Round(status, tests, failed, time.monotonic() - begun, os.getloadavg()[0])


def read_report(report: Path) -> tuple[int, tuple[str, ...]]:
    """Count the tests of a JUnit report and name those that failed. A missing report has none."""
    if not report.exists():
        return 0, ()
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 -- pytest wrote it a moment ago
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return len(cases), tuple(f"{case.get('classname')}::{case.get('name')}" for case in failed)


def held(rounds: list[Round]) -> bool:
    """Whether every round ran tests and all of them passed."""
    return bool(rounds) and all(each.status == 0 and each.tests and not each.failed for each in rounds)


def main(arguments: list[str] | None = None) -> int:
    """Run the rounds and print one line for each. Options that are not its own are pytest's."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__, allow_abbrev=False)
    parser.add_argument("--times", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--loops", type=int, default=4, help="busy processes beside the tests (default 4)")
    parser.add_argument("--marked", default=_MARKED, help=f"pytest's -m expression (default {_MARKED})")
    options, rest = parser.parse_known_args(arguments)
    rounds: list[Round] = []
    with busy(options.loops):
        for _ in range(options.times):
            rounds.append(run_round(options.marked, rest))
            print(_line(len(rounds), rounds[-1]), flush=True)
    print("\n".join(_line(number, each) for number, each in enumerate(rounds, 1)))
    return 0 if held(rounds) else 1


def _line(number: int, result: Round) -> str:
    names = "".join(f"\n  {name}" for name in result.failed)
    return (
        f"round {number}: {result.tests} tests, {len(result.failed)} failed, pytest ended with {result.status}, "
        f"{result.seconds:.0f} s, load {result.load:.1f}{names}"
    )


if __name__ == "__main__":
    sys.exit(main())
