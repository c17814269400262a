"""What is done to brokers of a cluster on a Tuesday: restarts, kills, disks that fail, replicas and topics that move.

A member that keeps its partitions sends nothing twice; one that loses them to nobody, what was in flight then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.answers import always, await_progress
from tests.faults.traffic import SMALL, in_flight_when_lost, traffic
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.cluster import STORAGE, Node
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

STEADY = always(delay_seconds=0.05)


def under_way(scene: Scene) -> None:
    until(lambda: sum(scene.ledger.committed.values()) > 100, 30, "commits before the fault")


def test_leaders_and_the_coordinator_killed_in_turn(tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    with Scene(tmp_path, cluster, registry, 3, STEADY, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        scene.member()
        targets: list[Callable[[], Node]] = [
            lambda: cluster.node(cluster.leader(scene.leads)),
            lambda: cluster.coordinator(scene.group),
            lambda: cluster.node(cluster.leader(scene.dead)),
        ]
        with traffic(scene):
            under_way(scene)
            for target in targets:
                node = target()
                node.kill()
                until(lambda node=node: node.id not in cluster.alive(), 30, "the controller's word on it")  # type: ignore[misc]
                await_progress(scene)
                node.start()
                until(cluster.whole, 60, "every replica in sync")
        scene.close(60, duplicates=in_flight_when_lost(scene))


@pytest.mark.parametrize("storage", STORAGE)
def test_a_log_directory_that_fails(storage: str, tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    """With the one that has the metadata the node ends, without the other one it goes on as a follower of the rest."""
    with Scene(tmp_path, cluster, registry, 6, STEADY, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        led = {
            (topic, partition): cluster.node(cluster.leader(topic, partition))
            for topic in (scene.leads, scene.views)
            for partition in range(6)
        }
        at = next(tp for tp, node in led.items() if node.stores(*tp) == storage)
        node = led[at]
        scene.member()
        with traffic(scene):
            under_way(scene)
            with node.failing_storage(storage):
                until(lambda: cluster.leader(*at) not in (-1, node.id), 30, "another leader")
                assert node.running == (storage == "disk")
                await_progress(scene)
                node.terminate()
            node.start()
            until(cluster.whole, 60, "every replica in sync")
        scene.close(60, duplicates=in_flight_when_lost(scene))
