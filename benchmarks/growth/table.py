"""The figures as tables for docs/scaling.md, each with its slope: what one more of what grows costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from benchmarks.growth import cases, lag
from benchmarks.growth.cases import BASE, PARTITIONS, PIXELS, SOURCES, Case
from benchmarks.growth.day import Held

BEGIN, END = "<!-- growth: written by `make bench-growth` -->", "<!-- end of growth -->"
SHOWN_HOURS = (1, 2, 6, 12, 24, 36, 48)


@dataclass(slots=True)
class Growth:
    """All that a run has found out; a part that did not run is empty."""

    machine: str
    cases: dict[Case, cases.Row] = field(default_factory=dict)
    lags: dict[int, lag.Row] = field(default_factory=dict)  # by the records
    hours: list[Held] = field(default_factory=list)
    minutes: float = 0.0
    load: str = ""


class _Column(NamedTuple):
    """``small``: the unit of a thousandth, in which a slope is told."""

    head: str
    unit: str
    small: str
    value: Callable[[cases.Row], float]
    digits: int = 1


_COLUMNS = (
    _Column("resident", "MB", "kB", lambda row: row.resident / 1e6, 0),
    _Column("start", "s", "ms", lambda row: row.start_seconds),
    _Column("its CPU", "s", "ms", lambda row: row.start_cpu),
    _Column("an event's CPU", "µs", "ns", lambda row: row.event_cpu * 1e6),
    _Column("rebalance", "s", "ms", lambda row: row.rebalance_seconds),
    _Column("its CPU", "s", "ms", lambda row: row.rebalance_cpu),
    _Column("idle CPU in a minute", "s", "ms", lambda row: row.idle_cpu, 2),
    _Column("of it the client's", "s", "ms", lambda row: row.idle_client_cpu, 2),
    _Column("`/metrics`, CPU", "ms", "µs", lambda row: row.metrics_cpu * 1e3),
    _Column("its size", "kB", "B", lambda row: row.metrics_bytes / 1e3, 0),
    _Column("`/status`, CPU", "ms", "µs", lambda row: row.status_cpu * 1e3),
    _Column("its size", "kB", "B", lambda row: row.status_bytes / 1e3, 0),
)


def text(growth: Growth) -> str:
    """All tables in Markdown."""
    load = f"; {growth.load}" if growth.load else ""
    parts = [f"Measured on {growth.machine}, in {growth.minutes:.0f} minutes{load}."]
    for heading, tried in (
        ("Partitions", {case.partitions: case for case in PARTITIONS}),
        (f"Sources, of {BASE.partitions} partitions in all", {case.sources: case for case in SOURCES}),
        (f"Pixels, of a source with {BASE.partitions} partitions", {case.pixels: case for case in PIXELS}),
    ):
        if growth.cases.keys() >= set(tried.values()):
            parts.append(_cases(heading, {count: growth.cases[case] for count, case in tried.items()}))
    if growth.lags:
        parts.append(_lags(growth.lags))
    if growth.hours:
        parts.append(_hours(growth.hours))
    return "\n\n".join(parts)


def slope(fewer: tuple[int, float], more: tuple[int, float]) -> float:
    """What one more costs, between two counts with their values."""
    return (more[1] - fewer[1]) / (more[0] - fewer[0])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cases(heading: str, found: dict[int, cases.Row]) -> str:
    what = heading.partition(",")[0].lower()
    rows = [
        [f"{count:,}", *(f"{column.value(row):,.{column.digits}f} {column.unit}" for column in _COLUMNS)]
        for count, row in found.items()
    ]
    for fewer, more in pairwise(found):
        of = [
            f"{1e3 * slope((fewer, column.value(found[fewer])), (more, column.value(found[more]))):,.2f} {column.small}"
            for column in _COLUMNS
        ]
        rows.append([f"each of {fewer:,} to {more:,}", *of])
    return f"### {heading}\n\n{_table([what, *(column.head for column in _COLUMNS)], rows)}"


def _lags(lags: dict[int, lag.Row]) -> str:
    rows = [
        [
            f"{records:,}",
            f"{row.left:,}",
            f"{row.first_commit:.1f} s",
            f"{row.peak / 1e6:.0f} MB",
            f"{row.end / 1e6:.0f} MB",
            f"{row.event_cpu * 1e6:.1f} µs",
            f"{row.stop_seconds:.1f} s",
        ]
        for records, row in lags.items()
    ]
    head = ("lag", "still to go at the stop", "start to first commit", "peak", "at the end", "an event's CPU", "stop")
    return f"### Lag, of {lag.PARTITIONS} partitions\n\n{_table(head, rows)}"


def _hours(hours: Sequence[Held]) -> str:
    rows = [
        [f"{hour}", f"{held.objects:,}", f"{held.bytes / 1e3:,.0f} kB"]
        for hour, held in enumerate(hours, 1)
        if hour in SHOWN_HOURS
    ]
    last, half = hours[-1], hours[len(hours) // 2 - 1]
    rows.append([f"each hour of the last {len(hours) - len(hours) // 2}", *_an_hour(half, last, len(hours) // 2)])
    return f"### Hours\n\n{_table(('hour', 'objects held', 'their bytes'), rows)}"


def _an_hour(before: Held, after: Held, hours: int) -> tuple[str, str]:
    return f"{(after.objects - before.objects) / hours:+,.1f}", f"{(after.bytes - before.bytes) / hours:+,.0f} B"
