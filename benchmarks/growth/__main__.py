"""``make bench-growth``: each part measures one thing that grows, and writes its own table into docs/scaling.md."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Mapping

import structlog

from benchmarks import report
from benchmarks.growth import cases, day, lag, table
from benchmarks.growth.cases import Case
from benchmarks.growth.events import Events, kept
from benchmarks.machine import Load, described
from benchmarks.plans import dead_letter_topic
from benchmarks.stack import ROOT, Stack, running

_CASES: Mapping[str, Mapping[int, Case]] = {
    "partitions": {case.partitions: case for case in cases.PARTITIONS},
    "sources": {case.sources: case for case in cases.SOURCES},
    "pixels": {case.pixels: case for case in cases.PIXELS},
}
_DOCUMENT = ROOT / "docs" / "scaling.md"
_FOLDER = ROOT / ".cache" / "growth"


def main(arguments: argparse.Namespace) -> None:
    """Measure the parts that were asked for, each on a broker that was just started."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    known: dict[Case, cases.Row] = {}  # one case belongs to three parts, and is measured once
    for part in arguments.only:
        begun, load = time.monotonic(), Load()
        found = _day() if part == "day" else _with_neighbours(part, known)
        minutes = (time.monotonic() - begun) / 60
        text = f"Measured on {described()}, in {minutes:.0f} minutes; {load.summary()}.\n\n{found}"
        print(text, flush=True)
        if not arguments.no_write:
            _DOCUMENT.write_text(report.placed(_DOCUMENT.read_text(), text, *table.marks(part)))


def _day() -> str:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return table.of_hours(day.measured(table.SHOWN_HOURS[-1]))


def _with_neighbours(part: str, known: dict[Case, cases.Row]) -> str:
    with running(_FOLDER / "broker") as stack:
        return _measure(stack, part, known)


def _measure(stack: Stack, part: str, known: dict[Case, cases.Row]) -> str:
    events = Events(stack.registry.url)
    dead_letter_topic(stack)
    if part == "lag":
        lags = {}
        for records in lag.RECORDS:
            backlog = kept(stack, events, records, lag.PARTITIONS, _FOLDER / "lags.json")
            lags[records] = lag.measured(stack, backlog, _FOLDER)
            _say(f"{part}, {records:,}: {lags[records]}")
        return table.of_lags(lags)
    for count, case in _CASES[part].items():
        if case not in known:
            known[case] = cases.measured(stack, events, case, _FOLDER)
        _say(f"{part}, {count:,}: {known[case]}")
    return table.of_cases(part, {count: known[case] for count, case in _CASES[part].items()})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=table.PARTS, default=list(table.PARTS), help="measure these alone")
    parser.add_argument("--no-write", action="store_true", help="leave docs/scaling.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main(_parsed())
