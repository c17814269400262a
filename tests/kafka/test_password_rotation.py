"""The user's password changes at the brokers while events arrive: it is read again; no event is lost or sent twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.scene import Scene
from tests.stack import Registry, SecuredBroker
from tests.stack.secured import REAUTHENTICATE_SECONDS
from tests.stack.users import grant, on_group, on_topic
from tests.stack.waiting import until

pytestmark = pytest.mark.real

FIRST, SECOND, THIRD = "canary-password-one", "canary password two", "canary-password-three"


@pytest.mark.repeat(of="tests/integration/test_connections_to_brokers.py::test_check_says_what_where_and_what_to_do")
def test_a_password_that_rotates_under_traffic_loses_nothing(
    tmp_path: Path, secured_broker: SecuredBroker, registry: Registry
) -> None:
    with Scene(tmp_path, secured_broker, registry, 2, bootstrap=secured_broker.sasl) as scene:
        scene.secrets += [FIRST, SECOND, THIRD]
        user = scene.group
        properties = secured_broker.scram(user, FIRST)
        del properties["sasl.password"]
        scene.settings["kafka"]["properties"] |= properties
        scene.settings["kafka"]["sasl_password_file"] = "kafka-password"
        file = tmp_path / "kafka-password"
        file.write_text(FIRST + "\n")
        rights = [on_topic("READ", scene.leads), on_topic("READ", scene.views), on_topic("WRITE", scene.dead)]
        grant(secured_broker.admin, user, *rights, on_group("READ", scene.group))
        scene.produce(200, bad=4)
        member = scene.member()
        for rotation, password in enumerate((SECOND, THIRD), 1):
            secured_broker.scram(user, password)  # the brokers change it first, and refuse the former one
            scene.produce(200, bad=4)
            file.write_text(password)
            until(lambda n=rotation: len(member.logged("password changed")) == n, 15, "word of the password")  # type: ignore[misc]
            ends = time.monotonic() + 2 * REAUTHENTICATE_SECONDS  # each connection authenticates again meanwhile
            while time.monotonic() < ends:
                scene.produce(20, bad=2)
                time.sleep(0.5)
        file.unlink()
        until(lambda: bool(member.logged("password file unreadable")), 15, "word of the file that is gone")
        assert any(notice["subject"] == "kafka.sasl_password_file" for notice in member.status()["notices"])
        file.write_text(THIRD)
        until(lambda: bool(member.logged("password file readable again")), 15, "word of the file that is back")
        scene.produce(100, bad=4)
        scene.close()
        assert member.terminate() == 0
