"""The least rights of docs/connect.md, with a real authorizer: each command works with them, and fails without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.running import run_command
from tests.deploy.program import ROOT
from tests.scene import Scene
from tests.stack import Registry, SecuredBroker
from tests.stack.users import Right, grant, on_group, on_groups, on_topic

pytestmark = pytest.mark.real

PASSWORD = "canary-of-least-rights"


@pytest.mark.repeat(of="test_the_page_lists_these_rights")
def test_each_command_needs_the_rights_of_the_page_and_no_more(
    tmp_path: Path, secured_broker: SecuredBroker, registry: Registry
) -> None:
    with Scene(tmp_path, secured_broker, registry, 2, bootstrap=secured_broker.sasl) as scene:
        scene.secrets.append(PASSWORD)
        scene.settings["kafka"]["properties"] |= secured_broker.scram(scene.group, PASSWORD)
        replay = ("replay", "--topic", scene.leads, "--from", "earliest", "--execute")
        redrive = ("dead-letters", "redrive", "--execute")
        purge = ("dead-letters", "purge", "--before", "0m", "--also-open")
        lacks = f"this user lacks DELETE on topic {scene.dead}; grant it with an ACL"

        def allow(*rights: Right) -> None:
            grant(secured_broker.admin, scene.group, *rights)

        scene.produce(200, bad=8)
        run_command(scene, "dry-run", code=3)
        allow(on_topic("READ", scene.leads), on_topic("READ", scene.views))
        run_command(scene, "dry-run")
        allow(on_group("READ", scene.group))
        run_command(scene, "check", code=1)
        allow(on_topic("WRITE", scene.dead))
        run_command(scene, "check")
        member = scene.member()
        scene.ledger.close(60)  # not the scene's close: it doesn't expect the request of `check`
        scene.assert_repeated()
        run_command(scene, "status")
        assert member.terminate() == 0
        run_command(scene, "reset", "--to", "latest", "--execute")

        run_command(scene, *replay, code=3)
        allow(on_groups("READ", f"{scene.group}."))
        run_command(scene, *replay)

        run_command(scene, "dead-letters", "list", code=3)
        allow(on_topic("READ", scene.dead))
        run_command(scene, "dead-letters", "list")
        run_command(scene, *redrive)

        assert lacks in run_command(scene, *purge).stderr, "a plan says what its execution will lack"
        assert lacks in run_command(scene, *purge, "--execute", code=3).stderr
        assert secured_broker.beginning_offsets(scene.dead) == {0: 0}
        allow(on_topic("DELETE", scene.dead))
        assert lacks not in run_command(scene, *purge).stderr
        run_command(scene, *purge, "--execute")
        assert secured_broker.beginning_offsets(scene.dead) == secured_broker.end_offsets(scene.dead)


def test_the_page_lists_these_rights() -> None:
    text = (ROOT / "docs/connect.md").read_text()
    for row in (
        "| `READ` | the topic of each source |",
        "| `READ` | group `kafka.group_id` |",
        "| `WRITE` | topic `dead_letter.topic` |",
        "| `READ` | groups that begin with `kafka.group_id` and a dot |",
        "| `READ` | topic `dead_letter.topic` |",
        "| `DELETE` | topic `dead_letter.topic` |",
    ):
        assert row in text
