"""The figures as a table, for the terminal and for the document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import memory, side_by_side
from benchmarks.before import COMMIT
from benchmarks.contenders.shapes import SHIPPED
from benchmarks.figures import (
    P99_AIM,
    PAYLOAD_AIMS,
    PROMISES_AIM,
    RATIO_AIMS,
    RATIOS,
    SMALL_CHUNK_AIM,
    Contest,
    Figures,
)
from benchmarks.members import LATENCY
from benchmarks.plans import BARE, NAMES, PROGRAM
from benchmarks.profile import PARTS

BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
_WINDOW_MS = 1000
_SHAPES = {
    "shipped": "Contenders: the shipped contract",
    "wide": "Contenders: wide records",
    "nested": "Contenders: nested records",
}


def text(figures: Figures) -> str:
    """All figures in Markdown, each table with the command that measures it again."""
    parts = [
        f"Measured on {figures.machine}; a backlog of {figures.events:,} events, in {figures.minutes:.1f} minutes; "
        f"{figures.load}. The commit before is {COMMIT[:12]}. Where a figure has a range, it is the median of the runs, "
        "and the range is from the least to the most."
    ]
    parts += [_contest(shape, contest) for shape, contest in figures.contests.items()]
    tables = {
        _payloads: figures.payloads,
        _chunks: figures.chunks,
        _stages: figures.stages,
        _profiles: figures.profiles,
        _latencies: figures.latencies,
        _memory: figures.memory,
        _members: figures.members,
        _partitions: figures.partitions,
    }
    parts += [table(figures) for table, taken in tables.items() if taken]
    return "\n\n".join(parts)


def placed(document: str, tables: str, begin: str, end: str) -> str:
    """The document with the tables between its marks. Raises ValueError if it has no marks."""
    before, has_begin, rest = document.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the document has no {begin} … {end}")
    return f"{before}{begin}\n\n{tables}\n\n{end}{after}"


def written(document: str, figures: Figures) -> str:
    """The document with the figures between its marks. Raises ValueError if it has no marks."""
    return placed(document, text(figures), BEGIN, END)


def write(path: Path, figures: Figures) -> None:
    """Put the figures into the document."""
    path.write_text(written(path.read_text(), figures))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], texts_from: int = 99) -> str:
    lines = [head, tuple("---:" if 0 < at < texts_from else "---" for at in range(len(head))), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _contest(shape: str, contest: Contest) -> str:
    rows = [
        (
            name,
            f"{contest.per_cpu_second(name):,.0f}",
            f"{contest.per_event(name):.1f}",
            f"{contest.whole_per_event(name):.1f}",
            f"{contest.per_second(name):,.0f}",
            f"{contest.peak(name):.0f}",
        )
        for name in NAMES
    ]
    head = ("", "events / CPU-second", "µs / event", "its start counted in", "events / second", "peak MB")
    repeats = max(map(len, contest.runs.values()))
    first = (
        f"\n\nFrom start to the first commit: {contest.first_commit:.2f} s (aim: 2 s)." if shape == SHIPPED.name else ""
    )
    return (
        f"### {_SHAPES[shape]}\n\n`make bench ONLY={shape}`; medians of {repeats} alternating runs over "
        f"{contest.runs[PROGRAM][0].events:,} events. User and system time of the contender's own process, less what a run "
        "over a few events takes. Broker and endpoint share its cores, which is why a second on the clock holds fewer events "
        f"than a second of processor time.\n\n{_table(head, rows)}\n\n{_ratios(shape, contest)}{first}"
    )


def _ratios(shape: str, contest: Contest) -> str:
    rows = [
        (f"{name} : {other}", str(contest.ratio(name, other)), _aim(RATIO_AIMS.get((shape, name, other)), "or more"))
        for name, other in RATIOS
    ]
    more = str(contest.more(PROGRAM, BARE))
    rows.append(
        (f"{PROGRAM} less {BARE}, µs / event", more, _aim(PROMISES_AIM if shape == SHIPPED.name else None, "or less"))
    )
    return _table(("events per CPU-second", "ratio", "aim"), rows)


def _aim(aim: float | None, way: str) -> str:
    return "" if aim is None else f"{aim} {way}"


def _payloads(figures: Figures) -> str:
    rows = [
        (
            shape,
            f"{median(pairs.before):.1f}",
            f"{median(pairs.program):.1f}",
            str(pairs.speed),
            _aim(PAYLOAD_AIMS.get(shape), "or more"),
        )
        for shape, pairs in figures.payloads.items()
    ]
    return (
        f"### From bytes to payloads\n\n`make bench ONLY=payloads`; decode and map alone, by runs of {side_by_side.RUN:,} "
        "records; microseconds of processor time for an event. Both programs make the same bytes of the same events, or "
        "nothing is measured.\n\n" + _table(("records", "commit before", "stream-capi", "times as fast", "aim"), rows)
    )


def _chunks(figures: Figures) -> str:
    rows = [
        (
            shape,
            f"{chunk:,}",
            f"{median(pairs.before):.1f}",
            f"{median(pairs.program):.1f}",
            str(pairs.cost),
            _aim(SMALL_CHUNK_AIM, "or less"),
        )
        for (shape, chunk), pairs in figures.chunks.items()
    ]
    return (
        "### Chunks\n\n`make bench ONLY=chunks`; what a chunk costs the program, shared by its records: frame, decode and "
        "map, and the pipeline's intake, offsets, batches and outcomes, without Kafka or HTTP; microseconds of processor "
        "time for an event.\n\n"
        + _table(("records", "of a chunk", "commit before", "stream-capi", "of the time before", "aim"), rows)
    )


def _stages(figures: Figures) -> str:
    total = sum(figures.stages.values())
    rows = [(stage, f"{cost:.2f}", f"{cost / total:.0%}") for stage, cost in figures.stages.items()]
    rows.append(("together", f"{total:.2f}", ""))
    return (
        "### Stages\n\n`make bench ONLY=stages`; each alone, microseconds of processor time for an event.\n\n"
        + _table(("stage", "µs / event", "share"), rows)
    )


def _profiles(figures: Figures) -> str:
    what = {part.name: part.what for part in PARTS}
    shapes = list(figures.profiles)
    rows = [
        (
            name,
            *(f"{figures.profiles[shape][name]:.1%}" for shape in shapes),
            what.get(name, "the interpreter's start, imports, what belongs to no part"),
        )
        for name in figures.profiles[shapes[0]]
    ]
    return (
        "### Profiles of whole runs\n\n`make bench ONLY=profile`; shares of the samples that py-spy took of all threads that "
        "were at work, from the start to the last event.\n\n"
        + _table(("part", *shapes, "what it is"), rows, 1 + len(shapes))
    )


def _latencies(figures: Figures) -> str:
    rows = [
        (name, f"{one.per_second:,.0f}", f"{one.p50:.0f}", f"{one.p99:.0f}", f"{one.most:.0f}", f"{one.busy:.1f}")
        for name, one in figures.latencies.items()
    ]
    return (
        "### From produced to answered\n\n`make bench ONLY=latency`; milliseconds, with the default window of "
        f"{_WINDOW_MS} ms; half load is half of the rate of the shipped contract's runs, where those are of the same "
        f"run. The aim at half load is a p99 below {P99_AIM}. The last column is how many of the machine's processors were "
        "busy on average: the program, the broker, the endpoint and the producer share them.\n\n"
        + _table(("load", "events / second", "p50", "p99", "most", "processors busy"), rows)
    )


def _memory(figures: Figures) -> str:
    rows = [
        (
            f"{count}",
            f"{one.lag:,}",
            f"{one.peak:.0f}",
            f"{one.halfway:.0f}",
            f"{one.end:.0f}",
            f"below {memory.AIMS[count]}",
        )
        for count, one in figures.memory.items()
    ]
    return (
        "### Memory\n\n`make bench ONLY=memory`; megabytes resident, with an endpoint that takes 250 ms for each answer.\n\n"
        + _table(("partitions", "events still to go", "peak", "halfway", "at the end", "aim of the peak"), rows)
    )


def _members(figures: Figures) -> str:
    one, *_ = figures.members.values()
    rows = [(name, f"{rate:,.0f}", f"{rate / one:.2f}") for name, rate in figures.members.items()]
    return (
        "### More members\n\n`make bench ONLY=members`; with the defaults, before an endpoint that takes "
        f"{LATENCY * 1000:.0f} ms for each answer, so that the requests in flight are what bounds a member.\n\n"
        + _table(("", "events / second", "of one member"), rows)
    )


def _partitions(figures: Figures) -> str:
    rows = [
        (str(count), f"{run.per_second:,.0f}", f"{1e6 * run.cpu / run.events:.1f}", f"{run.peak_bytes / 1e6:.0f}")
        for count, run in figures.partitions.items()
    ]
    return (
        "### More partitions\n\n`make bench ONLY=partitions`; one member, and a backlog spread over all of its "
        "partitions. A broker's answer holds up to half a megabyte of each, compressed; hence the memory of many.\n\n"
        + _table(("partitions", "events / second", "µs / event, start counted in", "peak MB"), rows)
    )
