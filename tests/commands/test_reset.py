"""``reset``: shows a plan first, is refused while the group has members, and lets a stopped partition go on."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.model import TopicPartition
from tests.commands.running import ids_of, only, run_command, run_for_json
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real


def offsets(scene: Scene, topic: str) -> dict[int, int]:
    return {partition: offset for partition, (offset, _) in scene.broker.committed(scene.group, topic).items()}


@pytest.mark.repeat(of="test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is")
def test_it_is_planned_refused_while_the_group_has_members_by_their_names_and_then_done(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        events = scene.produce(400)
        member = scene.member()
        scene.close()
        before = offsets(scene, scene.leads)
        plan = run_for_json(scene, "reset", "--to", "earliest")
        assert {(one["topic"], one["partition"]) for one in plan["partitions"]} == {
            (topic, number) for topic in (scene.leads, scene.views) for number in (0, 1)
        }
        assert sum(one["again"] for one in plan["partitions"]) == 400
        assert len(plan["members"]) == 1
        assert "The group can't be reset while it has members" in run_command(scene, "reset", "--to", "earliest").stdout
        refused = run_command(scene, "reset", "--to", "earliest", "--execute", code=1)
        assert f"group {scene.group} has members, stop them first: stream-capi-" in refused.stderr
        assert offsets(scene, scene.leads) == before
        assert member.terminate() == 0
        done = run_command(scene, "reset", "--to", "earliest", "--topic", scene.leads, "--execute")
        assert "Done" in done.stdout
        assert offsets(scene, scene.leads) == {0: 0, 1: 0}
        assert all(metadata == "" for _, metadata in broker.committed(scene.group, scene.leads).values())
        scene.member()
        leads = ids_of(only(events, scene.leads))
        until(lambda: scene.endpoint.answered().total() == 400 + len(leads), 60, "the leads a second time")
        assert scene.endpoint.answered() == Counter(ids_of(events)) + Counter(leads)


def test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """``find`` needs the commit's metadata for the events before it."""
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        scene.produce(200)
        member = scene.member()
        scene.close()
        assert member.terminate() == 0
        before = broker.committed(scene.group, scene.leads)
        assert all(metadata for _, metadata in before.values())
        latest = ("reset", "--topic", scene.leads, "--to", "latest", "--execute")
        run_command(scene, *latest)
        assert broker.committed(scene.group, scene.leads) == before
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce(scene.leads, b"junk", partition=1)
        assert producer.flush(30) == 0
        run_command(scene, *latest)
        assert broker.committed(scene.group, scene.leads) == {0: before[0], 1: (before[1][0] + 1, "")}


@pytest.mark.repeat(of="test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is")
@pytest.mark.parametrize(
    "properties", [{"session.timeout.ms": 15_000}, {"group.protocol": "consumer"}], ids=["classic", "consumer"]
)
def test_it_says_how_long_a_static_member_that_was_stopped_must_be_waited_for(
    tmp_path: Path, broker: Broker, registry: Registry, properties: dict[str, Any]
) -> None:
    sections = {"kafka": {"properties": {**properties, "group.instance.id": "pod-0"}}}
    with Scene(tmp_path, broker, registry, partitions=1, sections=sections) as scene:
        if "group.protocol" in properties:
            broker.configure_group(scene.group, {"consumer.session.timeout.ms": "15000"})
        scene.produce(100)
        member = scene.member()
        scene.close()
        assert member.terminate() == 0
        wait = "Static members stay in the group for 15 s after they were stopped: wait for pod-0 at 127.0.0.1"
        assert wait in run_command(scene, "reset", "--to", "earliest", "--execute", code=1).stderr
        assert wait in run_command(scene, "reset", "--to", "earliest").stdout
        plan = run_for_json(scene, "reset", "--to", "earliest")
        assert (plan["static_members"], plan["session_seconds"]) == (["pod-0"], 15)
        admin = KafkaAdmin(KafkaSection(bootstrap_servers=broker.bootstrap))
        until(lambda: not admin.group_members(scene.group).members, 30, "the end of the session")
        assert "Done" in run_command(scene, "reset", "--to", "earliest", "--execute").stdout


@pytest.mark.repeat(of="test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is")
def test_by_time_offset_and_latest_and_what_that_sends_again_or_passes_over(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        first = only(scene.produce(200), scene.leads)
        time.sleep(0.01)
        between = datetime.now(UTC).isoformat(timespec="milliseconds")
        second = only(scene.produce(200), scene.leads)
        end = len(first) + len(second)
        words = ("reset", "--topic", scene.leads, "--execute", "--to")
        for to, offset, passed in (("latest", end, end), (between, len(first), 0), ("5", 5, 0)):
            (one,) = run_for_json(scene, *words, to)["partitions"]
            assert (one["to"], one["passed"]) == (offset, passed)
            assert offsets(scene, scene.leads) == {0: offset}
        (one,) = run_for_json(scene, *words[:3], "--to", between)["partitions"]
        assert (one["again"], one["passed"], one["lag"]) == (0, len(first) - 5, len(second))
        assert offsets(scene, scene.leads) == {0: 5}, "a plan changes nothing"
        assert offsets(scene, scene.views) == {}


@pytest.mark.repeat(of="test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is")
def test_an_offset_out_of_bounds_is_refused_with_the_bounds(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        scene.produce(200)
        ends = broker.end_offsets(scene.leads)
        broker.delete_records(scene.leads, 0, 7)
        done = run_command(scene, "reset", "--topic", scene.leads, "--to", "3", "--execute", code=2)
        assert f"offset 3 is out of bounds: {scene.leads}[0] has 7 to {ends[0]}" in done.stderr
        assert offsets(scene, scene.leads) == {}
        one = ("--topic", scene.leads, "--partition", "1")
        assert run_for_json(scene, "reset", *one, "--to", "3", "--execute")["done"]
        assert offsets(scene, scene.leads) == {1: 3}
        assert (
            "--partition needs --topic" in run_command(scene, "reset", "--to", "3", "--partition", "1", code=2).stderr
        )
        assert "did you mean" in run_command(scene, "reset", "--to", "3", "--topic", f"{scene.leads}x", code=2).stderr


@pytest.mark.repeat(of="test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is")
def test_after_a_topic_was_made_anew_the_stopped_partitions_go_on_from_its_first_event(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        old = scene.produce(200)
        member = scene.member()
        scene.close()
        assert member.terminate() == 0
        commits = broker.committed(scene.group, scene.leads)
        broker.delete_topic(scene.leads)
        broker.create_topic(scene.leads, 2)
        # Kafka deletes committed offsets with the topic, but accepts a late commit of a running member: imitate one.
        late = {TopicPartition(scene.leads, number): commit for number, commit in commits.items()}
        KafkaAdmin(KafkaSection(bootstrap_servers=broker.bootstrap)).reset(
            scene.group, {tp: at for tp, (at, _) in late.items()}, {tp: metadata for tp, (_, metadata) in late.items()}
        )
        new = scene.produce(200)
        stopped = scene.member(ready=False)
        until(lambda: "topic_made_anew" in stopped.get("/readyz")[1], 60, "the stopped partitions")
        assert set(scene.endpoint.answered()) & ids_of(only(new, scene.leads)) == set()
        assert stopped.terminate() == 0
        plan = run_command(scene, "reset", "--topic", scene.leads, "--to", "earliest", "--execute")
        assert "Done" in plan.stdout
        goes_on = scene.member()
        until(lambda: ids_of(new) <= set(scene.endpoint.answered()), 60, "the new topic's events")
        assert not goes_on.status()["held"]
        assert scene.endpoint.answered() == Counter(ids_of(old) | ids_of(new))


@pytest.mark.repeat(of="test_the_commit_of_a_partition_that_is_at_its_end_stays_as_it_is")
def test_after_retention_has_passed_the_commit_the_stopped_partition_goes_on_with_what_is_left(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        first = scene.produce(200)
        member = scene.member()
        scene.close()
        assert member.terminate() == 0
        second = only(scene.produce(200), scene.leads)
        gone, left = second[:20], second[20:]
        broker.delete_records(scene.leads, 0, left[0].offset)
        stopped = scene.member(ready=False)
        until(lambda: "offset_out_of_range" in stopped.get("/readyz")[1], 60, "the stopped partition")
        stopped.terminate()
        plan = run_command(scene, "reset", "--topic", scene.leads, "--to", "earliest").stdout
        assert "out of the topic's bounds" in plan
        run_command(scene, "reset", "--topic", scene.leads, "--to", "earliest", "--execute")
        scene.member()
        until(lambda: ids_of(left) <= set(scene.endpoint.answered()), 60, "what retention has left")
        assert not ids_of(gone) & set(scene.endpoint.answered())
        assert ids_of(only(first, scene.leads)) <= set(scene.endpoint.answered())
