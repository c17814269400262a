"""The tables that ``make bench-growth`` writes: a slope below each figure, at their marks in the document."""

from __future__ import annotations

import sys

import pytest

from benchmarks import report
from benchmarks.growth import lag, table
from benchmarks.growth.cases import BASE, PARTITIONS, PIXELS, SOURCES, Row
from benchmarks.growth.day import Held, reached
from tests.deploy.program import ROOT

DOCUMENT = (ROOT / "docs/scaling.md").read_text()


def row(n: int) -> Row:
    """A row for ``n`` partitions, sources or pixels: a constant part, and a part that grows with ``n``."""
    return Row(
        resident=100_000_000 + 20_000 * n,
        start_seconds=2.0 + 0.003 * n,
        start_cpu=1.0,
        rebalance_seconds=3.0,
        rebalance_cpu=2.0,
        idle_cpu=0.5 + 0.002 * n,
        idle_client_cpu=0.25,
        event_cpu=10e-6,
        metrics_cpu=0.001,
        metrics_bytes=40_000 + 200 * n,
        status_cpu=0.001,
        status_bytes=1000,
    )


LAGS = {records: lag.Row(1.5, 150_000_000, 140_000_000, 12e-6, records - 5, 0.5) for records in lag.RECORDS}
# The objects grow for 15 hours, the bytes all the time.
HOURS = [Held(5_000 + 10 * min(hour, 15), 400_000 + 100 * hour) for hour in range(1, 31)]
TABLES = {
    "partitions": table.of_cases("partitions", {count: row(count) for count in (1, 100, 1000)}),
    "sources": table.of_cases("sources", {count: row(count) for count in (1, 10, 50)}),
    "pixels": table.of_cases("pixels", {count: row(count) for count in (1, 50)}),
    "lag": table.of_lags(LAGS),
    "day": table.of_hours(HOURS),
}


def cells(part: str, first: str) -> list[str]:
    line = next(line for line in TABLES[part].splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_figure_has_its_slope_below_it() -> None:
    assert cells("partitions", "1,000 ")[1:3] == ["120 MB", "5.0 s"]
    for between in ("each of 1 to 100", "each of 100 to 1,000"):
        resident, start, start_cpu, *_ = cells("partitions", between)[1:]
        assert (resident, start, start_cpu) == ("20.00 kB", "3.00 ms", "0.00 ms")
    assert cells("sources", "each of 10 to 50")[7] == "2.00 ms"
    assert cells("pixels", "each of 1 to 50")[10] == "200.00 B"


def test_what_grows_faster_than_it_should_is_seen_in_the_second_slope() -> None:
    assert table.slope((100, 2.0), (1000, 92.0)) == pytest.approx(0.1)
    assert table.slope((1, 1.0), (100, 2.0)) == pytest.approx(1 / 99)


def test_the_hours_end_with_the_growth_of_the_last_ones() -> None:
    assert cells("day", "30")[1:] == ["5,150", "403 kB"]
    assert cells("day", "each hour of the last 15")[1:] == ["+0.0", "+100 B"]


def test_the_lag_is_told_with_what_was_left_of_it() -> None:
    assert cells("lag", "10,000,000")[1:5] == ["9,999,995", "1.5 s", "150 MB", "140 MB"]


def test_the_cases_differ_in_one_thing_alone() -> None:
    assert {case._replace(partitions=0) for case in PARTITIONS} == {BASE._replace(partitions=0)}
    assert {case._replace(sources=0) for case in SOURCES} == {BASE._replace(sources=0)}
    assert {case._replace(pixels=0) for case in PIXELS} == {BASE._replace(pixels=0)}
    assert all(sum(case.topics.values()) == case.partitions for case in (*PARTITIONS, *SOURCES, *PIXELS))


@pytest.mark.parametrize("part", table.PARTS)
def test_each_table_stands_between_its_marks_in_the_document(part: str) -> None:
    begin, end = table.marks(part)
    written = report.placed(DOCUMENT, TABLES[part], begin, end)
    assert written.startswith(DOCUMENT.partition(begin)[0])
    assert written.endswith(DOCUMENT.partition(end)[2])
    assert TABLES[part] in written


def test_everything_that_is_reached_counts_once_and_nothing_apart_does() -> None:
    inner, apart = [object(), object()], [object()]
    root = {"one": inner, "same": inner, "apart": apart}
    found = reached([root], [apart])
    assert found == (4, sum(map(sys.getsizeof, (root, inner, *inner))))
