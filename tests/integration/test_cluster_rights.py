"""The program with least rights, over SASL_SSL and through proxies; and ``check`` if one right is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # as its documentation imports it

from tests.commands.running import configuration_of, run_command
from tests.integration.test_commands import command
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.users import Right, grant, take_away
from tests.stack.waiting import until
from tests.user_scene import PASSWORD, Rights, UserScene

pytestmark = [pytest.mark.matrix, pytest.mark.real]


@pytest.fixture
def scene(tmp_path: Path, cluster: Cluster, registry: Registry) -> Iterator[UserScene]:
    with UserScene(tmp_path, cluster, registry) as scene:
        yield scene


def test_least_rights_are_enough_to_deliver_dead_letter_and_commit(scene: UserScene) -> None:
    scene.produce(300, bad=8)
    member = scene.member()
    scene.close()
    assert member.terminate() == 0
    run_command(scene, "check")


@pytest.mark.parametrize("missing", Rights._fields)
@pytest.mark.parametrize("describes", [False, True], ids=["none", "describe"])
def test_check_names_the_right_that_is_missing(scene: UserScene, missing: str, describes: bool) -> None:
    scene.produce(10)
    right: Right = getattr(scene.rights, missing)
    admin = scene.cluster.admin
    if describes:
        grant(admin, scene.user, right._replace(operation=AclOperation.DESCRIBE))
    take_away(admin, scene.user, right)
    kind = "dead-letter topic" if right.name == scene.dead else right.kind.name.lower()
    wanted = [f"FAIL  {kind} {right.name}: this user lacks {right.operation.name} on it; grant it with an ACL"]
    # The node that answers may not have received the change yet.
    until(lambda: _failed(scene) == wanted, 30, f"{wanted} and nothing else")


def _failed(scene: Scene) -> list[str]:
    done = command("check", "--config", configuration_of(scene))
    assert PASSWORD not in done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
