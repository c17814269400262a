"""``make bench``: all measurements in one run, under twenty minutes on two cores."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from benchmarks import contest, latency, members, memory, partitions, plot, profile, report, side_by_side, stages
from benchmarks.backlog import Backlogs
from benchmarks.before import NoHistory, found_in, tree
from benchmarks.contenders.shapes import SHAPES, SHIPPED, WIDE
from benchmarks.figures import Figures
from benchmarks.machine import Load, described
from benchmarks.plans import PROGRAM, dead_letter_topic, others_installed, set_up
from benchmarks.stack import CACHE, ROOT, Stack, forget, running

EVENTS = 1_000_000
_PARTS = (*SHAPES, "payloads", "chunks", "stages", "profile", "latency", "memory", "members", "partitions")
_SPREAD = {"memory", "partitions"}  # these need backlogs with few partitions and with many
_DOCUMENT, _PICTURE = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
_LOG = CACHE / "contender.log"
_QUIET = 20.0  # events a second: a load that fills no batch
_HALF_LOAD = 15_000.0  # events a second, if no throughput was measured in the same run
_SECONDS = 30.0  # of a run with the slow endpoint
# The other shapes' share of the shipped contract's events and runs: their events cost several times as much.
_OTHERS_EVENTS, _OTHERS_REPEATS = 0.3, 0.6


def main(arguments: argparse.Namespace) -> None:
    """Run what was asked for; the document is written only by a whole run."""
    begun, load = time.monotonic(), Load()
    others_installed()
    if arguments.forget:
        forget()
    figures = Figures(described(), arguments.events)
    with tree() as before:
        found = found_in(before, "stream_capi")
        assert found.is_relative_to(before), f"the commit before would be measured with the program in {found}"
        _without_neighbours(figures, arguments, before)
        with running() as stack:
            _measure(stack, figures, arguments, before)
    figures.minutes, figures.load = (time.monotonic() - begun) / 60, load.summary()
    print(report.text(figures))
    if set(arguments.only) == set(_PARTS) and arguments.events == EVENTS and not arguments.no_write:
        report.write(_DOCUMENT, figures)
        _PICTURE.write_text(plot.svg(figures))
        print(f"\nwritten: {_DOCUMENT.relative_to(ROOT)}, {_PICTURE.relative_to(ROOT)}")


def _without_neighbours(figures: Figures, arguments: argparse.Namespace, before: Path) -> None:
    """Measure what needs no broker, before one is started on the same cores."""
    works = [("payloads", side_by_side.RUN)] if "payloads" in arguments.only else []
    works += [("intake", chunk) for chunk in side_by_side.CHUNKS] if "chunks" in arguments.only else []
    for shape in SHAPES if works else ():
        for (work, chunk), pairs in side_by_side.measured(shape, before, works).items():
            if work == "payloads":
                figures.payloads[shape] = pairs
            else:
                figures.chunks[shape, chunk] = pairs
            _say(f"{shape} {work}, {chunk} a chunk: {pairs.cost} of the commit before's time")


def _measure(stack: Stack, figures: Figures, arguments: argparse.Namespace, before: Path) -> None:
    backlogs = Backlogs(stack, CACHE / "backlog.json")
    dead_letter_topic(stack)
    for shape, (events, repeats) in _sizes(arguments).items():
        if shape in arguments.only:
            figures.contests[shape] = contest.measured(stack, backlogs, shape, events, repeats, before, _LOG, _say)
    shipped = figures.contests.get(SHIPPED.name)
    throughput = shipped.per_second(PROGRAM) if shipped else 2 * _HALF_LOAD
    if "stages" in arguments.only:
        large = backlogs.of(arguments.events)
        figures.stages = stages.measured(stack, large, set_up(stack, large), throughput)
        _say("stages measured")
    if "profile" in arguments.only:
        for shape in (SHIPPED.name, WIDE.name):
            backlog = backlogs.of(_sizes(arguments)[shape][0], shape=shape)
            figures.profiles[shape] = profile.measured(stack, backlog)
            _say(f"{shape}: profile taken")
    if "latency" in arguments.only:
        templates = backlogs.templates(SHIPPED.name)
        for name, rate in {"half load": throughput / 2, "a quarter": throughput / 4, "quiet": _QUIET}.items():
            figures.latencies[name] = latency.measured(stack, templates, rate, 15.0, _LOG)
            _say(f"latency, {name}: p99 {figures.latencies[name].p99:.0f} ms")
    _of_partitions(stack, figures, arguments, backlogs)


def _of_partitions(stack: Stack, figures: Figures, arguments: argparse.Namespace, backlogs: Backlogs) -> None:
    """Measure what changes with the number of partitions and of members."""
    spread = [backlogs.of(arguments.events, count) for count in partitions.OF_A_TOPIC if _SPREAD & set(arguments.only)]
    if "memory" in arguments.only:
        figures.memory = memory.measured(stack, spread, _SECONDS, _LOG)
        _say(f"memory: peaks of {', '.join(f'{one.peak:.0f} MB' for one in figures.memory.values())}")
    if "members" in arguments.only:
        figures.members = members.measured(stack, backlogs.of(arguments.events), _LOG)
        _say("members measured")
    if "partitions" in arguments.only:
        figures.partitions = partitions.measured(stack, spread, _LOG)
        _say("partitions measured")


def _sizes(arguments: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """For each shape, the events of its backlog and the runs of each contender."""
    others = int(arguments.events * _OTHERS_EVENTS), max(1, round(arguments.repeats * _OTHERS_REPEATS))
    return {shape: (arguments.events, arguments.repeats) if shape == SHIPPED.name else others for shape in SHAPES}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the backlog (default: a million)")
    parser.add_argument("--repeats", type=int, default=5, help="alternating runs of each contender")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="measure these alone")
    parser.add_argument("--forget", action="store_true", help="produce the backlogs anew")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    # At SIGTERM, end the processes that were started: a contender left running would disturb the next run.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main(_parsed())
    except NoHistory as error:
        sys.exit(f"benchmarks: {error}")
