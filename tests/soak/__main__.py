"""Runs a soak, prints the ledger as it goes, and ends with 1 on any loss, any growth and any stall."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from stream_capi.model import Code
from tests.program import Program
from tests.scene import Scene
from tests.soak import cluster
from tests.soak.faults import FAULTS, Storm, is_poison
from tests.stack import Broker, Registry
from tests.stack.process import ServerFailed

_SECTIONS: dict[str, Any] = {
    "kafka": {
        "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "reconnect.backoff.max.ms": 1000}
    },
    "endpoint": {"timeout_seconds": 5},
    "log": {"level": "info"},
}
_CALM_SECONDS = 8.0  # between two faults
_STALL_SECONDS = 30.0  # a member with lag but without an outcome for so long, and without a fault, counts as stalled
_PRINT_SECONDS = 10.0


class Size(NamedTuple):
    """A member's resources at one moment."""

    seconds: float
    megabytes: float
    descriptors: int
    threads: int
    tasks: int


class Soak:
    """One run. Everything random comes from ``seed``."""

    def __init__(self, scene: Scene, seed: int, minutes: float, rate: int) -> None:
        self.scene, self.seed, self.seconds, self.rate = scene, seed, minutes * 60, rate
        self.chance = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.sizes: list[Size] = []
        self.stalls: list[str] = []
        self.weather = ""
        self._ending = threading.Event()
        self._begun = time.monotonic()
        self._moved: dict[str, tuple[float, float]] = {}
        self._calm_since = time.monotonic()

    def run(self) -> None:
        """Produce events, cause faults, and watch the members until the time is up."""
        storm = Storm(self.scene, self.chance)
        watching = threading.Thread(target=self._watch, args=(storm,), daemon=True)
        producing = threading.Thread(target=self._produce, daemon=True)
        watching.start()
        producing.start()
        while time.monotonic() - self._begun < self.seconds:
            time.sleep(self.chance.uniform(0.5, 1.5) * _CALM_SECONDS)
            fault = self.chance.choice(FAULTS)
            self.weather = fault.__name__
            self.faults[fault.__name__] += 1
            try:
                fault(storm)
            finally:
                self.weather = ""
                self._calm_since = time.monotonic()
        self._ending.set()
        producing.join(120)
        watching.join(30)

    def _produce(self) -> None:
        while not self._ending.is_set():
            begun = time.monotonic()
            # The broker may be down or frozen: events without an acknowledgement don't count as produced.
            try:
                produced = self.scene.produce(self.rate, bad=self.chance.randrange(3))
            except AssertionError:
                continue
            poison = [event for event in produced if is_poison(event.event_id) and event.bad_code is None]
            self.scene.ledger.add(event._replace(bad_code=Code.REFUSED) for event in poison)
            self._ending.wait(max(0.0, 1.0 - (time.monotonic() - begun)))

    def _watch(self, storm: Storm) -> None:
        printed_at = 0.0
        try:
            while not self._ending.wait(1.0):
                self._measure(storm.steadfast)
                for member in self.scene.members:
                    self._look_for_stall(member)
                self.scene.endpoint.mock.events.clear()  # the ledger needs only the ids, which the requests keep
                if time.monotonic() - printed_at >= _PRINT_SECONDS:
                    printed_at = time.monotonic()
                    self._print_ledger()
        except Exception as error:  # without the watch the soak has no result
            self.stalls.append(f"the watch ended: {error!r}")

    def _measure(self, member: Program) -> None:
        try:
            process = member.process
            with process.oneshot():
                tasks = int(member.status()["tasks"])
                size = Size(
                    time.monotonic() - self._begun,
                    process.memory_info().rss / 2**20,
                    process.num_fds(),
                    process.num_threads(),
                    tasks,
                )
        except (psutil.Error, AssertionError, ServerFailed):
            return  # it is frozen, or just starting
        self.sizes.append(size)

    def _look_for_stall(self, member: Program) -> None:
        """Find a member without progress. The time counts from the end of the last fault."""
        now = time.monotonic()
        if self.weather or not member.running:
            self._moved.pop(member.name, None)
            return
        done = member.metric("stream_capi_delivered_total") + member.metric("stream_capi_dead_lettered_total")
        lag = member.metric("stream_capi_lag")
        before, since = self._moved.get(member.name, (-1.0, now))
        if done != before or not lag:
            self._moved[member.name] = (done, now)
        elif now - max(since, self._calm_since) > _STALL_SECONDS:
            self.stalls.append(f"{member.name} stood still with {lag:.0f} events waiting")
            self._moved[member.name] = (done, now)

    def _print_ledger(self) -> None:
        tally = self.scene.ledger.tally()
        size = self.sizes[-1] if self.sizes else None
        print(
            f"{time.monotonic() - self._begun:6.0f} s  produced {tally.produced}  delivered {tally.delivered}  "
            f"dead-lettered {tally.dead_lettered}  waiting {tally.uncommitted}  lost {tally.lost}  "
            + (f"{size.megabytes:.0f} MB, {size.descriptors} fds, {size.tasks} tasks  " if size else "")
            + (self.weather or "calm"),
            flush=True,
        )

    def slopes(self) -> list[str]:
        """Resources that have grown: the median of the last quarter against that of the second, after the start-up."""
        found = []
        quarter = len(self.sizes) // 4
        if quarter < 10:
            return []
        for name, allowed in (("megabytes", 25.0), ("descriptors", 10.0), ("threads", 4.0), ("tasks", 40.0)):
            early = statistics.median(getattr(size, name) for size in self.sizes[quarter : 2 * quarter])
            late = statistics.median(getattr(size, name) for size in self.sizes[-quarter:])
            if late - early > allowed:
                found.append(f"{name} grew from {early:.0f} to {late:.0f}")
        return found


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--rate", type=int, default=200, help="events per second")
    arguments.add_argument("--seed", type=int, default=None)
    of_the_cluster = arguments.add_argument_group("episodes on three brokers")
    of_the_cluster.add_argument("--cluster", action="store_true", help="run these instead of the soak on one broker")
    of_the_cluster.add_argument("--seconds", type=float, default=60, help="how long faults occur in each episode")
    of_the_cluster.add_argument("--keep", type=_numbers, help="run one episode with only these faults: 0,3, or none")
    of_the_cluster.add_argument("--module", default="stream_capi", help="the module to run instead of the program")
    of_the_cluster.add_argument("--runs", type=int, default=12, help="most runs for shrinking a failed episode")
    given = arguments.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    if given.cluster:
        return cluster.soak(seed, given.minutes, given.seconds, given.keep, given.module, given.runs)
    broker, registry = Broker(), Registry()
    with tempfile.TemporaryDirectory(prefix="stream-capi-soak-") as folder:
        try:
            broker.start()
            registry.start()
            with Scene(Path(folder), broker, registry, 6, sections=_SECTIONS) as scene:
                for _ in range(3):
                    scene.member()
                soak = Soak(scene, seed, given.minutes, given.rate)
                soak.run()
                return _close(scene, soak)
        finally:
            registry.stop()
            broker.stop()


def _numbers(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(map(int, text.split(",")))


def _close(scene: Scene, soak: Soak) -> int:
    faults: list[str] = []
    try:
        scene.close(180, duplicates=None)
    except AssertionError as error:
        faults.append(str(error))
    faults += soak.stalls + soak.slopes()
    tally = scene.ledger.tally()
    result = {
        "seed": soak.seed,
        "minutes": round(soak.seconds / 60, 1),
        **tally._asdict(),
        "repeated": scene.repeated(),
        "faults": dict(soak.faults),
        "largest_megabytes": round(max((size.megabytes for size in soak.sizes), default=0)),
        "failures": faults,
    }
    print(json.dumps(result, indent=2), flush=True)
    if faults:
        for member in scene.members:
            print(f"--- {member.name} ---\n{member.output[-3000:]}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
