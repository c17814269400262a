"""Episodes on the cluster, one after another, each from its own seed, until the time is up.

A failed episode is run again with parts of its schedule left out. The smallest that still fails is printed as a test's row.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException

from tests.soak.episode import Episode, Report
from tests.soak.history import PROPERTIES
from tests.soak.plan import Plan, draw, kept
from tests.soak.shrink import Shrunk, shrink
from tests.stack import Cluster, Registry
from tests.stack.process import ServerFailed

# Faults of the machine, not the program: a node that isn't back within minutes, or a topic that can't be created.
BED_TROUBLE = (ServerFailed, KafkaException, AssertionError)
_MOST_UNJUDGED = 5
KEPT = Path(".cache", "soak")  # what failed episodes leave behind, in a folder for each run of the soak


class Found(NamedTuple):
    """A failed episode, the property that it broke, and the faults that are left after shrinking."""

    broken: str
    plan: Plan
    shrunk: Shrunk

    @property
    def row(self) -> str:
        """A row for ``ROWS`` of tests/soak/test_cluster_episodes.py."""
        return f"    {kept(self.plan, self.shrunk.left)!r},  # {self.broken}"


class Beds:
    """The cluster and the registry on which episodes run. Each episode has its own folder."""

    def __init__(self, folder: Path, cluster: Cluster, registry: Registry, module: str = "stream_capi") -> None:
        self._folder, self._cluster, self._registry, self._module = folder, cluster, registry, module
        self._count = 0

    def run(self, plan: Plan) -> Report:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        _print_plan(plan)
        with Episode(plan, folder, self._cluster, self._registry, self._module) as episode:
            report = episode.run()
            if report.broken:
                episode.keep(KEPT / folder.parent.name / str(self._count))
        _print_report(report)
        return report

    def shrink(self, report: Report, runs: int) -> Found:
        """Find the fewest faults of a failed episode that still break the most serious of its broken properties."""
        broken = next((name for name in PROPERTIES if name in report.broken), min(report.broken))

        def fails(numbers: tuple[int, ...]) -> bool:
            try:
                again = self.run(kept(report.plan, numbers))
            except BED_TROUBLE as error:
                print(f"  faults {list(numbers)}: no judgement: {error!r:.300}", flush=True)
                return False
            print(f"  faults {list(numbers)}: {', '.join(sorted(again.broken)) or 'nothing broken'}", flush=True)
            return broken in again.broken

        return Found(broken, report.plan, shrink(len(report.plan.faults), fails, runs))


def soak(seed: int, minutes: float, seconds: float, keep: tuple[int, ...] | None, module: str, runs: int) -> int:
    """Run episodes, print their figures, and return 1 if one failed. ``keep``: run only one, with only these faults."""
    ends_at = time.monotonic() + minutes * 60
    reports: list[Report] = []
    found: list[Found] = []
    unjudged = 0
    cluster, registry = Cluster(), Registry()
    with tempfile.TemporaryDirectory(prefix="stream-capi-soak-") as folder:
        try:
            cluster.start()
            registry.start()
            beds = Beds(Path(folder), cluster, registry, module)
            while not reports or (keep is None and time.monotonic() < ends_at):
                plan = draw(seed + len(reports) + unjudged, seconds)
                plan = plan if keep is None else kept(plan, keep)
                try:
                    reports.append(beds.run(plan))
                except BED_TROUBLE as error:
                    print(f"  no judgement: {error!r:.300}", flush=True)
                    unjudged += 1
                    if unjudged > _MOST_UNJUDGED:
                        raise
                    continue
                if reports[-1].broken:
                    found.append(beds.shrink(reports[-1], runs))
                    _print_found(found[-1], seconds, module)
        finally:
            registry.stop()
            cluster.stop()
    print(json.dumps({**figures(reports), "unjudged": unjudged}, indent=2))
    return 1 if found else 0


def figures(reports: list[Report]) -> dict[str, object]:
    """The sums of all episodes."""
    kinds: Counter[str] = Counter()
    for report in reports:
        kinds += report.faults
    summed = ("acknowledged", "aborted", "delivered", "dead_lettered", "lost", "repeated", "not_done", "restarts")
    return {
        "seeds": [report.plan.seed for report in reports],
        "minutes": round(sum(report.seconds for report in reports) / 60, 1),
        "load": [round(bound(report.load for report in reports), 1) for bound in (min, max)],
        **{name: sum(getattr(report, name) for report in reports) for name in summed},
        "faults": dict(kinds.most_common()),
        "failures": [finding for report in reports for finding in report.findings],
    }


def _print_plan(plan: Plan) -> None:
    print(f"\nseed {plan.seed}: {plan._replace(faults=())}", flush=True)
    for number, fault in enumerate(plan.faults):
        print(f"  {number:3}  {fault}", flush=True)


def _print_report(report: Report) -> None:
    print(
        f"  {report.seconds:.0f} s, acknowledged {report.acknowledged}, aborted {report.aborted}, delivered {report.delivered}, "
        f"dead-lettered {report.dead_lettered}, lost {report.lost}, repeated {report.repeated}, "
        f"faults {report.faults.total()} and {report.not_done} not done, restarts {report.restarts}, load {report.load:.1f}",
        *report.findings,
        sep="\n  ",
        flush=True,
    )


def _print_found(found: Found, seconds: float, module: str) -> None:
    left, count = found.shrunk.left, len(found.plan.faults)
    least = "" if found.shrunk.whole else ", which may not be the fewest: the runs are used up"
    keep = ",".join(map(str, left)) or "none"
    print(f"\n{len(left)} of {count} faults break {found.broken!r}, after {found.shrunk.runs} runs{least}. Again:")
    print(f"  python -m tests.soak --cluster --seed {found.plan.seed} --seconds {seconds:g} --keep {keep}"
          + (f" --module {module}" if module != "stream_capi" else ""))  # fmt: skip
    print(f"Row, for ROWS in tests/soak/test_cluster_episodes.py:\n{found.row}", flush=True)
