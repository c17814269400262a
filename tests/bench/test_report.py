"""The document that the benchmark writes: each aim is beside its figure, each table under a command that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import agree, memory, report
from benchmarks.__main__ import _PARTS
from benchmarks.contenders.shapes import SHAPES
from benchmarks.figures import Contest, Figures, Pairs, Spread
from benchmarks.latency import Latency
from benchmarks.measure import Run
from benchmarks.memory import Memory
from benchmarks.plans import NAMES, PROGRAM
from benchmarks.profile import PARTS, REST

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


def contest() -> Contest:
    """Runs that take one second, plus the contender's place in the list; the program's take up to 0.2 s longer."""
    runs = {
        name: [
            Run(101_000, 1 + place + (repeat / 10 if name == PROGRAM else 0), 1e4, 10**8, 0.5) for repeat in range(3)
        ]
        for place, name in enumerate(NAMES, 1)
    }
    return Contest(dict.fromkeys(NAMES, 1.0), runs)


def figures() -> Figures:
    pairs = Pairs([10.0, 30.0, 20.0], [5.0, 6.0, 5.0])
    shares = dict.fromkeys([*(part.name for part in PARTS), REST], 0.1)
    return Figures(
        "a machine",
        1_000_000,
        contests={shape: contest() for shape in SHAPES},
        payloads=dict.fromkeys(SHAPES, pairs),
        chunks={(shape, chunk): pairs for shape in SHAPES for chunk in (1, 1000)},
        latencies={"half load": Latency(1000.0, 10, 5.0, 47.0, 90.0, 1.6)},
        memory={count: Memory(150.0, 149.0, 148.0, 9) for count in memory.AIMS},
        stages={"consume": 1.0},
        profiles={"shipped": shares, "wide": shares},
        members={"one member": 1.0},
        partitions={8: Run(100, 1.0, 10.0, 10**8)},
        minutes=17.0,
        load="load average of the minute before 0.1",
    )


def row(text: str, heading: str, first: str) -> str:
    _, _, section = text.partition(f"### {heading}")
    return next(line for line in section.split("### ")[0].splitlines() if line.startswith(f"| {first}"))


@pytest.mark.parametrize(
    ("heading", "first", "end"),
    [
        ("Contenders: the shipped contract", "stream-capi : stream library", "5.8 or more |"),
        ("Contenders: the shipped contract", "stream-capi less bare parts", "1.6 or less |"),
        ("Contenders: wide records", "stream-capi : stream library", "10.0 or more |"),
        ("From bytes to payloads", "shipped", "4.00 (2.00 to 5.00) | 2.0 or more |"),
        ("From bytes to payloads", "wide", "4.00 (2.00 to 5.00) | 4.0 or more |"),
        ("Chunks", "nested | 1 ", "0.25 (0.20 to 0.50) | 1.1 or less |"),
        ("From produced to answered", "half load", "90 | 1.6 |"),
        ("Memory", "8 ", "below 200 |"),
        ("Memory", "128 ", "below 300 |"),
    ],
)
def test_an_aim_stands_beside_its_figure(heading: str, first: str, end: str) -> None:
    assert row(report.text(figures()), heading, first).endswith(end)


def test_the_p99_the_load_and_the_commit_before_are_told() -> None:
    text = report.text(figures())
    assert "p99 below 60" in text
    assert "load average of the minute before 0.1" in text
    assert re.search(r"The commit before is [0-9a-f]{12}\.", text)


def test_a_ratio_is_that_of_the_pairs_with_its_spread() -> None:
    found = contest()
    assert found.per_event(PROGRAM) == pytest.approx(1e6 * 1.1 / (101_000 - agree.EVENTS))
    ratio = found.ratio(PROGRAM, NAMES[1])
    assert ratio == pytest.approx(Spread(2 / 1.1, 2 / 1.2, 2.0))
    more = found.more(NAMES[1], PROGRAM)
    assert more == pytest.approx(Spread(*(1e6 * (2 - own) / (101_000 - agree.EVENTS) for own in (1.1, 1.2, 1.0))))


def test_each_command_that_takes_a_table_again_is_one() -> None:
    names = set(re.findall(r"`make bench ONLY=(\w+)`", report.text(figures())))
    assert names == set(_PARTS)


def test_the_figures_stand_between_the_marks_of_the_document() -> None:
    document = DOCUMENT.read_text()
    written = report.written(document, figures())
    assert written.startswith(document.partition(report.BEGIN)[0])
    assert written.endswith(document.partition(report.END)[2])
    assert report.text(figures()) in written
