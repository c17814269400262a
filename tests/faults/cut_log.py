"""A log with two replicas is truncated below the group's committed offset while no member runs, and filled past it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.scene import Scene
from tests.stack import Cluster, Produced, Registry
from tests.stack.waiting import until

_KEPT, _CUT = 2, 1  # the nodes of both replicas: the one that becomes the leader, and the one that alone has the rest
_TOPICS: Mapping[str, Any] = {"assignment": [[_CUT, _KEPT]], "config": {"min.insync.replicas": "1"}}


def scene_of_two_replicas(folder: Path, cluster: Cluster, registry: Registry) -> Scene:
    """A scene whose topics have one partition each, on two of the three nodes."""
    return Scene(folder, cluster, registry, topics=_TOPICS)


def commit_what_one_has(scene: Scene, cluster: Cluster, module: str = "stream_capi") -> list[Produced]:
    """Commit events of which only one replica has the second half; returns the first half."""
    both_have = scene.produce(100)
    member = scene.member(module=module)
    scene.ledger.await_all(60)
    cluster.node(_KEPT).terminate()
    scene.produce(100)
    scene.ledger.await_all(60)
    assert member.terminate() == 0
    return both_have


def cut_and_fill(scene: Scene, cluster: Cluster) -> list[Produced]:
    """Elect, by hand, the replica that lacks the second half; returns new events, which lie at the lost offsets and after."""
    cluster.node(_CUT).kill()
    cluster.node(_KEPT).restart()
    topics = (scene.leads, scene.views)
    until(lambda: {cluster.leader(topic) for topic in topics} == {-1}, 30, "no leader: none that lives is in sync")
    for topic in topics:
        cluster.elect(topic, unclean=True)
    return scene.produce(400)
