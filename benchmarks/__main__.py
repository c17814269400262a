"""``make bench``: everything in one run, under ten minutes on two cores."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import agree, latency, members, memory, partitions, plot, profile, report, stages
from benchmarks.backlog import Backlogs
from benchmarks.contenders.shapes import SHIPPED
from benchmarks.figures import Figures
from benchmarks.machine import described
from benchmarks.measure import measured
from benchmarks.plans import BARE, LIBRARY, NAMES, ORDINARY, PROGRAM, dead_letter_topic, others_installed, plan, set_up
from benchmarks.stack import CACHE, ROOT, Stack, forget, running

EVENTS = 1_000_000
_SLOW = 5  # how many times smaller the backlog is that the slower contenders are given
_PARTS = ("ratios", "stages", "profile", "latency", "memory", "members", "partitions")
_DOCUMENT, _PICTURE = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
_LOG = CACHE / "contender.log"
_QUIET = 20.0  # events a second of a load that fills no batch
_HALF_LOAD = 15_000.0  # where no throughput was measured in the same run


def main(arguments: argparse.Namespace) -> None:
    """Run what was asked for; the document is written only by a whole run."""
    begun = time.monotonic()
    others_installed()
    if arguments.forget:
        forget()
    with running() as stack:
        figures = _measure(stack, arguments)
    figures.minutes = (time.monotonic() - begun) / 60
    print(report.text(figures))
    if set(arguments.only) == set(_PARTS) and arguments.events == EVENTS and not arguments.no_write:
        report.write(_DOCUMENT, figures)
        _PICTURE.write_text(plot.svg(figures))
        print(f"\nwritten: {_DOCUMENT.relative_to(ROOT)}, {_PICTURE.relative_to(ROOT)}")


def _measure(stack: Stack, arguments: argparse.Namespace) -> Figures:
    backlogs_of = Backlogs(stack, CACHE / "backlog.json")
    templates = backlogs_of.templates(SHIPPED.name)
    dead_letter_topic(stack)
    sample = backlogs_of.of(agree.EVENTS)
    start = agree.digests(stack, sample, [plan(name, stack, sample) for name in NAMES], _LOG, _say)
    small = backlogs_of.of(arguments.events // _SLOW)
    large = backlogs_of.of(arguments.events)
    figures = Figures(described(), arguments.events, start)
    backlogs = {PROGRAM: large, BARE: large, ORDINARY: small, LIBRARY: small}
    if "ratios" in arguments.only:
        for repeat in range(arguments.repeats):
            # There and back again, so that none has the same one before it each time.
            for name, backlog in list(backlogs.items())[:: -1 if repeat % 2 else 1]:
                run = measured(stack, plan(name, stack, backlog), _LOG)
                figures.runs.setdefault(name, []).append(run)
                took = 1e6 * run.cpu / run.events
                _say(f"{repeat + 1}/{arguments.repeats} {name}: {took:.1f} µs/event, {run.per_second:,.0f} events/s")
    throughput = figures.per_second(PROGRAM) if figures.runs else 2 * _HALF_LOAD
    if "stages" in arguments.only:
        figures.stages = stages.measured(stack, large, set_up(stack, large), throughput)
        _say("stages measured")
    if "profile" in arguments.only:
        figures.profile = profile.measured(stack, large)
        _say("profile taken")
    if "latency" in arguments.only:
        for name, rate, seconds in (("half load", throughput / 2, 15.0), ("quiet", _QUIET, 15.0)):
            figures.latencies[name] = latency.measured(stack, templates, rate, seconds, _LOG)
            _say(f"latency, {name}: p99 {figures.latencies[name].p99:.0f} ms")
    if "memory" in arguments.only:
        figures.memory = memory.measured(stack, large, 30.0, _LOG)
        _say(f"memory: peak {figures.memory.peak:.0f} MB")
    if "members" in arguments.only:
        figures.members = members.measured(stack, large, _LOG)
        _say("members measured")
    if "partitions" in arguments.only:
        wide = [backlogs_of.of(partitions.EVENTS, count) for count in partitions.OF_A_TOPIC]
        figures.partitions = partitions.measured(stack, wide, _LOG)
        _say("partitions measured")
    return figures


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the backlog (default: a million)")
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each contender")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="measure these alone")
    parser.add_argument("--forget", action="store_true", help="produce the backlog anew")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    main(_parsed())
