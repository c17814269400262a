"""All figures of a run of the benchmark, and what is computed from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from benchmarks import agree
from benchmarks.contenders.shapes import SHIPPED, WIDE
from benchmarks.latency import Latency
from benchmarks.measure import Run
from benchmarks.memory import Memory
from benchmarks.plans import BARE, BEFORE, LIBRARY, ORDINARY, PROGRAM


class Spread(NamedTuple):
    """A figure that was taken several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The median and the range of some values."""
        found = list(values)
        return cls(median(found), min(found), max(found))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


class Pairs(NamedTuple):
    """Microseconds of processor time for an event: of the commit before, and of the program in the adjacent run."""

    before: list[float]
    program: list[float]

    @property
    def speed(self) -> Spread:
        """How many events the program maps in the time that the commit before needs for one."""
        return Spread.of(before / program for before, program in zip(*self, strict=True))

    @property
    def cost(self) -> Spread:
        """The program's time for an event, as a share of that of the commit before."""
        return Spread.of(program / before for before, program in zip(*self, strict=True))


@dataclass(slots=True)
class Contest:
    """The runs of all contenders over backlogs of one shape.

    :param start: processor seconds of each contender for the small sample, which are nearly all for its start.
    """

    start: dict[str, float]
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def per_event(self, name: str) -> float:
        """Microseconds of processor time for an event, without the start: the median of the runs."""
        return median(self._per_event(name, run) for run in self.runs[name])

    def _per_event(self, name: str, run: Run) -> float:
        return 1e6 * (run.cpu - self.start[name]) / (run.events - agree.EVENTS)

    def per_cpu_second(self, name: str) -> float:
        """Events in a second of processor time."""
        return 1e6 / self.per_event(name)

    def whole_per_event(self, name: str) -> float:
        """Microseconds of processor time for an event, the start included."""
        return median(1e6 * run.cpu / run.events for run in self.runs[name])

    def per_second(self, name: str) -> float:
        """Events in a second of wall-clock time, with the broker and the endpoint on the same cores."""
        return median(run.per_second for run in self.runs[name])

    def peak(self, name: str) -> float:
        """Megabytes resident: the peak of all runs."""
        return max(run.peak_bytes for run in self.runs[name]) / 1e6

    def ratio(self, name: str, to: str) -> Spread:
        """How many events ``name`` delivers in the time that ``to`` needs for one, over pairs of runs of one round."""
        return Spread.of(other / one for one, other in self._pairs(name, to))

    def more(self, name: str, than: str) -> Spread:
        """How many microseconds more than ``than`` an event costs ``name``, over pairs of runs of one round."""
        return Spread.of(one - other for one, other in self._pairs(name, than))

    def _pairs(self, name: str, other: str) -> list[tuple[float, float]]:
        return [
            (self._per_event(name, one), self._per_event(other, two))
            for one, two in zip(self.runs[name], self.runs[other], strict=True)
        ]

    @property
    def first_commit(self) -> float:
        """Seconds from the start to the first commit on the broker."""
        return median(run.first_commit for run in self.runs[PROGRAM] if run.first_commit is not None)


@dataclass(slots=True)
class Figures:
    """The figures of one run on one machine."""

    machine: str
    events: int
    contests: dict[str, Contest] = field(default_factory=dict)  # by the shape's name
    payloads: dict[str, Pairs] = field(default_factory=dict)  # by the shape's name
    chunks: dict[tuple[str, int], Pairs] = field(default_factory=dict)  # by the shape's name and the records of a chunk
    latencies: dict[str, Latency] = field(default_factory=dict)
    memory: dict[int, Memory] = field(default_factory=dict)  # by how many partitions a member has
    stages: dict[str, float] = field(default_factory=dict)
    profiles: dict[str, dict[str, float]] = field(default_factory=dict)  # by the shape's name
    members: dict[str, float] = field(default_factory=dict)
    partitions: dict[int, Run] = field(default_factory=dict)  # by how many a member has
    minutes: float = 0.0
    load: str = ""


RATIOS = (
    (PROGRAM, BEFORE),
    (PROGRAM, BARE),
    (PROGRAM, ORDINARY),
    (PROGRAM, LIBRARY),
    (BARE, LIBRARY),
)
# The aims: events per CPU-second as a ratio to another contender, bytes to payload as a ratio to the commit before.
RATIO_AIMS = {(SHIPPED.name, PROGRAM, LIBRARY): 5.8, (WIDE.name, PROGRAM, LIBRARY): 10.0}
PAYLOAD_AIMS = {SHIPPED.name: 2.0, WIDE.name: 4.0}
PROMISES_AIM = 1.6  # microseconds an event more than the bare parts
SMALL_CHUNK_AIM = 1.1  # times the processor time of the commit before
P99_AIM = 60  # milliseconds, at half load
