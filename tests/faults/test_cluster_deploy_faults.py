"""Deployments on three nodes: the members of a group are replaced one after another while events keep arriving.

The scorecard shows the cost of each: time without commits, partitions revoked from running members, repeated events.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream_capi.model import TopicPartition
from tests.faults.budgets import SMALL, killed, unhurried
from tests.program import Program
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.waiting import until
from tests.standstill import REPLACED_SECONDS, Standstill, committed
from tests.workers.processes import owned_by, workers_of

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(420)]

PROTOCOLS: Mapping[str, Mapping[str, Any]] = {"classic": {}, "consumer": {"group.protocol": "consumer"}}
# Seconds. With `consumer` the brokers set the session. This is their default; the tests' brokers have a shorter one.
BROKERS_SESSION = 45
WORKERS = ("--workers", "2")


@contextmanager
def scene_of(protocol: str, folder: Path, cluster: Cluster, registry: Registry, session: int = 5) -> Iterator[Scene]:
    """A scene with two topics of three partitions each: two partitions for each of three members."""
    sections = {**SMALL, "kafka": {"properties": PROTOCOLS[protocol]}}
    with Scene(folder, cluster, registry, 3, unhurried, bootstrap=cluster.bootstrap_via, sections=sections) as scene:
        cluster.configure_group(scene.group, {"consumer.session.timeout.ms": str(session * 1000)})
        yield scene


def await_shares(members: Sequence[Program]) -> None:
    until(lambda: {len(member.owned()) for member in members} == {6 // len(members)}, 60, "an even share")


@contextmanager
def under_traffic(scene: Scene) -> Iterator[None]:
    """Produce events during a deployment in the context. Add its figures once all partitions are committed again."""
    commits = Standstill(scene)
    commits.watch(3)
    taken, since = sum(map(revoked, scene.members)), time.monotonic()
    with commits.watched():
        yield
        await_commits(scene, committed(scene), 60)
    taken, longest = sum(map(revoked, scene.members)) - taken, commits.longest(committed(scene), since)
    scene.figures.append(f"{longest:.1f} s without a commit of a partition; {taken} partitions revoked from who ran on")


def revoked(member: Program) -> int:
    """How many partitions were revoked from it, without those that it gave up when it stopped."""
    return sum(line["count"] for line in while_it_ran(member, "revoked"))


def while_it_ran(member: Program, event: str) -> list[dict[str, Any]]:
    """Its log lines of an event before its stop."""
    ends = [line["timestamp"] for line in member.logged("stopping")]
    return [line for line in member.logged(event) if line["timestamp"] < min(ends, default="~")]


def rebalances(member: Program) -> list[int]:
    """How often partitions were assigned, revoked and lost."""
    return [len(while_it_ran(member, event)) for event in ("assigned", "revoked", "lost")]


def await_commits(scene: Scene, partitions: Collection[TopicPartition], seconds: float) -> float:
    """Wait until each of these partitions has a new commit; returns the seconds."""
    before, begun = committed(scene), time.monotonic()

    def further() -> bool:
        now = committed(scene)
        return all(now[tp] > before[tp] for tp in partitions)

    until(further, seconds, "further commits of each partition")
    return time.monotonic() - begun


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_replaced_one_after_another_repeat_nothing(
    protocol: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with scene_of(protocol, tmp_path, cluster, registry) as scene:
        members = [scene.member() for _ in range(3)]
        await_shares(members)
        with under_traffic(scene):
            for member in members:
                assert member.terminate() == 0
                scene.member()
        scene.close(90)


@pytest.mark.parametrize(
    ("protocol", "seconds"),
    [("classic", REPLACED_SECONDS),
     pytest.param("consumer", BROKERS_SESSION + REPLACED_SECONDS, marks=pytest.mark.long)],
    ids=PROTOCOLS,
)  # fmt: skip
def test_members_killed_and_replaced_one_after_another_repeat_no_more_than_was_not_committed(
    protocol: str, seconds: float, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """With the session time-outs of production: the program's own, and the brokers' with `consumer`."""
    with scene_of(protocol, tmp_path, cluster, registry, BROKERS_SESSION) as scene:
        members, took = [scene.member() for _ in range(3)], []
        await_shares(members)
        with under_traffic(scene), ThreadPoolExecutor(1) as threads:
            for member in members:
                left = member.owned()
                member.kill()
                # In parallel with the start, which takes seconds, since the others may commit meanwhile. The start must be on
                # this thread: a member is killed when the thread that started it ends.
                waiting = threads.submit(await_commits, scene, left, seconds)
                scene.member(ready=False)
                took.append(waiting.result())
                # Wait until the group is complete before the next kill: a member killed while joining delays all others.
                await_shares([one for one in scene.members if one.running])
        scene.figures.append(f"read again {', '.join(f'{each:.1f}' for each in took)} s after the kills")
        scene.close(90, killed(times=3))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_program_with_workers_that_is_replaced_repeats_nothing(
    protocol: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with scene_of(protocol, tmp_path, cluster, registry) as scene:
        program = scene.member(options=WORKERS)
        await_shares([program])
        with under_traffic(scene):
            assert program.terminate() == 0
            scene.member(options=WORKERS)
        scene.close(90)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_workers_killed_one_after_another_repeat_no_more_than_was_not_committed(
    protocol: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with scene_of(protocol, tmp_path, cluster, registry) as scene:
        program, took = scene.member(options=WORKERS), []
        workers = workers_of(program)
        until(lambda: {len(owned_by(worker)) for worker in workers} == {3}, 60, "an even share")
        with under_traffic(scene):
            for worker in workers:
                left = owned_by(worker)
                worker.kill()
                took.append(await_commits(scene, left, REPLACED_SECONDS))
        scene.figures.append(f"read again {', '.join(f'{each:.1f}' for each in took)} s after the kills")
        scene.close(90, killed(times=2))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_static_members_restarted_one_by_one_take_nothing_from_the_others(
    protocol: str, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """As in a StatefulSet: each is back under its name before the next one stops."""
    with scene_of(protocol, tmp_path, cluster, registry, BROKERS_SESSION) as scene:
        names = [{"properties": scene.settings["kafka"]["properties"] | {"group.instance.id": name}} for name in "abc"]
        members = [scene.member(kafka=name) for name in names]
        await_shares(members)
        had, before = [member.owned() for member in members], [rebalances(member) for member in members]
        with under_traffic(scene):
            for member, name in zip(members, names, strict=True):
                assert member.terminate() == 0
                scene.member(kafka=name)
        scene.close(90)
        assert [member.owned() for member in scene.members[3:]] == had
        assert [rebalances(member) for member in members] == before
        assert [rebalances(member) for member in scene.members[3:]] == [[1, 0, 0]] * 3
