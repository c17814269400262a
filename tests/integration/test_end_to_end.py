"""``run`` with a real broker and registry: every event is accounted for, by what broker and endpoint received."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.program import KEY, PIXEL_ID, Program, configuration
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real


def test_twenty_thousand_mixed_events_are_each_delivered_once_or_dead_lettered_with_their_code(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=6) as scene:
        scene.produce(20_000, bad=80)
        member = scene.member()
        scene.close(seconds=120, duplicates=0)
        ends = {
            (topic, partition): end
            for topic in (scene.leads, scene.views)
            for partition, end in broker.end_offsets(topic).items()
        }
        committed = {
            (topic, partition): offset
            for topic in (scene.leads, scene.views)
            for partition, (offset, _) in broker.committed(scene.group, topic).items()
        }
        assert committed == {tp: end for tp, end in ends.items() if end}
        assert member.metric("stream_capi_delivered_total") == 20_000 - 80
        assert member.metric("stream_capi_dead_lettered_total") == 80
        assert member.terminate() == 0


@pytest.mark.repeat(of="test_twenty_thousand_mixed_events_are_each_delivered_once_or_dead_lettered_with_their_code")
def test_the_committed_offset_never_passes_an_unanswered_event_of_a_slow_and_shuffled_endpoint(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    chance = random.Random(11)

    def shuffled(request: RequestInfo) -> Action:
        return Action(delay_seconds=chance.choice((0.01, 0.05, 0.4, 1.2)))

    sections = {"batch": {"max_events": 20}, "kafka": {"commit_interval_ms": 50}}
    with Scene(tmp_path, broker, registry, 3, shuffled, sections=sections) as scene:
        scene.member()
        for _ in range(6):
            scene.produce(400, bad=4)
            time.sleep(0.5)  # so that events are produced while requests are in flight
        scene.close(seconds=90)
        assert scene.ledger.samples > 20


def test_a_dead_letter_keeps_the_record_and_says_where_it_came_from_and_why(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        produced = scene.produce(200, bad=8)
        scene.member()
        scene.close()
        by_place = {(event.topic, event.partition, event.offset): event for event in produced}
        for dead_letter in scene.ledger.dead_letters():
            event = by_place[dead_letter.source]
            assert dead_letter.key == event.event_id.encode()
            assert dead_letter.value
            headers = {name: (value or b"").decode() for name, value in dead_letter.headers.items()}
            assert set(headers) == {
                "capi-error-code",
                "capi-error-detail",
                "capi-source-topic",
                "capi-source-partition",
                "capi-source-offset",
                "capi-source-timestamp",
                "capi-attempts",
                "capi-version",
            }
            assert int(headers["capi-source-timestamp"]) > 1_700_000_000_000
            assert headers["capi-error-detail"]


def test_a_second_member_takes_its_share_and_leaves_it_again_without_a_duplicate(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, 4, lambda request: Action(delay_seconds=0.05)) as scene:
        scene.member()
        scene.produce(1500)
        second = scene.member()
        scene.produce(1500)
        until(lambda: second.metric("stream_capi_delivered_total") > 0, 60, "deliveries of the second member")
        assert second.terminate() == 0
        scene.produce(500)
        scene.close(seconds=90, duplicates=0)


def test_a_topic_that_is_missing_is_told_in_a_line_and_picked_up_when_it_is_there(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        scene.settings["sources"].append({"topic": f"{scene.leads}-later", "event": "generate_lead", "pixel": "main"})
        scene.produce(200)
        member = scene.member(ready=False)
        scene.close()
        assert f"{scene.leads}-later" in member.output
        assert "Traceback" not in member.output


@pytest.mark.repeat(
    of="tests/kafka/test_consumer_faults.py::test_without_a_broker_the_member_waits_and_says_so_in_one_line"
)
def test_an_unreachable_broker_is_told_and_the_program_is_not_ready(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        member = scene.member(ready=False, kafka={"bootstrap_servers": "127.0.0.1:1"})
        until(lambda: "127.0.0.1:1" in member.output or "_TRANSPORT" in member.output, 30, "a line about the broker")
        code, reason = member.get("/readyz")
        assert code == 503
        assert reason
        assert "Traceback" not in member.output
        assert member.terminate() == 0


def test_a_key_that_every_user_may_read_and_an_admin_port_on_all_addresses_are_warnings_at_the_start(
    tmp_path: Path,
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o644)
    pixels = [{"name": "main", "pixel_id": PIXEL_ID, "api_key_file": str(key)}]
    settings = configuration(
        "127.0.0.1:1",
        "http://127.0.0.1:1",
        "http://127.0.0.1:1",
        "group",
        [{"topic": "leads", "event": "generate_lead"}],
        "dead",
        pixels=pixels,
        admin={"host": "0.0.0.0"},  # noqa: S104 -- the test is about it
    )
    with Program(tmp_path, settings) as member:
        member.start()
        (exposed,) = member.logged("key file open to others")
        assert (exposed["level"], exposed["subject"]) == ("warning", "pixels.main.api_key_file")
        assert len(member.logged("admin port open on all addresses")) == 1
        assert str(key) not in member.output
        assert member.terminate() == 0
