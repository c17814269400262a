"""The capacity model against a measured run: ``python -m benchmarks.capacity``.

By Little's law a member delivers ``max_in_flight * events per request / latency`` events a second, until its processor is
fully used. The law leaves out how lanes share the slots and how batches fill. So the prediction is a simulation: the real
pipeline in simulated time (``tests/simulation.py``), with an endpoint of the given latency. It is compared with the program
on a real broker, with an endpoint of the same latency. Exit code 1 if the two differ by more than a fifth.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stream_capi.config.settings import DeliverySection
from stream_capi.kafka.consumer import CHUNK
from stream_capi.kafka.properties import events_bytes
from stream_capi.sandbox.fault_script import Action
from tests.scene import Scene
from tests.simulation import Line, always, simulate
from tests.stack import Broker, Registry

_EVENTS, _LEAD_SHARE, _PARTITIONS = 12_000, 0.3, 4
_ALLOWED = 0.2
_STEADY = (0.2, 0.85)  # the part of the run that counts: without its start and the last batches, which don't fill


class Case(NamedTuple):
    """A member's settings, and the endpoint's latency in seconds."""

    max_in_flight: int
    max_events: int
    latency: float

    @property
    def little(self) -> float:
        """Events a second by Little's law alone."""
        return self.max_in_flight * self.max_events / self.latency


CASES = (Case(4, 100, 0.25), Case(8, 50, 0.4), Case(3, 100, 0.3))


def _per_second(answers: Sequence[tuple[float, int]]) -> float:
    """Events a second in the steady part of a run; ``answers`` are moments and counts of events, in order."""
    whole = sum(count for _, count in answers)
    seen, times, inside = 0, [], 0
    for at, count in answers:
        seen += count
        if _STEADY[0] * whole <= seen <= _STEADY[1] * whole:
            times.append(at)
            inside += count if len(times) > 1 else 0
    return inside / (times[-1] - times[0])


def predicted(case: Case) -> float:
    """Events a second, by simulation."""

    async def run() -> list[tuple[float, int]]:
        line = Line(
            always(200, case.latency),
            max_in_flight=case.max_in_flight,
            max_events=case.max_events,
            max_buffered_bytes=events_bytes(DeliverySection().max_buffered_bytes),
        )
        line.chunk = CHUNK
        leads = int(_EVENTS * _LEAD_SHARE)
        for topic, count in (("leads", leads), ("views", _EVENTS - leads)):
            for partition in range(_PARTITIONS):
                line.produce(topic, partition, *(f"{topic}{partition}.{n}" for n in range(count // _PARTITIONS)))
        line.assign(*line.logs)
        await line.run_for(3 * _EVENTS / case.little + 10)
        return [(at, len(ids)) for at, _, ids, _ in line.requests]

    return _per_second(simulate(run()))


def measured(case: Case, broker: Broker, registry: Registry, folder: Path) -> float:
    """Events a second, by the program on a real broker; requests are counted when they arrive."""
    sections = {
        "batch": {"max_events": case.max_events, "window_ms": 1000},
        "delivery": {"max_in_flight": case.max_in_flight},
    }
    answer = Action(delay_seconds=case.latency)
    with Scene(folder, broker, registry, _PARTITIONS, lambda request: answer, sections=sections) as scene:
        scene.produce(_EVENTS)
        scene.member()
        scene.ledger.await_all(120)
        return _per_second([(record.at, record.n_events) for record in scene.endpoint.mock.requests])


def main() -> int:
    broker, registry = Broker(), Registry()
    worst = 0.0
    print("| in flight | events a request | latency | Little's law | predicted | measured | measured : predicted |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    try:
        broker.start()
        registry.start()
        for case in CASES:
            with tempfile.TemporaryDirectory(prefix="stream-capi-capacity-") as folder:
                said, seen = predicted(case), measured(case, broker, registry, Path(folder))
            worst = max(worst, abs(seen / said - 1))
            print(
                f"| {case.max_in_flight} | {case.max_events} | {case.latency * 1000:.0f} ms | {case.little:,.0f} "
                f"| {said:,.0f} | {seen:,.0f} | {seen / said:.2f} |",
                flush=True,
            )
    finally:
        registry.stop()
        broker.stop()
    return 1 if worst > _ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
