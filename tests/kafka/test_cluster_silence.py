"""A member names the brokers that it can't reach: one, the group's coordinator, or all. test_watch.py tests how soon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stream_capi.kafka.watch import STATISTICS_MS
from tests.kafka.sink import PROTOCOLS, Member, numbered, produce
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.cluster import GROUPS
from tests.stack.names import Names
from tests.stack.records import read
from tests.stack.waiting import eventually, until

pytestmark = [
    pytest.mark.real,
    pytest.mark.repeat(
        of="tests/kafka/test_consumer_faults.py::test_without_a_broker_the_member_waits_and_says_so_in_one_line"
    ),
]
PROPERTIES = {**PROTOCOLS["cooperative-sticky"], "session.timeout.ms": 9000, "heartbeat.interval.ms": 1000}
SECONDS = 60.0  # a time-out: that 15 s are enough is shown without a clock in test_watch.py


def _group(cluster: Cluster, names: Names, topic: str, coordinator: int) -> str:
    """A group that this node coordinates. If other tests left it none, it gets a partition of the offsets."""
    read(cluster.bootstrap, [topic], 1, names.group("first"))  # creates __consumer_offsets
    for group in (names.group(str(number)) for number in range(100)):
        if cluster.coordinator(group).id == coordinator:
            return group
    group = names.group()
    others = [node.id for node in cluster.nodes if node.id != coordinator]
    cluster.reassign(GROUPS, {cluster.partition_of(group): [coordinator, *others]})
    return group


def _details(member: Member, event: str) -> str:
    return "; ".join(f"{details}" for said, details in member.reported.lines if said == event)


async def _said(member: Member, event: str, *words: str) -> None:
    """Wait until the lines of this event have all of the words."""
    try:
        await eventually(
            lambda: all(word in _details(member, event) for word in words), SECONDS, f"{event}: {', '.join(words)}"
        )
    except AssertionError as error:
        error.add_note(f"what was reported: {member.reported.lines}")
        raise


def _cut(cluster: Cluster, number: int, fault: str) -> str:
    """Cut the members off from a node; returns its address and id, as the client writes them."""
    clients = cluster.node(number).clients
    {"cut": clients.cut, "half_open": clients.half_open}[fault]()
    return f"{clients.address}/{number}"


async def _read_on(cluster: Cluster, member: Member, topic: str, partitions: int) -> None:
    """Assert that every partition is read again."""
    before = member.read
    for number in range(partitions):
        produce(cluster.bootstrap, topic, number, numbered(5))
    await eventually(lambda: member.read >= before + 5 * partitions, 60, "new records of all partitions")


@pytest.mark.parametrize("fault", ["half_open", "cut"])
async def test_a_leader_out_of_reach_is_named_with_its_partitions(cluster: Cluster, names: Names, fault: str) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2], [2, 3], [3, 1], [2, 1]])
    for number in range(4):
        produce(cluster.bootstrap, topic, number, numbered(5))
    async with Member(cluster.bootstrap_via, _group(cluster, names, topic, 1), [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 20, 60, "all records")
        address = _cut(cluster, 2, fault)
        await _said(member, "broker out of reach", address, f"{topic}[1, 3] wait")
        assert [trouble.subject for trouble in member.thread.troubles] == [address]
        produce(cluster.bootstrap, topic, 0, numbered(5))
        await eventually(lambda: member.read == 25, 20, "what the others lead")
        await asyncio.sleep(7)
        assert member.reported.count("broker out of reach") == 1
        cluster.node(2).clients.heal()
        await eventually(lambda: member.reported.count("broker in reach again") == 1, 60, "the word of its end")
        await _read_on(cluster, member, topic, 4)
        assert member.thread.troubles == ()


@pytest.mark.parametrize("fault", ["cut", "half_open"])
async def test_a_coordinator_out_of_reach_is_named_with_what_waits(cluster: Cluster, names: Names, fault: str) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2], [1, 2]])
    for number in range(2):
        produce(cluster.bootstrap, topic, number, numbered(5))
    async with Member(cluster.bootstrap_via, _group(cluster, names, topic, 3), [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 10, 60, "all records")
        member.commit()
        await eventually(lambda: len(member.results) == 2, 20, "the commits")
        address = _cut(cluster, 3, fault)
        await _said(member, "broker out of reach", address, "commits and assignments wait")
        cluster.node(3).clients.heal()
        await eventually(lambda: member.reported.count("broker in reach again") == 1, 60, "the word of its end")
        await _read_on(cluster, member, topic, 2)


@pytest.mark.parametrize("fault", ["half_open", "cut"])
async def test_a_whole_cluster_out_of_reach_is_named(cluster: Cluster, names: Names, fault: str) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2], [2, 3], [3, 1]])
    for number in range(3):
        produce(cluster.bootstrap, topic, number, numbered(5))
    async with Member(cluster.bootstrap_via, _group(cluster, names, topic, 1), [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 15, 60, "all records")
        await asyncio.sleep(STATISTICS_MS / 1000 + 1)  # until statistics have named the brokers
        addresses = [_cut(cluster, number, fault) for number in (1, 2, 3)]
        await _said(member, "broker out of reach", *addresses, "commits and assignments wait")
        assert member.reported.count("broker out of reach") <= 2
        for node in cluster.nodes:
            node.clients.heal()
        await _read_on(cluster, member, topic, 3)


async def test_a_cluster_that_is_silent_from_the_start_is_named(cluster: Cluster, names: Names) -> None:
    for number in (1, 2, 3):
        _cut(cluster, number, "half_open")
    async with Member(cluster.bootstrap_via, names.group(), [names.topic()], PROPERTIES) as member:
        await _said(member, "broker out of reach", cluster.node(1).clients.address)


def test_the_program_says_it_in_the_log_at_status_and_in_a_metric(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with Scene(tmp_path, cluster, registry, partitions=6, bootstrap=cluster.bootstrap_via) as scene:
        scene.produce(300)
        member = scene.member()
        scene.ledger.await_all(60)
        address = _cut(cluster, 2, "half_open")
        until(
            lambda: address in [notice["subject"] for notice in member.status()["notices"]],
            SECONDS,
            "the notice at /status",
        )
        assert address in str(member.logged("broker out of reach"))
        assert member.metric("stream_capi_broker_out_of_reach", broker=address) == 1
        cluster.node(2).clients.heal()
        until(lambda: member.status()["notices"] == [], 60, "the end of the notice")
        assert member.logged("broker in reach again")
        scene.produce(300)
        scene.close(60)
