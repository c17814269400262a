"""Where the program's processor time goes: the samples of a profiler during a run over the backlog, counted by part.

The profiler starts the program itself, so that it doesn't need the right to trace other processes.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.backlog import Backlog
from benchmarks.plans import others_installed, program, set_up
from benchmarks.stack import ROOT, Stack, environment

_PER_SECOND = 200
_PATIENCE = 120.0


class Part(NamedTuple):
    """A part of the program: what it does for an event, and the texts that its frames have in their names."""

    name: str
    what: str
    frames: tuple[str, ...]


REST = "start and the rest"
# A sample counts for the innermost frame that belongs to a part, so a library's time is that of the part that called it.
PARTS = (
    Part("frame", "the prefix with the schema's id, off each value", ("avro/framing.py",)),
    Part("decode", "Avro's bytes to the values that the mapping asks for", ("stream_capi/avro/", "<decoder")),
    Part("map", "checks, normalising, hashes, the event's JSON", ("stream_capi/events/", "(<string>")),
    Part(
        "post",
        "the HTTP library, the kernel's sockets, each request's deadline",
        ("stream_capi/endpoint/", "aiohttp/", "asyncio/selector_events.py"),
    ),
    Part(
        "read",
        "the Kafka client's fetches, sorted by partition, on a thread of their own; its waits for the interpreter count",
        ("stream_capi/kafka/",),
    ),
    Part(
        "take in",
        "offsets, sizes, guards: what is done with each chunk as a whole",
        (
            "stream_capi/pipeline/pipeline.py",
            "stream_capi/pipeline/mapper.py",
            "stream_capi/pipeline/backpressure.py",
            "stream_capi/pipeline/partition.py",
            "stream_capi/pipeline/rejected.py",
        ),
    ),
    Part(
        "offsets",
        "opening and resolving each offset, the watermark, the outcomes beyond it",
        ("core/offsets.py", "core/offset_metadata.py"),
    ),
    Part("batch", "filling batches and joining their bodies", ("core/batch.py",)),
    Part(
        "deliver",
        "lanes, gates, slots and outcomes, for each request",
        (
            "stream_capi/pipeline/delivery.py",
            "stream_capi/pipeline/lane.py",
            "core/flow.py",
            "core/outcomes.py",
            "core/ratio_guard.py",
        ),
    ),
    Part(
        "keep",
        "commits, pauses and gauges, a few times a second",
        ("stream_capi/app.py", "stream_capi/observe/snapshot.py", "stream_capi/observe/oldest_unresolved.py"),
    ),
    # After "keep", whose files its prefix matches, too.
    Part("count", "the metrics: ages, requests, counters", ("stream_capi/observe/",)),
    Part("loop", "the event loop's own turns", ("asyncio/",)),
)


def measured(stack: Stack, backlog: Backlog) -> dict[str, float]:
    """The share of each part in the samples of a whole run; they add up to one."""
    stack.endpoint.reset()
    plan = program(stack, set_up(stack, backlog), backlog, backlog.events)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "samples.txt")
        profiler = [str(others_installed() / "bin" / "py-spy"), "record", "--rate", str(_PER_SECOND), "--format", "raw"]
        command = [*profiler, "--threads", "--output", str(file), "--", *plan.command]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(plan.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as profiling:
            try:
                _await(stack, backlog.events, profiling)
            finally:
                for child in psutil.Process(profiling.pid).children():
                    child.terminate()
        return shares(file.read_text().splitlines())


def _await(stack: Stack, events: int, profiling: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (delivered := stack.endpoint.events()) < events:
        assert profiling.poll() is None, "the profiler ended before the program did"
        assert time.monotonic() < deadline, f"stuck at {delivered} of {events} events"
        time.sleep(0.05)


def shares(samples: Iterable[str]) -> dict[str, float]:
    """The share of each part. A line has the frames of a stack, the outermost first, and how often it was seen."""
    seen: Counter[str] = Counter()
    for line in samples:
        stack, _, times = line.rpartition(" ")
        seen[_part_of(stack.split(";"))] += int(times)
    return {name: seen[name] / seen.total() for name in [*(part.name for part in PARTS), REST]}


def _part_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part in PARTS:
            if any(text in frame for text in part.frames):
                return part.name
    return REST
