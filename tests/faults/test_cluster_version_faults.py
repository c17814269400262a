"""Two releases of the program in one group: 0.1.0, built from the repository's history, and this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream_capi.sandbox.fault_script import Action
from tests.faults.budgets import steady
from tests.faults.foreign_metadata import commit_of_a_release_to_come
from tests.program import Program
from tests.scene import Budget, Scene
from tests.stack import Cluster, Registry
from tests.stack.former_release import installed
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

Release = Mapping[str, Any]  # arguments of ``Scene.member`` for a member of that release
SMALL: Mapping[str, Mapping[str, Any]] = {
    "batch": {"max_events": 10},
    # The form of the key is given, since 0.1.0 can't find it.
    "endpoint": {"timeout_seconds": 100, "authorization": "bearer"},
    "shutdown": {"drain_seconds": 3},
}


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return {"python": installed(tmp_path_factory.mktemp("former"))}


def releases(direction: str, former: Release) -> tuple[Release, Release]:
    """The release that runs first, and the one that replaces it."""
    return (former, {}) if direction == "upgrade" else ({}, former)


@pytest.mark.parametrize("direction", ["upgrade", "rollback"])
def test_outcomes_that_another_release_noted_are_sent_once_more(
    direction: str, former: Release, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Neither release decodes the other's metadata: each of the outcomes in it costs exactly one duplicate."""
    before, after = releases(direction, former)
    with Scene(tmp_path, cluster, registry, 1, sections=SMALL) as scene:
        events = scene.produce(200)
        early = next(event for event in events if event.topic == scene.leads and event.offset == 5)
        scene.endpoint.answer(lambda request: Action(hang=True) if early.event_id in request.dedupe_ids else None)
        first = scene.member(**before)
        until(lambda: len(scene.endpoint.answered()) >= 190, 30, "answers to all but the batch that hangs")
        assert first.terminate() == 4, "a request was cut off"
        answered = scene.endpoint.answered()
        committed = {topic: cluster.committed(scene.group, topic)[0] for topic in (scene.leads, scene.views)}
        beyond = sum(1 for event in events if answered[event.event_id] and event.offset >= committed[event.topic][0])
        assert beyond > 30
        version = "capi1" if before else "capi2"
        assert {metadata.partition(":")[0] for _, metadata in committed.values()} == {version}
        scene.endpoint.answer(None)
        scene.member(**after)
        scene.close(
            60, Budget(beyond, "answered beyond the committed offset, which only the other release's text tells")
        )
        assert scene.repeated() == beyond


@pytest.mark.parametrize("direction", ["upgrade", pytest.param("rollback", marks=pytest.mark.repeat)])
def test_members_replaced_by_another_release_one_after_the_other_repeat_nothing(
    direction: str, former: Release, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Under traffic."""
    before, after = releases(direction, former)
    with Scene(tmp_path, cluster, registry, 4, steady, bootstrap=cluster.bootstrap_via) as scene:
        leaving: Sequence[Program] = [scene.member(**before), scene.member(**before)]
        for member in leaving:
            scene.produce(800, bad=4)
            successor = scene.member(ready=False, **after)
            until(lambda m=successor: bool(m.owned()), 60, "a share for the new one")  # type: ignore[misc]
            scene.produce(400)
            assert member.terminate() == 0
        scene.produce(400, bad=4)
        scene.close(90, Budget(0, "who stops in order commits all that it sent: no outcome lies beyond an offset"))


def test_the_text_of_a_release_to_come_is_believed_for_nothing(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Decoded as this release's version, it would say that events which nobody has sent have an outcome."""
    with Scene(tmp_path, cluster, registry, 1, bootstrap=cluster.bootstrap_via) as scene:
        scene.produce(200)
        commit_of_a_release_to_come(scene)
        scene.member()
        scene.close(60, Budget(0, "no member is stopped and no answer lost"))
