"""docs/connect.md: with a real broker, ``check`` prints what the page shows for each way to log in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands.running import run_command
from tests.deploy.program import ROOT
from tests.scene import Scene
from tests.stack import Registry, SecuredBroker
from tests.stack.users import CERTIFIED, grant, on_group, on_topic

pytestmark = pytest.mark.real

PASSWORD = "canary-of-the-connect-page"


def _of_page(title: str) -> list[str]:
    text = (ROOT / "docs/connect.md").read_text()
    (found,) = re.findall(rf"^## {re.escape(title)}$.*?^```text\n(pass.*?)^```$", text, re.M | re.S)
    assert isinstance(found, str)
    return found.splitlines()


def _with_the_pages_names(scene: Scene, line: str) -> str:
    for name, on_page in (
        (scene.leads, "leads"),
        (scene.views, "page-views"),
        (scene.dead, "stream-capi.dead-letters"),
    ):
        line = line.replace(name, on_page)
    line = line.replace(scene.group, "stream-capi")
    line = re.sub(r"^(pass  endpoint http://)[^/]+", r"\g<1>127.0.0.1:8080", line)
    line = re.sub(r"^(pass  admin port )\d+", r"\g<1>9464", line)
    line = re.sub(r"^(pass  open files: )\d+ needed at most, \d+", r"\g<1>216 needed at most, 20000", line)
    return re.sub(r"^(pass  brokers: ).+", r"\g<1>kafka.internal", line)


@pytest.mark.repeat(of="tests/integration/test_connections_to_brokers.py::test_check_says_what_where_and_what_to_do")
@pytest.mark.parametrize("title", ["Amazon MSK, SCRAM", "OAuth of a company", "Certificates"])
def test_check_prints_what_the_page_shows(
    tmp_path: Path, secured_broker: SecuredBroker, registry: Registry, title: str
) -> None:
    by_certificate = title == "Certificates"
    bootstrap = secured_broker.mtls if by_certificate else secured_broker.sasl
    with Scene(tmp_path, secured_broker, registry, 4, bootstrap=bootstrap, dead_letters=False) as scene:
        secured_broker.create_topic(scene.dead, 4)
        scene.secrets += [PASSWORD, secured_broker.tokens.secret]
        user = CERTIFIED if by_certificate else scene.group
        scene.settings["kafka"]["properties"] |= {
            "Amazon MSK, SCRAM": lambda: secured_broker.scram(user, PASSWORD),
            "OAuth of a company": lambda: secured_broker.oidc(user),
            "Certificates": secured_broker.certified,
        }[title]()
        reads = [on_topic("READ", scene.leads), on_topic("READ", scene.views), on_group("READ", scene.group)]
        grant(secured_broker.admin, user, *reads, on_topic("WRITE", scene.dead))
        scene.produce(20)
        printed = run_command(scene, "check").stdout.splitlines()
        shown = [re.sub(r"(kafka\.internal):\d+$", r"\g<1>", line) for line in _of_page(title)]
        assert [_with_the_pages_names(scene, line) for line in printed] == shown
