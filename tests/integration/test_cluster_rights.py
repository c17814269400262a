"""The program with a user of least rights, over SASL_SSL and through the proxies; and ``check`` where one right is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.commands.running import configuration_of, run_command
from tests.integration.test_commands import command
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.users import Right, grant, on_group, on_topic, take_away
from tests.stack.waiting import until

pytestmark = pytest.mark.real

PASSWORD = "canary-of-a-kafka-user"


class Secured(NamedTuple):
    scene: Scene
    user: str
    rights: list[Right]


@pytest.fixture
def secured(tmp_path: Path, cluster: Cluster, registry: Registry) -> Iterator[Secured]:
    """A scene whose user may do what docs/operations.md asks for, and nothing else."""
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_users) as scene:
        scene.secrets.append(PASSWORD)
        user = scene.group
        scene.settings["kafka"]["properties"] |= cluster.users.add(cluster.admin, user, PASSWORD)
        rights = [
            on_topic("READ", scene.leads),
            on_topic("READ", scene.views),
            on_topic("WRITE", scene.dead),
            on_group("READ", scene.group),
        ]
        grant(cluster.admin, user, *rights)
        yield Secured(scene, user, rights)


def test_least_rights_are_enough_to_deliver_dead_letter_and_commit(secured: Secured) -> None:
    secured.scene.produce(300, bad=8)
    member = secured.scene.member()
    secured.scene.close()
    assert member.terminate() == 0
    run_command(secured.scene, "check")


@pytest.mark.parametrize("missing", range(4), ids=["leads", "views", "dead letters", "group"])
@pytest.mark.parametrize("describes", [False, True], ids=["none", "describe"])
def test_check_names_the_right_that_is_missing(
    secured: Secured, cluster: Cluster, missing: int, describes: bool
) -> None:
    secured.scene.produce(10)
    right = secured.rights[missing]
    if describes:
        grant(cluster.admin, secured.user, right._replace(operation=on_topic("DESCRIBE", "").operation))
    take_away(cluster.admin, secured.user, right)
    kind = "dead-letter topic" if right.name == secured.scene.dead else right.kind.name.lower()
    wanted = [f"FAIL  {kind} {right.name}: this user lacks {right.operation.name} on it; grant it with an ACL"]
    # A node that has not heard of the change yet may be the one that is asked.
    until(lambda: _failed(secured.scene) == wanted, 30, f"{wanted} and nothing else")


def _failed(scene: Scene) -> list[str]:
    done = command("check", "--config", configuration_of(scene))
    assert PASSWORD not in done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
