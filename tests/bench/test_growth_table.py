"""What ``make bench-growth`` writes: a slope beside each figure, where the document has its place for them."""

from __future__ import annotations

import sys

import pytest

from benchmarks import report
from benchmarks.growth import lag, table
from benchmarks.growth.cases import PARTITIONS, PIXELS, SOURCES, Case, Row
from benchmarks.growth.day import Held, reached
from tests.deploy.program import ROOT

DOCUMENT = (ROOT / "docs/scaling.md").read_text()


def row(n: int) -> Row:
    """Of a case with so many: a part that is always there, and one for each."""
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


def growth() -> table.Growth:
    """Every figure a line, whatever grows."""

    def size(case: Case) -> int:
        return case.partitions if case in PARTITIONS else case.sources if case in SOURCES else case.pixels

    return table.Growth(
        "a machine",
        {case: row(size(case)) for case in (*PARTITIONS, *SOURCES, *PIXELS)},
        {records: lag.Row(1.5, 150_000_000, 140_000_000, 12e-6, records - 5, 0.5) for records in lag.RECORDS},
        [Held(5_000 + 10 * min(hour, 24), 400_000 + 100 * hour) for hour in range(1, 49)],
        20.0,
        "load average of the minute before 0.1",
    )


def cells(heading: str, first: str) -> list[str]:
    _, _, section = table.text(growth()).partition(f"### {heading}")
    line = next(line for line in section.split("### ")[0].splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_figure_has_its_slope_below_it() -> None:
    assert cells("Partitions", "1,000 ")[1:3] == ["120 MB", "5.0 s"]
    for between in ("each of 1 to 100", "each of 100 to 1,000"):
        resident, start, start_cpu, *_ = cells("Partitions", between)[1:]
        assert (resident, start, start_cpu) == ("20.00 kB", "3.00 ms", "0.00 ms")
    assert cells("Sources", "each of 10 to 50")[7] == "2.00 ms"
    assert cells("Pixels", "50 ")[10] == "50 kB"


def test_what_grows_faster_than_it_should_is_seen_in_the_second_slope() -> None:
    assert table.slope((100, 2.0), (1000, 92.0)) == pytest.approx(0.1)
    assert table.slope((1, 1.0), (100, 2.0)) == pytest.approx(1 / 99)


def test_the_hours_end_with_the_growth_of_the_last_ones() -> None:
    assert cells("Hours", "48")[1:] == ["5,240", "405 kB"]
    assert cells("Hours", "each hour of the last 24")[1:] == ["+0.0", "+100 B"]


def test_the_lag_is_told_with_what_was_left_of_it() -> None:
    assert cells("Lag", "10,000,000")[1:5] == ["9,999,995", "1.5 s", "150 MB", "140 MB"]


def test_the_tables_stand_between_the_marks_of_the_document() -> None:
    written = report.placed(DOCUMENT, table.text(growth()), table.BEGIN, table.END)
    assert written.startswith(DOCUMENT.partition(table.BEGIN)[0])
    assert written.endswith(DOCUMENT.partition(table.END)[2])
    assert table.text(growth()) in written


def test_everything_that_is_reached_counts_once_and_nothing_apart_does() -> None:
    inner, apart = [object(), object()], [object()]
    root = {"one": inner, "same": inner, "apart": apart}
    found = reached([root], [apart])
    assert found == (4, sum(map(sys.getsizeof, (root, inner, *inner))))
