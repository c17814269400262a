"""``run --workers``: several processes in one group are supervised, and report and stop as one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until
from tests.standstill import BURST, assert_replaced
from tests.workers.processes import owned_by, words_of, workers_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
SECONDS = 90.0


@pytest.fixture
def scene(tmp_path: Path, broker: Broker, registry: Registry) -> Iterator[Scene]:
    with Scene(tmp_path, broker, registry) as of_test:
        yield of_test


@pytest.fixture
def two(scene: Scene) -> Iterator[Program]:
    program = Program(scene.folder, scene.settings, name="watcher")
    with program:
        scene.members.append(program)
        yield program.start("--workers", "2", ready=True)


def owned(program: Program) -> list[int]:
    """The partitions of all workers, from the joined status."""
    return [entry["partition"] for entry in program.status()["partitions"]]


def test_the_work_is_shared_told_as_one_and_stopped_as_one(scene: Scene, two: Program) -> None:
    children = workers_of(two)
    assert len(children) == 2
    until(lambda: len(owned(two)) == 8, SECONDS, "both topics' partitions among the workers")
    scene.produce(3000, bad=8)
    scene.close(SECONDS)
    until(lambda: two.metric("stream_capi_delivered_total") == 2992, SECONDS, "the sum of what both have delivered")
    assert two.status()["totals"]["delivered"] == 2992
    assert two.metric("stream_capi_dead_lettered_total") == 8
    assert two.get("/")[0] == 200
    assert two.terminate(SECONDS) == 0
    assert not [child for child in children if child.is_running()]


def test_a_worker_that_ends_is_started_again_and_the_counts_go_on(scene: Scene, two: Program) -> None:
    scene.produce(1000)
    scene.ledger.await_all(SECONDS)
    until(lambda: two.metric("stream_capi_delivered_total") == 1000, SECONDS, "the sum before")
    killed = workers_of(two)[0]
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: len(workers_of(two)) == 2 and killed.pid not in {w.pid for w in workers_of(two)}, SECONDS, "another")
    scene.produce(1000)
    scene.close(SECONDS)
    until(two.is_ready, SECONDS, "readiness of both")
    until(lambda: two.metric("stream_capi_delivered_total") >= 2000, SECONDS, "a sum in which no count fell")
    assert two.logged("worker ended")[0]["worker"] in (1, 2)


@pytest.mark.repeat(of="test_the_work_is_shared_told_as_one_and_stopped_as_one")
def test_a_worker_that_crashed_comes_back_as_the_member_it_was_and_the_other_commits_all_the_while(
    scene: Scene, two: Program
) -> None:
    """It gets the settings that the watcher started with, even if the file has changed since."""
    until(lambda: len(owned(two)) == 8, SECONDS, "both topics' partitions among the workers")
    killed, survivor = workers_of(two)
    until(lambda: len(owned_by(killed)) == len(owned_by(survivor)) == 4, SECONDS, "an even share")
    lost, kept = owned_by(killed), owned_by(survivor)
    revocations = len(two.logged("revoked"))
    (scene.folder / "watcher.toml").write_text("[kafka]\ngroup_id = 'another'\n")
    assert_replaced(scene, killed.kill, lost, kept)
    until(lambda: len(workers_of(two)) == 2, SECONDS, "another worker")
    (again,) = (worker for worker in workers_of(two) if worker.pid != survivor.pid)
    until(lambda: owned_by(again) == lost, SECONDS, "the partitions of the worker that crashed")
    assert owned_by(survivor) == kept
    assert len(two.logged("revoked")) == revocations, "the group has not rebalanced"
    scene.close(SECONDS, BURST)


@pytest.mark.cases(1)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "deserted"])
def test_workers_leave_the_group_for_good_when_all_of_them_stop(
    scene: Scene, two: Program, end: signal.Signals
) -> None:
    """Their names are never used again: as static members that stay, they would hold their partitions until the time-out."""
    until(lambda: len(owned(two)) == 8, SECONDS, "both topics' partitions among the workers")
    children, admin = workers_of(two), KafkaAdmin(KafkaSection(bootstrap_servers=scene.broker.bootstrap))
    names = {member.instance_id for member in admin.group_members(scene.group).members}
    assert len(names) == 2
    assert all(name.startswith("stream-capi-") for name in names)
    two.signal(end)
    until(lambda: not any(child.is_running() for child in children), SECONDS, "the workers' end")
    assert admin.group_members(scene.group).members == ()


@pytest.mark.repeat(of="test_the_work_is_shared_told_as_one_and_stopped_as_one")
def test_a_worker_that_ends_again_and_again_ends_all_with_an_error(scene: Scene, two: Program) -> None:
    for turn in range(5):
        until(lambda: not two.running or len(workers_of(two)) == 2, SECONDS, "the worker's place filled again")
        found = [w for w in workers_of(two) if "--worker=1" in words_of(w)]
        assert found, f"worker 1 in turn {turn}"
        found[0].kill()
        found[0].wait(10)
    assert two.wait(SECONDS) == 3
    assert "worker 1 ended 5 times within 60 s" in two.output
    assert "Traceback" not in two.output


@pytest.mark.repeat(of="test_the_work_is_shared_told_as_one_and_stopped_as_one")
def test_workers_stop_in_order_when_their_watcher_is_killed(scene: Scene, two: Program) -> None:
    scene.produce(500)
    scene.ledger.await_all(SECONDS)
    children = workers_of(two)
    two.kill()
    until(lambda: not any(child.is_running() for child in children), SECONDS, "the end of workers that nobody watches")
