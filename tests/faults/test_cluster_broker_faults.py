"""What happens to a cluster's brokers in operation: restarts, kills, failed disks, reassigned replicas, recreated topics.

A member that keeps its partitions repeats nothing. One that loses them and gets them back repeats what was in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.running import run_command
from tests.faults.answers import await_dead_letters_waiting, await_progress
from tests.faults.budgets import SMALL, steady
from tests.faults.crafted_records import Maker, poison_in_the_first
from tests.faults.traffic import await_commits, in_flight_when_lost, traffic
from tests.program import Program
from tests.scene import Budget, Scene
from tests.stack import Cluster, Registry
from tests.stack.cluster import GROUPS, Node
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

QUOTA = 10_000  # bytes a second from each of three nodes


def test_a_rolling_restart_under_traffic_repeats_nothing(tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    """Each node is shut down cleanly and started again, as in an upgrade."""
    with Scene(tmp_path, cluster, registry, 3, steady, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        for _ in range(2):
            scene.member()
        with traffic(scene):
            await_commits(scene)
            for node in cluster.nodes:
                node.restart()
                until(cluster.whole, 60, "every replica in sync")
        scene.close(60, duplicates=in_flight_when_lost(scene))


def test_leaders_and_the_coordinator_killed_in_turn(tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    with Scene(tmp_path, cluster, registry, 3, steady, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        scene.member()
        targets: list[Callable[[], Node]] = [
            lambda: cluster.node(cluster.leader(scene.leads)),
            lambda: cluster.coordinator(scene.group),
            lambda: cluster.node(cluster.leader(scene.dead)),
        ]
        with traffic(scene):
            await_commits(scene)
            for target in targets:
                node = target()
                node.kill()
                until(lambda node=node: node.id not in cluster.alive(), 30, "the controller's word on it")  # type: ignore[misc]
                await_progress(scene)
                node.start()
                until(cluster.whole, 60, "every replica in sync")
        scene.close(60, duplicates=in_flight_when_lost(scene))


@pytest.mark.parametrize("storage", ["disk", pytest.param("data", marks=pytest.mark.repeat)])
def test_a_log_directory_that_fails(storage: str, tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    """If the directory with the metadata fails, the node ends; if the other one fails, it runs on with its other replicas."""
    with Scene(tmp_path, cluster, registry, 6, steady, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        led = {
            (topic, partition): cluster.node(cluster.leader(topic, partition))
            for topic in (scene.leads, scene.views)
            for partition in range(6)
        }
        at = next(tp for tp, node in led.items() if node.stores(*tp) == storage)
        node = led[at]
        scene.member()
        with traffic(scene):
            await_commits(scene)
            with node.failing_storage(storage):
                until(lambda: cluster.leader(*at) not in (-1, node.id), 30, "another leader")
                assert node.running == (storage == "disk")
                await_progress(scene)
                node.terminate()
            node.start()
            until(cluster.whole, 60, "every replica in sync")
        scene.close(60, duplicates=in_flight_when_lost(scene))


def test_partitions_and_the_groups_coordinator_are_reassigned_under_load(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with Scene(tmp_path, cluster, registry, 3, steady, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        for topic in (scene.leads, scene.views):
            cluster.reassign(topic, {0: [1, 2], 1: [2, 3], 2: [3, 1]})
        cluster.reassign(scene.dead, {0: [1, 2]})
        scene.member()
        with traffic(scene):
            await_commits(scene)
            for topic in (scene.leads, scene.views):
                cluster.reassign(topic, {0: [3, 1], 1: [1, 2], 2: [2, 3]})
            cluster.reassign(scene.dead, {0: [3, 2]})
            of_the_group = cluster.partition_of(scene.group)
            first, *others = cluster.described(GROUPS)[of_the_group].replicas
            cluster.reassign(GROUPS, {of_the_group: [*others, first]})
            try:
                await_progress(scene)
            finally:  # other tests' groups have their coordinator there, too
                cluster.reassign(GROUPS, {of_the_group: [first, *others]})
        scene.close(60, duplicates=in_flight_when_lost(scene))


def test_dead_letters_below_their_minimum_of_replicas_wait_and_the_rest_goes_on(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_via, dead_letters=False) as scene:
        cluster.create_topic(scene.dead, config={"min.insync.replicas": "3"})
        member = scene.member()
        node = next(node for node in cluster.nodes if node is not cluster.coordinator(scene.group))
        node.terminate()
        poison_in_the_first(Maker(scene))
        await_dead_letters_waiting(scene, member)
        node.start()
        await_progress(scene)
        scene.close(60, duplicates=0)
        letters = [letter.source for letter in scene.ledger.dead_letters()]
        assert len(letters) == len(set(letters)), "a dead letter was written twice"


def test_fetch_quotas_below_production_cost_time_alone(tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    with Scene(tmp_path, cluster, registry, 3, bootstrap=cluster.bootstrap_via) as scene:
        member = scene.member()
        (started,) = member.logged("started")
        cluster.limit_reading(started["client"], QUOTA)
        try:
            scene.produce(5000, bad=4)
            time.sleep(12)  # longer than the member's session
            assert scene.ledger.lag() > 1000, "the quota is no limit"
            assert member.is_ready()
        finally:
            cluster.limit_reading(started["client"], None)
        scene.close(60, duplicates=0)
        assert not member.logged("lost")


def test_a_topic_made_anew_under_a_member_is_never_skipped_into(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Either its partition stops until somebody resets the group's offset, or it is read from its beginning."""
    with Scene(tmp_path, cluster, registry, 1, steady, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        member = scene.member()
        scene.produce(600)
        await_commits(scene)
        scene.ledger.freeze()
        cluster.delete_topic(scene.leads)
        cluster.create_topic(scene.leads)
        produced = scene.produce(900)  # more than before, so that the old offsets are within the new log
        anew = {event.event_id for event in produced if event.topic == scene.leads}
        until(lambda: stopped(member) or anew <= set(scene.endpoint.answered()), 60, "a stop, or all events")
        again = 0
        if stopped(member):
            assert member.terminate() == 0
            again = len(anew & set(scene.endpoint.answered()))
            run_command(scene, "reset", "--to", "earliest", "--topic", scene.leads, "--execute")
            scene.member()
            until(lambda: anew <= set(scene.endpoint.answered()), 60, "the events of the new topic")
        scene.assert_repeated(Budget(again, "of the new topic, delivered before the stop and after the reset"))


def stopped(member: Program) -> bool:
    """Whether one of its partitions is held until somebody decides."""
    code, text = member.get("/readyz")
    return code == 503 and ("topic_made_anew" in text or "offset_out_of_range" in text)
