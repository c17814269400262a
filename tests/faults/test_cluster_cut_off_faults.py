"""One of two members is cut off from the brokers, but still reaches the endpoint: the other one takes over.

The member that is cut off connects through the proxies, the other one directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from stream_capi.model import TopicPartition
from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.faults.budgets import SMALL
from tests.program import Program
from tests.scene import Budget, Scene
from tests.stack import Cluster, Registry
from tests.stack.cluster import Node
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

# For the other member: with a shorter session it could be evicted on a busy machine, which would repeat events too.
PATIENT = {"session.timeout.ms": 45_000}
PARTITIONS = 3  # of each topic
TAKEN_OVER_SECONDS = 30.0  # the session of 9 s and a rebalance, on a busy machine


def slow(request: RequestInfo) -> Action:
    """Answer slowly, so that much is read ahead and unanswered when the member is cut off."""
    return Action(delay_seconds=0.2)


def uncommitted(scene: Scene, partitions: Iterable[TopicPartition]) -> int:
    """How many events of these partitions the committed offsets have not passed."""
    committed = {
        TopicPartition(topic, number): offset
        for topic in (scene.leads, scene.views)
        for number, (offset, _) in scene.broker.committed(scene.group, topic).items()
    }
    mine = set(partitions)
    return sum(
        at >= committed.get(TopicPartition(topic, number), 0)
        for topic, number, at in scene.ledger.produced
        if (topic, number) in mine
    )


def two_members(scene: Scene, cluster: Cluster) -> tuple[Program, Program]:
    """Start a member that connects through the proxies and one that connects directly, and give both a backlog."""
    properties = {**scene.settings["kafka"]["properties"], **PATIENT}
    cut_off, other = (
        scene.member(),
        scene.member(kafka={"bootstrap_servers": cluster.bootstrap, "properties": properties}),
    )
    until(lambda: len(cut_off.owned()) == len(other.owned()) == PARTITIONS, 60, "an even share")
    scene.produce(3000, bad=4)
    for member in (cut_off, other):
        until(lambda m=member: m.metric("stream_capi_delivered_total") > 100, 30, "deliveries")  # type: ignore[misc]
    return cut_off, other


def part(nodes: Iterable[Node]) -> None:
    """Drop all bytes between clients and these nodes, without refusing connections."""
    for node in nodes:
        node.clients.half_open()


def heal(nodes: Iterable[Node]) -> None:
    for node in nodes:
        node.clients.heal()


def end(scene: Scene, cut_off: Program, nodes: Iterable[Node], duplicates: Budget) -> None:
    """Heal the connection: the member gets a share again. Assert that events produced after the loss are sent only once."""
    after = scene.produce(200)
    scene.ledger.await_all(60)
    heal(nodes)
    until(lambda: bool(cut_off.owned()) and cut_off.is_ready(), 60, "a share for the one that is back")
    after += scene.produce(200)
    scene.close(60, duplicates=duplicates)
    answered = scene.endpoint.answered()
    assert [event.event_id for event in after if answered[event.event_id] != 1] == []


def test_a_member_cut_off_from_all_brokers_repeats_no_more_than_it_had_read(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Until it learns of the loss, it delivers what it has read, but can't commit it: the other one sends all of it again."""
    with Scene(tmp_path, cluster, registry, PARTITIONS, slow, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        cut_off, other = two_members(scene, cluster)
        mine, delivered = cut_off.owned(), cut_off.metric("stream_capi_delivered_total")
        part(cluster.nodes)
        budget = Budget(uncommitted(scene, mine), "not committed when it was cut off, after which it can read nothing")
        until(lambda: len(other.owned()) == 2 * PARTITIONS, TAKEN_OVER_SECONDS, "all partitions at the other one")
        until(lambda: bool(cut_off.logged("lost")), TAKEN_OVER_SECONDS, "the loss")
        assert cut_off.metric("stream_capi_delivered_total") > delivered, "it did not reach the endpoint"
        assert not cut_off.is_ready()
        until(lambda: bool(cut_off.logged("broker out of reach")), TAKEN_OVER_SECONDS, "the line on the brokers")
        end(scene, cut_off, cluster.nodes, budget)


def test_a_member_cut_off_from_the_coordinator_alone_repeats_no_more_than_it_could_not_commit(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """It goes on reading from the other brokers and delivers, but can't commit."""
    with Scene(tmp_path, cluster, registry, PARTITIONS, slow, bootstrap=cluster.bootstrap_via, sections=SMALL) as scene:
        cut_off, other = two_members(scene, cluster)
        mine, nodes = cut_off.owned(), [cluster.coordinator(scene.group)]
        part(nodes)
        since = scene.produce(300)
        why = "not committed when it was cut off, or produced since and before it learnt of its loss"
        budget = Budget(uncommitted(scene, mine), why)
        read_on = {event.event_id for event in since if TopicPartition(event.topic, event.partition) in mine}
        until(lambda: bool(read_on & set(scene.endpoint.answered())), 30, "deliveries of what was produced since")
        until(lambda: len(other.owned()) == 2 * PARTITIONS, TAKEN_OVER_SECONDS, "all partitions at the other one")
        until(lambda: bool(cut_off.logged("lost")), TAKEN_OVER_SECONDS, "the loss")
        end(scene, cut_off, nodes, budget)
