"""An unclean leader election below the committed offset, on three brokers."""

from __future__ import annotations

import pytest

from stream_capi.model import TopicPartition
from tests.kafka.sink import Member, numbered, produce
from tests.stack import Cluster
from tests.stack.names import Names
from tests.stack.waiting import eventually, until

pytestmark = pytest.mark.real


@pytest.mark.repeat(of="tests/kafka/test_log_truncated.py::test_a_log_cut_while_no_member_runs_stops_the_partition")
async def test_events_that_fill_a_cut_log_again_are_not_passed_over(cluster: Cluster, names: Names) -> None:
    settings = {"min.insync.replicas": "1", "unclean.leader.election.enable": "false"}
    topic, group = cluster.create_topic(names.topic(), assignment=[[1, 2]], config=settings), names.group()
    tp = TopicPartition(topic, 0)
    produce(cluster.bootstrap, topic, 0, numbered(1200))
    async with Member(cluster.bootstrap, group, [topic], {}) as member:
        await eventually(lambda: member.read == 1200, 60, "what both replicas have")
        cluster.node(2).terminate()
        produce(cluster.bootstrap, topic, 0, numbered(1200, 1200))
        await eventually(lambda: member.read == 2400, 60, "what the leader alone has")
        member.commit()
        await eventually(lambda: len(member.results) == 1, 30, "the commit's end")
        assert member.results[0].error is None
    cluster.node(1).kill()
    cluster.node(2).restart()
    until(lambda: cluster.leader(topic) == -1, 30, "no leader: none that lives is in sync")
    cluster.elect(topic, unclean=True)
    until(lambda: cluster.leader(topic) == 2, 30, "the follower as leader")
    produce(cluster.bootstrap, topic, 0, numbered(2400, 5000))
    async with Member(cluster.bootstrap, group, [topic], {}) as member:
        await eventually(lambda: member.stopped == {tp: "log_truncated"}, 60, "the stop")
        assert member.read == 0
    assert cluster.committed(group, topic)[0][0] == 2400
