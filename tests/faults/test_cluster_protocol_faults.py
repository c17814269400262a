"""A group changes from the classic protocol to ``consumer`` and back, in the ways that the brokers allow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.faults.budgets import steady
from tests.program import KEY
from tests.scene import Budget, Scene
from tests.stack import Cluster, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

Protocol = Mapping[str, Any]  # the properties of a member
STICKY: Protocol = {}  # the default: classic, cooperative-sticky
RANGE: Protocol = {"partition.assignment.strategy": "range"}
CONSUMER: Protocol = {"group.protocol": "consumer"}
REFUSAL = "ConsumerGroupHeartbeat fatal error: Broker: The group id does not exist"
NO_DUPLICATE = Budget(0, "who stops in order commits all that it sent")


def scene_of(folder: Path, cluster: Cluster, registry: Registry) -> Scene:
    return Scene(folder, cluster, registry, 2, steady, bootstrap=cluster.bootstrap_via)


def run_to_its_end(scene: Scene, properties: Protocol) -> subprocess.CompletedProcess[str]:
    """Run a member that ends by itself, and return its result."""
    kafka = {**scene.settings["kafka"], "properties": properties}
    file = scene.folder / "refused.toml"
    file.write_text(tomli_w.dumps({**scene.settings, "kafka": kafka, "admin": {"port": 0}}))
    command = [sys.executable, "-m", "stream_capi", "run", "--config", str(file)]
    env = {**os.environ, "CAPI_TEST_KEY": KEY}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(RANGE, CONSUMER, id="over"),
        pytest.param(CONSUMER, RANGE, id="back", marks=pytest.mark.repeat),
        pytest.param(CONSUMER, STICKY, id="back to the default"),
    ],
)
def test_a_group_changes_its_protocol_member_by_member(
    before: Protocol, after: Protocol, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Under traffic; each new member starts before the one that it replaces stops."""
    with scene_of(tmp_path, cluster, registry) as scene:
        leaving = [scene.member(kafka={"properties": before}) for _ in range(2)]
        for member in leaving:
            scene.produce(600, bad=4)
            successor = scene.member(ready=False, kafka={"properties": after})
            until(lambda m=successor: bool(m.owned()), 60, "a share for the new one")  # type: ignore[misc]
            scene.produce(300)
            assert member.terminate() == 0
        scene.produce(300, bad=4)
        scene.close(90, duplicates=NO_DUPLICATE)


def test_a_group_of_the_default_strategy_goes_over_when_all_its_members_have_stopped(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Before that the brokers refuse: cooperative-sticky puts its own data into the assignment, which would be lost."""
    with scene_of(tmp_path, cluster, registry) as scene:
        leaving = [scene.member(kafka={"properties": STICKY}) for _ in range(2)]
        until(lambda: len(leaving[0].owned()) == len(leaving[1].owned()) == 2, 60, "an even share")
        scene.produce(600, bad=4)
        before = [len(member.logged("revoked")) for member in leaving]
        refused = run_to_its_end(scene, CONSUMER)
        assert refused.returncode == 3
        assert REFUSAL in refused.stderr
        assert "stop all members first" in refused.stderr
        astray = scene.member(ready=False, kafka={"properties": RANGE})
        until(lambda: bool(astray.logged("the group uses another assignment strategy")), 30, "the refusal of range")
        assert astray.terminate() == 0
        assert [len(member.logged("revoked")) for member in leaving] == before, "the others were disturbed"
        for member in leaving:
            assert member.terminate() == 0
        scene.produce(600)
        for _ in range(2):
            scene.member(kafka={"properties": CONSUMER})
        scene.close(90, duplicates=NO_DUPLICATE)
