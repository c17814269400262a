"""``make bench-growth``: everything in one run of some twenty minutes, written into docs/scaling.md."""

from __future__ import annotations

import argparse
import signal
import sys
import time

import structlog

from benchmarks import report
from benchmarks.growth import cases, day, lag, table
from benchmarks.growth.events import Events, kept
from benchmarks.machine import Load, described
from benchmarks.plans import dead_letter_topic
from benchmarks.stack import ROOT, Stack, running

_PARTS = ("partitions", "sources", "pixels", "lag", "day")
_CASES = {"partitions": cases.PARTITIONS, "sources": cases.SOURCES, "pixels": cases.PIXELS}
_DOCUMENT = ROOT / "docs" / "scaling.md"
_FOLDER = ROOT / ".cache" / "growth"


def main(arguments: argparse.Namespace) -> None:
    """Run what was asked for; the document is written only by a whole run."""
    begun, load = time.monotonic(), Load()
    growth = table.Growth(described())
    _FOLDER.mkdir(parents=True, exist_ok=True)
    if set(arguments.only) - {"day"}:
        with running(_FOLDER / "broker") as stack:
            _measure(stack, growth, arguments.only)
    if "day" in arguments.only:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        growth.hours = day.measured(table.SHOWN_HOURS[-1])
    growth.minutes, growth.load = (time.monotonic() - begun) / 60, load.summary()
    print(table.text(growth))
    if set(arguments.only) == set(_PARTS) and not arguments.no_write:
        text = report.placed(_DOCUMENT.read_text(), table.text(growth), table.BEGIN, table.END)
        _DOCUMENT.write_text(text)
        print(f"\nwritten: {_DOCUMENT.relative_to(ROOT)}")


def _measure(stack: Stack, growth: table.Growth, only: list[str]) -> None:
    events = Events(stack.registry.url)
    dead_letter_topic(stack)
    wanted = dict.fromkeys(case for part in only if part in _CASES for case in _CASES[part])
    for case in wanted:
        growth.cases[case] = cases.measured(stack, events, case, _FOLDER)
        _say(f"{case}: {growth.cases[case]}")
    for records in lag.RECORDS if "lag" in only else ():
        backlog = kept(stack, events, records, lag.PARTITIONS, _FOLDER / "lags.json")
        growth.lags[records] = lag.measured(stack, backlog, _FOLDER)
        _say(f"lag of {records:,}: {growth.lags[records]}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="measure these alone")
    parser.add_argument("--no-write", action="store_true", help="leave docs/scaling.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main(_parsed())
