"""Without a configured form of the key, the program finds the one that the endpoint accepts: the bare key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
MOST_REFUSED = 20


@pytest.fixture
def scene(tmp_path: Path, broker: Broker, registry: Registry) -> Iterator[Scene]:
    with Scene(tmp_path, broker, registry, authorization="raw") as of_test:
        assert "authorization" not in of_test.settings["endpoint"]
        yield of_test


def all_arrived(scene: Scene, shown_by: list[Program]) -> None:
    scene.close(90)
    assert sum(scene.endpoint.answered().values()) == 1000
    assert 1 <= scene.endpoint.mock.counts.statuses["401"] <= MOST_REFUSED
    for member in shown_by:
        assert member.status()["pixels"][0]["authorization"] == "raw"
        assert {line["authorization"] for line in member.logged("key accepted")} == {"raw"}
        assert not member.logged("held")


@pytest.mark.repeat(of="test_workers_deliver_after_a_401_each")
def test_several_members_deliver_after_a_401_each(scene: Scene) -> None:
    members = [scene.member(ready=False) for _ in range(3)]
    until(lambda: all(len(member.owned()) >= 2 for member in members), 60, "a share for each")
    scene.produce(1000)
    all_arrived(scene, members)
    assert scene.endpoint.mock.counts.statuses["401"] <= 3


def test_workers_deliver_after_a_401_each(scene: Scene) -> None:
    program = Program(scene.folder, scene.settings, name="watcher")
    with program:
        scene.members.append(program)
        program.start("--workers", "2", ready=True)
        scene.produce(1000)
        all_arrived(scene, [program])
    assert scene.endpoint.mock.counts.statuses["401"] <= 2
