"""Everything that a run of the benchmark finds out, and what is concluded from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benchmarks import agree
from benchmarks.latency import Latency
from benchmarks.measure import Run
from benchmarks.memory import Memory
from benchmarks.plans import BARE, LIBRARY, ORDINARY, PROGRAM


@dataclass(slots=True)
class Figures:
    """The figures of one run on one machine."""

    machine: str
    events: int
    start: dict[str, float]  # processor seconds of each contender over the few events of the sample
    runs: dict[str, list[Run]] = field(default_factory=dict)
    latencies: dict[str, Latency] = field(default_factory=dict)
    memory: Memory | None = None
    stages: dict[str, float] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)
    members: dict[str, float] = field(default_factory=dict)
    partitions: dict[int, Run] = field(default_factory=dict)  # by how many a member has
    minutes: float = 0.0

    def per_event(self, name: str) -> float:
        """Microseconds of processor time for an event: the median of the runs."""
        return median(self._per_event(name, run) for run in self.runs[name])

    def _per_event(self, name: str, run: Run) -> float:
        return 1e6 * (run.cpu - self.start[name]) / (run.events - agree.EVENTS)

    def per_cpu_second(self, name: str) -> float:
        """Events in a second of processor time."""
        return 1e6 / self.per_event(name)

    def whole_per_event(self, name: str) -> float:
        """The same with the start-up counted in."""
        return median(1e6 * run.cpu / run.events for run in self.runs[name])

    def per_second(self, name: str) -> float:
        """Events in a second on the clock, with the broker and the endpoint on the same cores."""
        return median(run.per_second for run in self.runs[name])

    def peak(self, name: str) -> float:
        """Megabytes resident, the most of all runs."""
        return max(run.peak_bytes for run in self.runs[name]) / 1e6

    def ratio(self, name: str, to: str) -> float:
        """How many events ``name`` does for each one of ``to``: the median over pairs of runs that followed each other."""
        pairs = zip(self.runs[name], self.runs[to], strict=True)
        return median(self._per_event(to, other) / self._per_event(name, run) for run, other in pairs)

    @property
    def first_commit(self) -> float:
        """Seconds from start to the first commit that the broker has."""
        return median(run.first_commit for run in self.runs[PROGRAM] if run.first_commit is not None)


RATIOS = (
    (PROGRAM, BARE, "0.85 or more"),
    (PROGRAM, ORDINARY, ""),
    (PROGRAM, LIBRARY, ""),
    (BARE, LIBRARY, "3 or more"),
)
