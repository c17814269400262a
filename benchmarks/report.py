"""The figures as a table, for the terminal and for the document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import RATIOS, Figures
from benchmarks.members import LATENCY
from benchmarks.plans import NAMES, PROGRAM
from benchmarks.profile import PARTS

BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
_WINDOW_MS = 1000


def text(figures: Figures) -> str:
    """All figures in Markdown, each table with the command that takes it again."""
    parts = [
        f"Measured on {figures.machine}; a backlog of {figures.events:,} events, in {figures.minutes:.1f} minutes."
    ]
    if figures.runs:
        parts += [_contenders(figures), _ratios(figures)]
    if figures.stages:
        parts.append(_stages(figures))
    if figures.profile:
        parts.append(_profile(figures))
    if figures.latencies:
        parts.append(_latencies(figures))
    if figures.memory is not None:
        parts.append(_memory(figures))
    if figures.members:
        parts.append(_members(figures))
    if figures.partitions:
        parts.append(_partitions(figures))
    return "\n\n".join(parts)


def written(document: str, figures: Figures) -> str:
    """The document with the figures between its marks. Raises ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{text(figures)}\n\n{END}{after}"


def write(path: Path, figures: Figures) -> None:
    """Put the figures into the document."""
    path.write_text(written(path.read_text(), figures))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], texts_from: int = 99) -> str:
    lines = [head, tuple("---:" if 0 < at < texts_from else "---" for at in range(len(head))), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _contenders(figures: Figures) -> str:
    rows = [
        (
            name,
            f"{figures.per_cpu_second(name):,.0f}",
            f"{figures.per_event(name):.1f}",
            f"{figures.whole_per_event(name):.1f}",
            f"{figures.per_second(name):,.0f}",
            f"{figures.peak(name):.0f}",
        )
        for name in NAMES
        if name in figures.runs
    ]
    head = ("", "events / CPU-second", "µs / event", "its start counted in", "events / second", "peak MB")
    repeats = max(map(len, figures.runs.values()))
    return (
        f"### Contenders\n\n`make bench`, or `python -m benchmarks --only ratios`; medians of {repeats} alternating runs. "
        "User and system time of the contender's own process, less what a run over a few events takes. Broker and endpoint "
        "share its cores, which is why a second on the clock holds fewer events than a second of processor time.\n\n"
        + _table(head, rows)
    )


def _ratios(figures: Figures) -> str:
    rows = [
        (f"{name} : {other}", f"{figures.ratio(name, other):.2f}", aim)
        for name, other, aim in RATIOS
        if name in figures.runs and other in figures.runs
    ]
    table = _table(("events per CPU-second", "ratio", "aim"), rows)
    first = f"{figures.first_commit:.2f} s" if PROGRAM in figures.runs else "-"
    return f"### Ratios\n\n{table}\n\nFrom start to the first commit: {first} (aim: 2 s)."


def _stages(figures: Figures) -> str:
    total = sum(figures.stages.values())
    rows = [(stage, f"{cost:.2f}", f"{cost / total:.0%}") for stage, cost in figures.stages.items()]
    rows.append(("together", f"{total:.2f}", ""))
    return (
        "### Stages\n\n`python -m benchmarks --only stages`; each alone, microseconds of processor time for an event.\n\n"
        + _table(("stage", "µs / event", "share"), rows)
    )


def _profile(figures: Figures) -> str:
    what = {part.name: part.what for part in PARTS}
    rows = [
        (name, f"{share:.1%}", what.get(name, "the interpreter's start, imports, what belongs to no part"))
        for name, share in figures.profile.items()
    ]
    return (
        "### Profile of a whole run\n\n`python -m benchmarks --only profile`; shares of the samples that py-spy took of all "
        "threads that were at work, from the start to the last event.\n\n"
        + _table(("part", "share", "what it is"), rows, 2)
    )


def _latencies(figures: Figures) -> str:
    rows = [
        (name, f"{one.per_second:,.0f}", f"{one.p50:.0f}", f"{one.p99:.0f}", f"{one.most:.0f}")
        for name, one in figures.latencies.items()
    ]
    return (
        "### From produced to answered\n\n`python -m benchmarks --only latency`; milliseconds, with the default window of "
        f"{_WINDOW_MS} ms; the aim at half load is a p99 below {_WINDOW_MS + 50}.\n\n"
        + _table(("load", "events / second", "p50", "p99", "most"), rows)
    )


def _memory(figures: Figures) -> str:
    memory = figures.memory
    assert memory is not None
    row = (f"{memory.lag:,}", f"{memory.peak:.0f}", f"{memory.halfway:.0f}", f"{memory.end:.0f}")
    return (
        "### Memory\n\n`python -m benchmarks --only memory`; megabytes resident, with an endpoint that takes 250 ms for each "
        "answer; the aim is a peak below 200.\n\n"
        + _table(("events still to go", "peak", "halfway", "at the end"), [row])
    )


def _members(figures: Figures) -> str:
    one, *_ = figures.members.values()
    rows = [(name, f"{rate:,.0f}", f"{rate / one:.2f}") for name, rate in figures.members.items()]
    return (
        "### More members\n\n`python -m benchmarks --only members`; with the defaults, before an endpoint that takes "
        f"{LATENCY * 1000:.0f} ms for each answer, so that the requests in flight are what bounds a member.\n\n"
        + _table(("", "events / second", "of one member"), rows)
    )


def _partitions(figures: Figures) -> str:
    rows = [
        (str(count), f"{run.per_second:,.0f}", f"{1e6 * run.cpu / run.events:.1f}", f"{run.peak_bytes / 1e6:.0f}")
        for count, run in figures.partitions.items()
    ]
    return (
        "### More partitions\n\n`python -m benchmarks --only partitions`; one member, and a backlog spread over all of its "
        "partitions. A broker's answer holds up to half a megabyte of each, compressed; hence the memory of many.\n\n"
        + _table(("partitions", "events / second", "µs / event, start counted in", "peak MB"), rows)
    )
