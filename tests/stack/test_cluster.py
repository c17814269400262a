"""Tests of the cluster fixture: what other tests rely on when they kill nodes, cut their proxies and elect leaders."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.cluster import Node
from tests.stack.names import Names
from tests.stack.records import acknowledged, read, write
from tests.stack.users import grant, on_topic, take_away
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.repeat]  # these tests don't cover the program


def _epochs(cluster: Cluster, topic: str, count: int) -> list[tuple[bytes, int]]:
    """Value and leader epoch of the first records of partition 0."""
    config = {"bootstrap.servers": cluster.bootstrap, "group.id": topic, "enable.auto.commit": False, "log_level": 0}
    with closing(Consumer(config)) as reader:
        reader.assign([TopicPartition(topic, 0, 0)])
        found = reader.consume(count, 20)
    return [(message.value() or b"", message.leader_epoch() or 0) for message in found]


def test_three_nodes_are_small(cluster: Cluster) -> None:
    resident = [node.resident_mb for node in cluster.nodes]
    print(f"started in {cluster.started_in:.1f} s, resident {resident} MB")  # noqa: T201 -- shown with -rP
    assert cluster.alive() == {1, 2, 3}
    assert sum(resident) < 1000


def test_replicas_lie_where_a_test_wants_them(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2], [2, 3], [3, 1]])
    assert [cluster.leader(topic, partition) for partition in range(3)] == [1, 2, 3]
    assert [cluster.in_sync(topic, partition) for partition in range(3)] == [{1, 2}, {2, 3}, {3, 1}]
    everywhere = cluster.create_topic(names.topic("everywhere"), 2)
    assert [cluster.in_sync(everywhere, partition) for partition in range(2)] == [{1, 2, 3}] * 2
    assert cluster.in_sync(cluster.create_topic(names.topic("one"), replication=1)) == {
        cluster.leader(names.topic("one"))
    }


def test_a_killed_node_comes_back_into_sync(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2, 3]])
    cluster.node(1).kill()
    until(lambda: cluster.leader(topic) in (2, 3), 20, "another leader")
    assert cluster.in_sync(topic) == {2, 3}
    assert acknowledged(cluster.bootstrap, topic, 10)
    cluster.node(1).restart()
    until(lambda: cluster.in_sync(topic) == {1, 2, 3}, 20, "the node in sync")
    cluster.elect(topic)
    assert cluster.leader(topic) == 1
    assert cluster.end_offsets(topic) == {0: 1}


def test_two_replicas_must_have_what_is_acknowledged(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2]])
    cluster.node(2).kill()
    until(lambda: cluster.in_sync(topic) == {1}, 20, "the replica out of sync")
    assert not acknowledged(cluster.bootstrap, topic, 3)
    cluster.restore()
    assert acknowledged(cluster.bootstrap, topic, 15)


def test_an_unclean_election_cuts_the_log_and_raises_the_epoch(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[1, 2]], config={"min.insync.replicas": "1"})
    write(cluster.bootstrap, topic, [b"both"] * 10)
    cluster.node(2).terminate()
    write(cluster.bootstrap, topic, [b"leader"] * 10)
    cluster.node(1).kill()
    cluster.node(2).restart()
    until(lambda: cluster.leader(topic) == -1, 20, "no leader: none that lives is in sync")
    cluster.elect(topic, unclean=True)
    until(lambda: cluster.leader(topic) == 2, 20, "the follower as leader")
    # A node that does not know the new leader yet can't tell the end offset.
    until(lambda: cluster.end_offsets(topic) == {0: 10}, 20, "the follower's log")
    write(cluster.bootstrap, topic, [b"other"] * 5)
    found = _epochs(cluster, topic, 15)
    assert [value for value, _ in found] == [b"both"] * 10 + [b"other"] * 5
    assert found[-1][1] > found[0][1]
    cluster.restore()
    assert cluster.end_offsets(topic) == {0: 15}, "the former leader gave up what only it had"


@pytest.mark.parametrize("fault", ["cut", "half_open"])
def test_a_client_behind_the_proxies_is_parted_from_a_node_and_the_test_is_not(
    cluster: Cluster, names: Names, fault: str
) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[2, 1, 3]])
    assert acknowledged(cluster.bootstrap_via, topic, 10)
    getattr(cluster.node(2).clients, fault)()
    assert not acknowledged(cluster.bootstrap_via, topic, 3)
    assert acknowledged(cluster.bootstrap, topic, 10)
    assert cluster.leader(topic) == 2
    cluster.node(2).clients.heal()
    assert acknowledged(cluster.bootstrap_via, topic, 15)


def test_a_leader_that_no_follower_reaches_is_left_alone_in_sync(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[3, 1]], config={"min.insync.replicas": "1"})
    cluster.node(3).replication.cut()
    assert acknowledged(cluster.bootstrap, topic, 20)
    until(
        lambda: cluster.in_sync(topic) == {3}, 20, "word of it with the node that is asked, which may hear of it later"
    )


def knows(node: Node, topic: str) -> bool:
    """Whether this node knows a topic: cut off from the quorum, it does not learn of one."""
    return topic in AdminClient({"bootstrap.servers": node.bootstrap, "log_level": 0}).list_topics(timeout=10).topics


def test_a_lost_quorum_leaves_the_data_alive(cluster: Cluster, names: Names) -> None:
    topic, later = cluster.create_topic(names.topic()), names.topic("later")
    until(lambda: all(knows(node, topic) for node in cluster.nodes), 30, "the topic with each node")
    write(cluster.bootstrap, topic, [b"none"])
    read(cluster.bootstrap, [topic], 1, names.group("first"))  # creates __consumer_offsets
    for node in cluster.nodes:
        node.controller.cut()
    with pytest.raises(Exception, match=r"timed out|_TIMED_OUT|REQUEST_TIMED_OUT"):
        cluster.admin.create_topics([NewTopic(later, 1)], operation_timeout=2, request_timeout=3)[later].result(10)
    time.sleep(6)  # longer than the session after which the controller fences a silent node
    write(cluster.bootstrap_via, topic, [b"one", b"two"])
    values = [message.value() for message in read(cluster.bootstrap_via, [topic], 3, names.group())]
    assert values == [b"none", b"one", b"two"]
    cluster.restore()
    cluster.create_topic(names.topic("after"))


def test_a_frozen_node_is_given_up_and_taken_back(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic(), assignment=[[3, 1, 2]])
    cluster.node(3).freeze()
    until(lambda: cluster.leader(topic) in (1, 2), 30, "another leader")
    cluster.node(3).thaw()
    until(lambda: cluster.in_sync(topic) == {1, 2, 3}, 30, "the node in sync")


def test_the_coordinator_of_a_group_is_the_one_that_the_brokers_name(cluster: Cluster, names: Names) -> None:
    topic = cluster.create_topic(names.topic())
    write(cluster.bootstrap, topic, [b"one"])
    found = []
    for number in range(8):
        group = names.group(f"group-{number}")
        read(cluster.bootstrap, [topic], 1, group)
        named = cluster.admin.describe_consumer_groups([group])[group].result(10).coordinator
        assert cluster.coordinator(group).id == named.id
        found.append(named.id)
    assert len(set(found)) > 1, "all of these groups have the same coordinator, which would hide a wrong one"


def test_a_user_may_do_what_was_granted_through_the_proxies(cluster: Cluster, names: Names) -> None:
    topic, user = cluster.create_topic(names.topic(), assignment=[[2, 1, 3]]), names.prefix
    properties = cluster.users.add(cluster.admin, user, "canary-of-a-user")

    def may_write(seconds: float, **other: str) -> bool:
        given = {name.replace(".", "_"): value for name, value in properties.items()} | other
        return acknowledged(cluster.bootstrap_users, topic, seconds, **given)

    assert not may_write(3)
    write_it = on_topic("WRITE", topic)
    grant(cluster.admin, user, write_it)
    assert may_write(15)
    assert not may_write(3, sasl_password="another")
    assert not acknowledged(cluster.bootstrap_users, topic, 3)
    cluster.node(2).users.cut()
    assert not may_write(3)
    cluster.node(2).users.heal()
    assert may_write(15)
    take_away(cluster.admin, user, write_it)
    assert not may_write(3)


def test_a_scene_plays_on_the_cluster(tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    with Scene(tmp_path, cluster, registry, bootstrap=cluster.bootstrap_via) as scene:
        assert cluster.in_sync(scene.leads) == cluster.in_sync(scene.dead) == {1, 2, 3}
        scene.produce(200, bad=4)
        scene.member()
        scene.close()
