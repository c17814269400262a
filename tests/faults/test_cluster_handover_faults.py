"""Hand-overs on three nodes: members are killed or restarted, while the group's coordinator stays or moves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.program import Program
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.waiting import until
from tests.standstill import BURST, assert_replaced
from tests.workers.processes import owned_by, workers_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(240),
    pytest.mark.repeat(
        of="tests/faults/test_handover_faults.py::test_members_that_join_and_leave_in_order_hand_over_without_a_duplicate"
    ),
]

# A restart takes seconds on a busy machine, and the session set at the tests' brokers is only 5 s.
SESSION_MS = 30_000
HEARD_SECONDS = 3  # enough heartbeats for all members to learn of a rebalance
STATIC: Mapping[str, Mapping[str, Any]] = {"classic": {}, "consumer": {"group.protocol": "consumer"}}


def test_a_killed_member_is_replaced_within_fifteen_seconds_and_the_others_commit_all_the_while(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """With the program's default time-outs, as in production."""
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_via) as scene:
        killed, survivor = scene.member(), scene.member()
        until(lambda: len(killed.owned()) == len(survivor.owned()) == 2, 60, "an even share")
        assert_replaced(scene, killed.kill, killed.owned(), survivor.owned())
        scene.close(60, BURST)


def test_a_killed_worker_is_replaced_within_fifteen_seconds_and_the_other_commits_all_the_while(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_via) as scene:
        program = scene.member(options=("--workers", "2"))
        killed, survivor = workers_of(program)
        until(lambda: _share(killed) == _share(survivor) == 2, 60, "an even share")
        assert_replaced(scene, killed.kill, owned_by(killed), owned_by(survivor))
        scene.close(60, BURST)


def _share(worker: psutil.Process) -> int:
    return len(owned_by(worker))


@pytest.mark.parametrize("coordinator", ["moves", "stays"])
@pytest.mark.parametrize("protocol", STATIC)
def test_while_a_static_member_restarts_the_others_see_no_rebalance(
    protocol: str, coordinator: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_via) as scene:
        cluster.configure_group(scene.group, {"consumer.session.timeout.ms": str(SESSION_MS)})
        one, two = ({"properties": {**scene.settings["kafka"]["properties"], **STATIC[protocol], "group.instance.id": name}}
                    for name in ("one", "two"))  # fmt: skip
        first, other = scene.member(kafka=one), scene.member(kafka=two)
        until(lambda: len(first.owned()) == len(other.owned()) == 2, 60, "an even share")
        had, before = first.owned(), rebalances(other)
        assert first.terminate() == 0
        if coordinator == "moves":
            time.sleep(HEARD_SECONDS)
            cluster.coordinator(scene.group).terminate()
        scene.produce(200)
        again = scene.member(kafka=one)
        until(lambda: len(again.owned()) == 2, 60, "a share for it again")
        scene.close(90, duplicates=0)
        time.sleep(HEARD_SECONDS)
        assert rebalances(other) == before
        assert again.owned() == had


def rebalances(member: Program) -> list[int]:
    """How often partitions were assigned to it, revoked from it and lost."""
    return [len(member.logged(event)) for event in ("assigned", "revoked", "lost")]
