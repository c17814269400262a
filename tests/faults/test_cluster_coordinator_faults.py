"""The group's coordinator, the leader of its partition of ``__consumer_offsets``, is killed at the worst moments."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.faults.answers import await_progress
from tests.faults.budgets import AT_ONCE, SMALL, killed
from tests.faults.traffic import await_commits, in_flight_when_lost, traffic
from tests.program import Program
from tests.scene import Budget, Scene
from tests.stack import Cluster, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

PROTOCOLS: Mapping[str, Mapping[str, str]] = {
    "cooperative": {},
    "range": {"partition.assignment.strategy": "range"},
    "consumer": {"group.protocol": "consumer"},
}
EACH_PROTOCOL = ["cooperative", *(pytest.param(name, marks=pytest.mark.repeat) for name in ("range", "consumer"))]


class Answers:
    """Answers after a delay that a test can change: a hand-over lasts at least as long as the delay."""

    def __init__(self) -> None:
        self.delay_seconds = 0.05

    def __call__(self, request: RequestInfo) -> Action:
        return Action(delay_seconds=self.delay_seconds)


def test_the_coordinator_killed_while_commits_are_in_flight(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with Scene(tmp_path, cluster, registry, 3, Answers(), bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        scene.member()
        with traffic(scene):
            await_commits(scene)
            node = cluster.coordinator(scene.group)
            node.clients.slow(1.0)  # it stores commits, but is killed before its answers arrive
            before = delivered(scene)
            until(lambda: delivered(scene) > before + AT_ONCE, 30, "what is to be committed")
            node.kill()
            node.clients.heal()
            await_progress(scene)
        scene.close(60, duplicates=in_flight_when_lost(scene))


@pytest.mark.parametrize("protocol", EACH_PROTOCOL)
def test_the_coordinator_killed_while_a_member_joins(
    protocol: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    answers = Answers()
    with Scene(tmp_path, cluster, registry, 3, answers, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        scene.settings["kafka"]["properties"] |= PROTOCOLS[protocol]
        first = scene.member()
        with traffic(scene):
            await_commits(scene)
            answers.delay_seconds = 2.0
            node = cluster.coordinator(scene.group)
            second = scene.member(ready=False)
            await_rebalance(cluster, scene)
            node.kill()
            before = delivered(scene)
            answers.delay_seconds = 0.05
            until(lambda: share_evenly(protocol, first, second), 90, "an even share")
            meanwhile = delivered(scene) - before
            await_progress(scene)
        scene.close(60, duplicates=unconfirmed(scene, meanwhile))


@pytest.mark.parametrize("protocol", EACH_PROTOCOL)
def test_the_coordinator_killed_while_a_member_leaves(
    protocol: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """It is killed while the leaver waits for its last answers: the last commit has to go to the next coordinator."""
    answers = Answers()
    with Scene(tmp_path, cluster, registry, 3, answers, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        scene.settings["kafka"]["properties"] |= PROTOCOLS[protocol]
        # Of the other rows' 10 s the controller takes 5 to give up the node, before another one can be the coordinator.
        scene.settings["shutdown"]["drain_seconds"] = 30
        first, second = scene.member(), scene.member()
        until(lambda: share_evenly(protocol, first, second), 60, "an even share")
        with traffic(scene):
            await_commits(scene)
            answers.delay_seconds = 2.0
            node = cluster.coordinator(scene.group)
            second.signal(signal.SIGTERM)
            until(lambda: bool(second.logged("stopping")), 30, "the stop")
            node.kill()
            before = delivered(scene)
            answers.delay_seconds = 0.05
            assert second.wait(60) == 0
            until(lambda: len(first.owned()) == 6, 90, "the share of the one that left")
            meanwhile = delivered(scene) - before
            await_progress(scene)
        lost, left = unconfirmed(scene, meanwhile), killed()
        scene.close(
            60, duplicates=Budget(lost.most + left.most, f"{lost.why}; of the leaver, as of one that is killed")
        )


def share_evenly(protocol: str, *members: Program) -> bool:
    """Whether two members share three partitions of each of two topics; by range one of them gets two of each topic."""
    return sorted(len(member.owned()) for member in members) == ([2, 4] if protocol == "range" else [3, 3])


def await_rebalance(cluster: Cluster, scene: Scene) -> None:
    """Wait until the coordinator reports that the group has no stable assignment."""

    def rebalancing() -> bool:
        found = cluster.admin.list_consumer_groups(request_timeout=5).result(10).valid
        return any(one.group_id == scene.group and one.state is not ConsumerGroupState.STABLE for one in found)

    until(rebalancing, 30, "a rebalance", 0.01)


def delivered(scene: Scene) -> int:
    return sum(scene.endpoint.answered().values())


def unconfirmed(scene: Scene, meanwhile: int) -> Budget:
    """The budget: nothing, if no member lost its partitions.

    The next owner of lost partitions sends again what could not be committed: what was in flight when the coordinator died,
    and what was delivered until there was a coordinator again.
    """
    lost = any(member.logged("lost") for member in scene.members)
    return Budget((AT_ONCE + meanwhile) * lost, "of lost partitions, delivered while the group had no coordinator")
