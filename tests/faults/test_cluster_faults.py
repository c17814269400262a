"""Faults of one node of three: delivery goes on with the others, and a member that lost its partitions repeats little."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its own docs say so

from tests.faults.budgets import SMALL, steady
from tests.faults.traffic import await_commits, in_flight_when_lost
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.cluster import Node
from tests.stack.waiting import until

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(240),
    pytest.mark.repeat(
        of="tests/faults/test_broker_faults.py::test_a_connection_to_the_broker_that_is_cut_or_half_open"
    ),
]


def frozen(node: Node) -> None:
    """Freeze the node for longer than its session with the controller and the member's: another node becomes coordinator."""
    node.freeze()
    time.sleep(20)
    node.thaw()


def cut_off(node: Node) -> None:
    """Cut the node off from clients only, for longer than the session: it stays the coordinator, and evicts the member."""
    node.clients.half_open()
    time.sleep(20)
    node.clients.heal()


def restarted(node: Node) -> None:
    node.restart()


class Fault(NamedTuple):
    """A fault of the coordinator's node, a group protocol, and whether the member certainly loses its partitions by it."""

    happens: Callable[[Node], None]
    protocol: str
    loses: bool


@pytest.mark.parametrize(
    "fault",
    [Fault(frozen, "classic", True), Fault(cut_off, "consumer", True), Fault(restarted, "classic", False),
     Fault(cut_off, "classic", True)],
    ids=lambda fault: f"{fault.happens.__name__}, {fault.protocol}",
)  # fmt: skip
def test_a_fault_of_the_coordinator_repeats_no_more_than_was_in_flight(
    fault: Fault, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Events read before the fault are answered during it, but no commit succeeds."""
    with Scene(tmp_path, cluster, registry, 3, steady, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        scene.settings["kafka"]["properties"] |= {"group.protocol": fault.protocol}
        scene.produce(1500, bad=4)
        member = scene.member()
        await_commits(scene)
        fault.happens(cluster.coordinator(scene.group))
        scene.produce(100)
        scene.close(90, in_flight_when_lost(scene))
        assert member.logged("lost") or not fault.loses, "the fault was too short to show anything"


def test_while_the_quorum_is_lost_events_are_delivered_and_partitions_asked_for_meanwhile_are_read_after_it(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    quick = {"kafka": {"properties": {"topic.metadata.refresh.interval.ms": 1000}}}
    with Scene(tmp_path, cluster, registry, 2, steady, bootstrap=cluster.bootstrap_via, sections=quick) as scene:
        scene.produce(200)
        member = scene.member()
        scene.ledger.await_all(60)
        for node in cluster.nodes:
            node.controller.cut()
        time.sleep(6)  # longer than a node's session with the controller
        asked = cluster.admin.create_partitions([NewPartitions(scene.leads, 4)], request_timeout=60)[scene.leads]
        scene.produce(400, bad=4)
        scene.ledger.await_all(60)
        assert member.is_ready()
        assert not asked.done(), "somebody made the partitions without a quorum"
        scene.ledger.freeze()
        for node in cluster.nodes:
            node.controller.heal()
        asked.result(60)
        until(lambda: len(cluster.end_offsets(scene.leads)) == 4, 30, "the new partitions")
        produced = scene.produce(600)
        assert {event.partition for event in produced if event.topic == scene.leads} == {0, 1, 2, 3}
        wanted = {event.event_id for event in produced}
        until(lambda: wanted <= set(scene.endpoint.answered()), 60, "deliveries from the new partitions")
        assert {place.partition for place in member.owned() if place.topic == scene.leads} == {0, 1, 2, 3}
        scene.assert_repeated()
