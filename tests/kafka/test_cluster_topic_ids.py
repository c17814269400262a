"""The ids of topics while a node of three is out of reach: without them a member sends again what it knows to be delivered."""

from __future__ import annotations

import pytest

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from tests.stack import Cluster
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = pytest.mark.real


@pytest.mark.long
@pytest.mark.timeout(240)  # three restarts of a node
def test_a_killed_node_hides_no_id_even_if_the_client_takes_it_for_the_controller(
    cluster: Cluster, names: Names
) -> None:
    """The metadata may name any node as the controller, so each is killed once; the client goes on asking the one it knows."""
    topic = cluster.create_topic(names.topic())
    admin = KafkaAdmin(KafkaSection(bootstrap_servers=cluster.bootstrap_via))
    ids = admin.topic_ids([topic])
    assert list(ids) == [topic]
    for node in cluster.nodes:
        node.kill()
        until(lambda gone=node.id: gone not in cluster.alive(), 30, "the others' notice")  # type: ignore[misc]  # called here
        assert [admin.topic_ids([topic]) for _ in range(3)] == [ids] * 3, f"without node {node.id}"
        node.restart()
