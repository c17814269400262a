"""The figures as tables for docs/scaling.md, each with its slope: the cost of one partition, source, pixel or hour more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.growth import cases, lag
from benchmarks.growth.day import Held

PARTS = ("partitions", "sources", "pixels", "lag", "day")
SHOWN_HOURS = (1, 2, 6, 12, 18, 24, 30)


def marks(part: str) -> tuple[str, str]:
    """The two marks in the document between which a part's table is written."""
    return f"<!-- growth, {part}: written by `make bench-growth ONLY={part}` -->", f"<!-- end of growth, {part} -->"


class _Column(NamedTuple):
    """``small``: the unit of a thousandth, in which a slope is given."""

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


def slope(fewer: tuple[int, float], more: tuple[int, float]) -> float:
    """The cost of one more, from the values at two counts."""
    return (more[1] - fewer[1]) / (more[0] - fewer[0])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def of_cases(what: str, found: Mapping[int, cases.Row]) -> str:
    """A row for each count of what grows, and then rows for the cost of one more between two counts."""
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
    return _table([what, *(column.head for column in _COLUMNS)], rows)


def of_lags(lags: Mapping[int, lag.Row]) -> str:
    """A row for each lag."""
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
    return _table(head, rows)


def of_hours(hours: Sequence[Held]) -> str:
    """What is held after some of the hours, and what each hour of the last half added."""
    rows = [
        [f"{hour}", f"{held.objects:,}", f"{held.bytes / 1e3:,.0f} kB"]
        for hour, held in enumerate(hours, 1)
        if hour in SHOWN_HOURS
    ]
    half = len(hours) // 2
    before, after, passed = hours[half - 1], hours[-1], len(hours) - half
    objects, size = (after.objects - before.objects) / passed, (after.bytes - before.bytes) / passed
    rows.append([f"each hour of the last {passed}", f"{objects:+,.1f}", f"{size:+,.0f} B"])
    return _table(("hour", "objects held", "their bytes"), rows)
