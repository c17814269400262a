"""``replay`` delivers exactly the events of a range again, and doesn't touch the live group."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_capi.sandbox.fault_script import Action
from tests.commands.running import Started, ids_of, on_a_terminal, only, run_command, run_for_json
from tests.scene import Scene
from tests.stack import Broker, Kafka, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real


def committed(scene: Scene) -> dict[str, dict[int, tuple[int, str]]]:
    """The live group's committed offsets with their metadata."""
    return {topic: scene.broker.committed(scene.group, topic) for topic in (scene.leads, scene.views)}


def since(scene: Scene, before: Counter[str]) -> Counter[str]:
    """The events delivered since ``before``."""
    return scene.endpoint.answered() - before


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_a_range_by_time_is_delivered_again_event_by_event_and_the_live_group_is_left_alone(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=3) as scene:
        scene.produce(600, bad=8)
        until(lambda: time.time() % 1 > 0.01, 5, "a millisecond of its own")
        start = iso(time.time())
        time.sleep(0.005)
        tuesday = scene.produce(900, bad=12)
        time.sleep(0.005)
        end = iso(time.time())
        scene.produce(600, bad=8)
        scene.member()
        scene.close()
        before, offsets = scene.endpoint.answered(), committed(scene)
        words = ("replay", "--topic", scene.leads, "--from", start, "--to", end)
        plan = run_for_json(scene, *words)
        assert plan["offsets"] == len(only(tuesday, scene.leads))
        assert since(scene, before).total() == 0, "a plan sends nothing"
        dead_letters = len(scene.ledger.dead_letters())
        done = run_for_json(scene, *words, "--execute")
        wanted = ids_of(only(tuesday, scene.leads))
        bad = only(tuesday, scene.leads, fits=lambda event: event.bad_code is not None)
        assert since(scene, before) == Counter(dict.fromkeys(wanted, 1))
        assert (done["delivered"], done["left"], done["holds"]) == (len(wanted), 0, True)
        assert sum(done["dead_lettered"].values()) == len(bad)
        again = Counter(dead_letter.source for dead_letter in scene.ledger.dead_letters()[dead_letters:])
        assert again == Counter((event.topic, event.partition, event.offset) for event in bad)
        assert committed(scene) == offsets
        scene.endpoint.assert_valid()
        scene.assert_private()


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_the_plan_tells_offsets_counts_and_the_times_of_the_first_and_last_record(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        begun = time.time()
        events = only(scene.produce(300), scene.leads)
        plan = run_for_json(scene, "replay", "--topic", scene.leads, "--from", "earliest")
        for one in plan["partitions"]:
            of_one = [event for event in events if event.partition == one["partition"]]
            assert (one["from"], one["to"], one["offsets"]) == (0, len(of_one), len(of_one))
            first, last = (datetime.fromisoformat(one[name]).timestamp() for name in ("first_record", "last_record"))
            assert begun - 1 < first <= last < time.time() + 1
        text = run_command(scene, "replay", "--topic", scene.leads, "--from", "earliest").stdout
        assert "add --execute" in text
        assert f"group {scene.group} stay where they are" in text
        assert "dedupe_id" in text
        empty = run_for_json(scene, "replay", "--topic", scene.leads, "--from", "latest", "--execute")
        assert (empty["offsets"], empty["holds"]) == (0, True)


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_stopped_with_ctrl_c_the_same_command_goes_on_with_the_same_range_and_sends_nothing_twice(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=3) as scene:
        events = only(scene.produce(1500), scene.views)
        words = ("replay", "--topic", scene.views, "--from", "earliest")
        with Started(scene, *words, "--rate", "100", "--execute") as first:
            until(lambda: scene.endpoint.answered().total() >= 100, 60, "a hundred events")
            first.interrupt()
            assert first.wait() == 1
            assert "the same command goes on where it stopped" in first.output
            assert "Traceback" not in first.output
        so_far = scene.endpoint.answered().total()
        assert 100 <= so_far < len(events)
        later = scene.produce(300)
        plan = run_for_json(scene, *words)
        assert plan["begun"]
        assert plan["offsets"] == len(events), "what was produced since belongs to no range that was begun before"
        assert plan["left"] == len(events) - so_far
        done = run_for_json(scene, *words, "--execute")
        assert (done["before"], done["delivered"], done["left"]) == (so_far, len(events) - so_far, 0)
        assert scene.endpoint.answered() == Counter(dict.fromkeys(ids_of(events), 1))
        assert committed(scene) == {scene.leads: {}, scene.views: {}}
        nothing = run_for_json(scene, *words, "--execute")
        assert (nothing["delivered"], nothing["before"], nothing["holds"]) == (0, len(events), True)
        afresh = run_for_json(scene, *words, "--execute", "--afresh")
        assert afresh["delivered"] == len(events) + len(only(later, scene.views))


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_killed_its_successor_waits_for_kafka_to_give_it_up_and_sends_again_only_what_was_not_committed(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        events = only(scene.produce(1000), scene.leads)
        words = ("replay", "--topic", scene.leads, "--from", "earliest", "--execute")
        quota = 100

        def answer(_: Any) -> Action | None:
            return None if scene.endpoint.answered().total() < quota else Action(hang=True)

        scene.endpoint.answer(answer)
        sections = {"batch": {"max_events": 20}, "delivery": {"max_in_flight": 1}}
        with Started(scene, *words, **sections) as first:
            until(lambda: scene.endpoint.answered().total() >= quota, 60, "a hundred events")
            group = run_for_json(scene, *words[:-1])["group"]
            until(lambda: broker.committed(group, scene.leads)[0][0] >= quota, 30, "the commit of a hundred events")
            first.kill()
        scene.endpoint.answer(None)
        done = run_command(scene, *words, "--json")
        assert f"in group {group}" in done.stderr, "who is waited for is told"
        assert scene.endpoint.answered() == Counter(dict.fromkeys(ids_of(events), 1))


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_a_range_that_ends_in_gaps_of_compaction_and_transactions_comes_to_its_end(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        config = {
            "cleanup.policy": "compact",
            "internal.segment.bytes": "20000",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "1000",
        }
        topic = broker.create_topic(f"{scene.leads}-compacted", 1, config)
        scene.settings["sources"].append({"topic": topic, "event": "generate_lead", "pixel": "main"})
        values = _transactions(scene, topic)
        until(lambda: len(_offsets(broker, topic)) < 40, 60, "compaction of most records")
        left = len(_offsets(broker, topic))
        plan = run_for_json(scene, "replay", "--topic", topic, "--from", "earliest")
        assert plan["offsets"] == broker.end_offsets(topic)[0]
        done = run_for_json(scene, "replay", "--topic", topic, "--from", "earliest", "--execute")
        assert done["holds"]
        assert done["delivered"] + sum(done["skipped"].values()) <= left
        assert done["without_record"] == plan["offsets"] - done["delivered"] - sum(done["skipped"].values())
        assert set(scene.endpoint.answered()) <= values
        # The range ends at a transaction marker inside a live topic: it must end without waiting for a later record.
        last = plan["offsets"]
        inner = ("--from", str(last - 3), "--to", str(last - 1))
        assert run_for_json(scene, "replay", "--topic", topic, *inner, "--execute")["holds"]


def _transactions(scene: Scene, topic: str) -> set[str]:
    """Produce 300 events with few keys in transactions of ten, abort every third one, and return the event ids."""
    events = scene.produce(900)
    values = _values(scene.broker, scene.leads)[:300]
    producer = Producer(
        {"bootstrap.servers": scene.broker.bootstrap, "transactional.id": f"{topic}-producer", "log_level": 0}
    )
    producer.init_transactions(30)
    for number in range(30):
        producer.begin_transaction()
        for at, value in enumerate(values[10 * number : 10 * number + 10]):
            producer.produce(topic, value, key=f"{at % 5}")
        producer.flush(30)
        if number % 3 == 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    return ids_of(events)


def _values(broker: Kafka, topic: str) -> list[bytes]:
    return [value for _, value in _read(broker, topic)]


def _offsets(broker: Broker, topic: str) -> list[int]:
    return [offset for offset, _ in _read(broker, topic)]


def _read(broker: Kafka, topic: str) -> list[tuple[int, bytes]]:
    from stream_capi.config import settings
    from stream_capi.kafka.ranges import Range
    from stream_capi.kafka.scan import scan
    from stream_capi.model import TopicPartition

    ranges = {TopicPartition(topic, n): Range(0, end) for n, end in broker.end_offsets(topic).items()}
    found = scan(settings.KafkaSection(bootstrap_servers=broker.bootstrap), ranges)
    return [(record.offset() or 0, record.value() or b"") for record in found]


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_what_was_deleted_since_the_plan_stops_it_loudly(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        events = only(scene.produce(600), scene.leads)
        words = ("replay", "--topic", scene.leads, "--from", "earliest", "--execute")
        with Started(scene, *words, "--rate", "50") as first:
            until(lambda: scene.endpoint.answered().total() >= 20, 60, "twenty events")
            first.interrupt()
            first.wait()
        broker.delete_records(scene.leads, 0, len(events) - 5)
        done = run_command(scene, *words, code=3)
        assert "offset_out_of_range" in done.stderr
        assert run_for_json(scene, *words, "--afresh")["delivered"] == 5


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_the_rate_is_kept(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        events = only(scene.produce(500), scene.leads)
        begun = time.monotonic()
        done = run_for_json(scene, "replay", "--topic", scene.leads, "--from", "earliest", "--execute", "--rate", "50")
        assert done["delivered"] == len(events)
        # The rate limiter may let one second's events through at once; the rest takes this long on any machine.
        assert time.monotonic() - begun >= len(events) / 50 - 1


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_stopped_at_the_deadline_with_requests_in_flight_it_ends_with_4_and_commits_nothing_of_them(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1, answer=lambda _: Action(hang=True)) as scene:
        events = only(scene.produce(200), scene.leads)
        words = ("replay", "--topic", scene.leads, "--from", "earliest")
        with Started(scene, *words, "--execute", shutdown={"drain_seconds": 2}) as first:
            until(lambda: bool(scene.endpoint.mock.requests), 60, "a request")
            first.interrupt()
            assert first.wait() == 4
            assert "Traceback" not in first.output
        scene.endpoint.answer(None)
        assert run_for_json(scene, *words)["left"] == len(events)
        assert run_for_json(scene, *words, "--execute")["delivered"] == len(events)


def test_on_a_terminal_a_bar_shows_how_far_it_is_and_what_is_left(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        events = only(scene.produce(600), scene.leads)
        words = ("replay", "--topic", scene.leads, "--from", "earliest", "--execute", "--rate", "60")
        code, seen = on_a_terminal(scene, *words)
        assert code == 0
        assert f"replaying {scene.leads}" in seen
        assert f"{len(events)}/{len(events)}" in seen
        assert re.search(r"left \x1b\[36m0:0\d:\d\d", seen), "an estimate"
        assert "Traceback" not in seen


def test_a_held_pixel_is_told_with_what_to_do_and_the_replay_goes_on_when_it_is_mended(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1, answer=lambda _: Action(status=401)) as scene:
        events = only(scene.produce(200), scene.leads)
        with Started(scene, "replay", "--topic", scene.leads, "--from", "earliest", "--execute", "--json") as replay:
            until(lambda: "main is held: 401" in replay.output, 60, "a line about the held pixel")
            scene.endpoint.answer(None)
            assert replay.wait() == 0
        assert scene.endpoint.answered() == Counter(dict.fromkeys(ids_of(events), 1))


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_what_can_not_be_is_refused_in_a_line(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        scene.produce(100)
        ends = broker.end_offsets(scene.leads)

        def refused(*words: str) -> str:
            done = run_command(scene, "replay", *words, code=2)
            assert not done.stdout
            return done.stderr

        assert f"did you mean {scene.leads}" in refused("--topic", f"{scene.leads}s", "--from", "earliest")
        bounds = refused("--topic", scene.leads, "--from", "100000")
        assert f"{scene.leads}[1] has 0 to {ends[1]}" in bounds
        assert "partitions 0 to 1" in refused("--topic", scene.leads, "--from", "0", "--partition", "7")
        assert "must be" in refused("--topic", scene.leads, "--from", "last tuesday")
        assert "before --from" in refused("--topic", scene.leads, "--from", "latest", "--to", "earliest")
        times = ("--from", "2026-11-18", "--to", "2026-11-17")
        assert "lies before --from" in refused("--topic", scene.leads, *times)
        assert "--rate" in refused("--topic", scene.leads, "--from", "earliest", "--rate", "0.1")
        assert re.search("Missing option.*--from", refused("--topic", scene.leads))


def test_one_partition_from_one_offset_to_another(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, partitions=3) as scene:
        events = only(scene.produce(600), scene.leads)
        words = ("--partition", "1", "--from", "10", "--to", "25", "--execute")
        done = run_for_json(scene, "replay", "--topic", scene.leads, *words)
        assert (done["delivered"], done["holds"]) == (15, True)
        wanted = [event for event in events if event.partition == 1 and 10 <= event.offset < 25]
        assert scene.endpoint.answered() == Counter(dict.fromkeys(ids_of(wanted), 1))


@pytest.mark.repeat(of="test_one_partition_from_one_offset_to_another")
def test_an_unreachable_broker_is_one_line(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        nowhere = {"kafka": {**scene.settings["kafka"], "bootstrap_servers": "127.0.0.1:1"}}
        done = run_command(scene, "replay", "--topic", scene.leads, "--from", "earliest", code=3, **nowhere)
        assert len(done.stderr.splitlines()) == 1
        assert "127.0.0.1:1" in done.stderr
