"""``dead-letters``: counts, masked display, and a redrive that loses and duplicates nothing, however it is stopped."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.model import Code, TopicPartition
from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.commands.running import Started, ids_of, only, run_command, run_for_json
from tests.ledger import FoundDeadLetter
from tests.scene import Scene
from tests.stack import Broker, Produced, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

LIST, SHOW, REDRIVE = (("dead-letters", name) for name in ("list", "show", "redrive"))


def bury(scene: Scene, count: int, bad: int = 0) -> list[Produced]:
    """Produce events and have a member dead-letter them all: bad ones with their own code, all others as too old."""
    before = len(scene.ledger.dead_letters())
    events = scene.produce(count, bad=bad)
    time.sleep(1.1)  # so that all of them are older than max_age_seconds
    member = scene.member(delivery={"max_age_seconds": 1}, dead_letter={"max_ratio": 1.0})
    until(lambda: len(scene.ledger.dead_letters()) >= before + count, 60, "all dead letters")
    assert member.terminate() == 0
    return events


def redriven(scene: Scene) -> int:
    return sum(kind["redriven"] for kind in run_for_json(scene, *LIST)["kinds"])


def new_dead_letters(scene: Scene, before: int) -> list[FoundDeadLetter]:
    return scene.ledger.dead_letters()[before:]


def delivered_once(scene: Scene, events: list[Produced]) -> bool:
    return scene.endpoint.answered() == Counter(dict.fromkeys(ids_of(events), 1))


# list and show


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_dead_letters_are_counted_by_topic_and_code_and_picked_by_each_filter(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        bury(scene, 60, bad=8)
        time.sleep(0.01)
        between = datetime.now(UTC).isoformat(timespec="milliseconds")
        bury(scene, 40)
        lying = Counter((dead_letter.source[0], dead_letter.code) for dead_letter in scene.ledger.dead_letters())
        assert len({code for _, code in lying}) == 3
        by_kind = run_for_json(scene, *LIST)
        assert by_kind["letters"] == 100
        assert {(kind["topic"], kind["code"]): kind["letters"] for kind in by_kind["kinds"]} == lying
        assert run_for_json(scene, *LIST, "--since", between)["letters"] == 40
        assert run_for_json(scene, *LIST, "--code", "too_old")["letters"] == 96
        of_topic = run_for_json(scene, *LIST, "--topic", scene.leads)
        assert {kind["topic"] for kind in of_topic["kinds"]} == {scene.leads}
        newest = run_for_json(scene, *LIST, "--limit", "10")
        assert newest["letters"] == 10
        assert all(kind["first"] > between.replace("+00:00", "Z") for kind in newest["kinds"])
        text = run_command(scene, *LIST).stdout
        assert "too_old" in text
        for kind in by_kind["kinds"]:
            assert sum(rule["count"] for rule in kind["rules"]) == kind["letters"]
            assert {rule["code"] for rule in kind["rules"]} == {kind["code"]}
        old = next(kind for kind in by_kind["kinds"] if kind["code"] == "too_old")
        assert [(rule["field"], rule["source"]) for rule in old["rules"]] == [("event_time", '"event_time"')]
        assert f"{old['letters']} of {old['letters']}: too_old event_time" in " ".join(text.split())
        assert "100 dead letters, 0 of them redriven" in text


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_an_empty_topic_and_records_of_others_are_told(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        assert "0 dead letters" in run_command(scene, *LIST).stdout
        assert "no such dead letter" in run_command(scene, *SHOW).stdout
        assert run_for_json(scene, *REDRIVE, "--execute")["letters"] == 0
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce(scene.dead, b"another's", headers=[("capi-error-code", b"made_up")])
        producer.produce(scene.dead, None)
        assert producer.flush(30) == 0
        assert run_for_json(scene, *LIST)["foreign"] == 2
        assert run_for_json(scene, *REDRIVE, "--execute") == {
            "letters": 0,
            "delivered": 0,
            "dead_lettered": {},
            "skipped": {},
            "left": 0,
            "holds": True,
        }
        assert "is not a dead letter" in run_command(scene, *SHOW, "--partition", "0", "--offset", "0", code=2).stderr


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_one_dead_letter_is_shown_with_where_it_came_from_why_and_its_fields_masked(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 30, bad=4)
        (shown,) = run_for_json(scene, *SHOW, "--code", "unknown_schema")
        (event,) = [event for event in events if event.bad_code is Code.UNKNOWN_SCHEMA]
        assert shown["source"] == f"{event.topic}[{event.partition}]@{event.offset}"
        assert shown["detail"]
        assert shown["mapping"]["outcome"] == {"kind": "dead_letter", "code": shown["code"], "detail": shown["detail"]}
        place = shown["letter"].removesuffix("]").replace("]@", "[").split("[")
        (same,) = run_for_json(scene, *SHOW, "--partition", place[1], "--offset", place[2])
        assert same == shown
        # The current settings don't limit the age, so 26 of the events that were too old would be sent. Two of them have
        # another fault.
        old = run_for_json(scene, *SHOW, "--code", "too_old", "--limit", "28")
        outcomes = Counter(one["mapping"]["outcome"]["kind"] for one in old)
        assert outcomes == {"sent": 26, "dead_letter": 2}
        shown_text = json.dumps([*old, shown])
        assert not any(one.event_id in shown_text for one in events), "an id may have a name in it"
        assert len(run_for_json(scene, *SHOW, "--limit", "5")) == 5
        text = run_command(scene, *SHOW, "--code", "decode_error").stdout
        assert "decode_error" in text
        assert "By the current settings" in text


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_what_can_not_be_is_refused_in_a_line(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        assert "--since: must be a time" in run_command(scene, *LIST, "--since", "yesterday", code=2).stderr
        assert "made_up" in run_command(scene, *LIST, "--code", "made_up", code=2).stderr
        assert "is not the topic of one" in run_command(scene, *REDRIVE, "--topic", "nope", code=2).stderr
        assert "go together" in run_command(scene, *SHOW, "--offset", "3", code=2).stderr
        broker.delete_topic(scene.dead)
        assert f"topic {scene.dead} is missing" in run_command(scene, *LIST, code=3).stderr


# redrive


def test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 400, bad=24)
        offsets = {topic: broker.committed(scene.group, topic) for topic in (scene.leads, scene.views)}
        old = scene.ledger.dead_letters()
        plan = run_for_json(scene, *REDRIVE)
        assert plan["letters"] == 400
        assert not scene.endpoint.answered(), "a plan sends nothing"
        done = run_for_json(scene, *REDRIVE, "--execute")
        assert (done["delivered"], done["left"], done["holds"]) == (376, 0, True)
        assert sum(done["dead_lettered"].values()) == 24
        assert delivered_once(scene, events)
        attempts = {dead_letter.source: int(dead_letter.headers["capi-attempts"] or b"0") for dead_letter in old}
        again = {dead_letter.source: dead_letter for dead_letter in new_dead_letters(scene, len(old))}
        bad = {(e.topic, e.partition, e.offset): e for e in events if e.bad_code is not None}
        assert again.keys() == bad.keys()
        assert len(new_dead_letters(scene, len(old))) == 24
        by_source = {dead_letter.source: dead_letter for dead_letter in old}
        for source, dead_letter in again.items():
            former = by_source[source]
            assert (dead_letter.key, dead_letter.value) == (former.key, former.value)
            assert dead_letter.code == bad[source].bad_code
            assert int(dead_letter.headers["capi-attempts"] or b"0") == attempts[source] + 1
            assert dead_letter.headers["capi-source-timestamp"] == former.headers["capi-source-timestamp"]
        assert {topic: broker.committed(scene.group, topic) for topic in offsets} == offsets
        scene.endpoint.assert_valid()
        scene.assert_private()


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_a_redrive_of_one_code_leaves_the_others_and_none_is_redriven_twice(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 300, bad=40)
        first = run_for_json(scene, *REDRIVE, "--code", "decode_error", "--execute")
        assert (first["letters"], first["dead_lettered"]) == (10, {"decode_error": 10})
        assert not scene.endpoint.answered()
        second = run_for_json(scene, *REDRIVE, "--code", "too_old", "--topic", scene.leads, "--execute")
        assert second["delivered"] == len(ids_of(only(events, scene.leads)))
        before = len(scene.ledger.dead_letters())
        # All remaining ones, including new dead letters for events of the second redrive that failed again.
        rest = run_for_json(scene, *REDRIVE, "--execute")
        assert rest["letters"] == 300 - second["delivered"]
        assert delivered_once(scene, events)
        again = Counter(dead_letter.source for dead_letter in new_dead_letters(scene, before))
        assert again == Counter((e.topic, e.partition, e.offset) for e in events if e.bad_code is not None)
        assert run_for_json(scene, *REDRIVE, "--code", "too_old")["letters"] == 0


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_limit_and_since_take_a_part_and_the_rest_is_still_there(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        first = bury(scene, 100)
        time.sleep(0.01)
        between = datetime.now(UTC).isoformat(timespec="milliseconds")
        second = bury(scene, 100)
        late = run_for_json(scene, *REDRIVE, "--since", between, "--limit", "30", "--execute")
        assert late["delivered"] == 30
        assert set(scene.endpoint.answered()) <= ids_of(second)
        early = run_for_json(scene, *REDRIVE, "--limit", "40", "--execute")
        assert early["delivered"] == 40
        assert len(set(scene.endpoint.answered()) & ids_of(first)) == 40, "the oldest come first"
        rest = run_for_json(scene, *REDRIVE, "--execute")
        assert rest["delivered"] == 130
        assert delivered_once(scene, first + second)


def _answering(scene: Scene, quota: int) -> Iterator[None]:
    def answer(_: RequestInfo) -> Action | None:
        return None if scene.endpoint.answered().total() < quota else Action(hang=True)

    scene.endpoint.answer(answer)
    yield
    scene.endpoint.answer(None)


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_killed_half_way_and_run_again_nothing_is_lost_or_doubled(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 400, bad=40)
        before = len(scene.ledger.dead_letters())
        hanging = _answering(scene, quota=100)
        next(hanging)
        sections = {"batch": {"max_events": 20}, "delivery": {"max_in_flight": 1}}
        with Started(scene, *REDRIVE, "--execute", **sections) as first:
            until(lambda: scene.endpoint.answered().total() >= 100, 60, "a hundred deliveries")
            until(lambda: redriven(scene) == 140, 60, "what was delivered and dead-lettered again being kept")
            first.kill()
        assert scene.endpoint.answered().total() == 100
        next(hanging, None)
        done = run_for_json(scene, *REDRIVE, "--execute")
        # The forty that failed in the first run are new dead letters by now, and fail once more.
        assert (done["letters"], done["delivered"], done["left"]) == (300, 260, 0)
        assert delivered_once(scene, events)
        again = Counter(dead_letter.source for dead_letter in new_dead_letters(scene, before))
        assert set(again) == {(e.topic, e.partition, e.offset) for e in events if e.bad_code is not None}
        assert set(again.values()) == {2}, "once by each of the two runs"


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_stopped_with_ctrl_c_the_same_command_goes_on_with_the_rest(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 400)
        with Started(scene, *REDRIVE, "--rate", "100", "--execute") as first:
            until(lambda: scene.endpoint.answered().total() >= 50, 60, "fifty deliveries")
            first.interrupt()
            assert first.wait() == 1
            assert "the same command goes on with what is left" in first.output
        so_far = scene.endpoint.answered().total()
        assert redriven(scene) == so_far, "all that has an outcome is kept"
        done = run_for_json(scene, *REDRIVE, "--execute")
        assert done["delivered"] == 400 - so_far
        assert delivered_once(scene, events)


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_a_second_redrive_waits_for_the_first(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 300)
        with Started(scene, *REDRIVE, "--rate", "100", "--execute") as first:
            until(lambda: scene.endpoint.answered().total() >= 20, 60, "twenty deliveries")
            # Keep the first command busy until the second one has started.
            scene.endpoint.answer(lambda _: Action(status=503))
            with Started(scene, *REDRIVE, "--execute", "--json") as second:
                until(lambda: "waiting for" in second.output, 60, "the word that the second one waits")
                scene.endpoint.answer(None)
                assert first.wait() == second.wait() == 0
                assert json.loads(second.output.splitlines()[-1])["letters"] == 0
        assert delivered_once(scene, events)


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_the_api_refusing_all_of_them_again_makes_dead_letters_of_them_and_holds_nothing(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        events = bury(scene, 120)
        before = scene.ledger.dead_letters()
        scene.endpoint.answer(lambda _: Action(status=400))
        done = run_for_json(scene, *REDRIVE, "--execute")
        assert (done["delivered"], done["dead_lettered"], done["holds"]) == (0, {"refused": 120}, True)
        again = new_dead_letters(scene, len(before))
        assert Counter(dead_letter.source for dead_letter in again) == Counter(
            (e.topic, e.partition, e.offset) for e in events
        )
        assert {dead_letter.code for dead_letter in again} == {"refused"}
        assert all(int(dead_letter.headers["capi-attempts"] or b"0") > 1 for dead_letter in again)
        scene.endpoint.answer(None)
        assert run_for_json(scene, *REDRIVE, "--code", "refused", "--execute")["delivered"] == 120
        assert delivered_once(scene, events)


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_an_id_derived_from_a_place_is_that_of_the_events_own_place(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        for source in scene.settings["sources"]:
            source["fields"] = {"event_id": "dedupe_id"}  # null in each event
        bury(scene, 120)
        assert run_for_json(scene, *REDRIVE, "--execute")["delivered"] == 120
        first = scene.endpoint.answered()
        assert len(first) == 120
        for topic in (scene.leads, scene.views):
            run_for_json(scene, "replay", "--topic", topic, "--from", "earliest", "--execute")
        assert scene.endpoint.answered() == first + first


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_a_dead_letter_by_reference_is_read_from_its_source_and_one_that_is_gone_is_told(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1, dead_letters=False) as scene:
        broker.create_topic(scene.dead, 1, {"max.message.bytes": "550"})
        events = bury(scene, 40)
        by_reference = {
            dead_letter.source
            for dead_letter in scene.ledger.dead_letters()
            if "capi-by-reference" in dead_letter.headers
        }
        of_leads = [event for event in only(events, scene.leads) if (scene.leads, 0, event.offset) in by_reference]
        assert len(of_leads) >= 4, "letters by reference to try it with"
        gone = of_leads[: len(of_leads) // 2]
        broker.delete_records(scene.leads, 0, gone[-1].offset + 1)
        lost = {event.event_id for event in gone}
        (shown,) = run_for_json(scene, *SHOW, "--partition", "0", "--offset", str(_offset_of(scene, gone[0])))
        assert shown["value"] == "by reference"
        assert "no longer in its topic" in shown["no_mapping"]
        done = run_for_json(scene, *REDRIVE, "--execute")
        assert (done["skipped"], done["delivered"], done["holds"]) == ({"gone": len(gone)}, 40 - len(gone), True)
        assert scene.endpoint.answered() == Counter(dict.fromkeys(ids_of(events) - lost, 1))


def _offset_of(scene: Scene, event: Produced) -> int:
    """The offset of an event's dead letter; the dead-letter topic has one partition."""
    dead_letters = [dead_letter.source for dead_letter in scene.ledger.dead_letters()]
    return dead_letters.index((event.topic, event.partition, event.offset))


@pytest.mark.repeat(of="test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places")
def test_a_dead_letter_topic_made_anew_has_dead_letters_that_were_never_redriven(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        bury(scene, 60)
        assert run_for_json(scene, *REDRIVE, "--execute")["delivered"] == 60
        groups = [f"{scene.group}.redrive.too_old.{topic}" for topic in (scene.leads, scene.views)]
        kept = {group: broker.committed(group, scene.dead)[0] for group in groups}
        broker.delete_topic(scene.dead)
        broker.create_topic(scene.dead)
        # Kafka deletes committed offsets with the topic, but accepts a late commit of a running redrive: imitate one.
        place, admin = TopicPartition(scene.dead, 0), KafkaAdmin(KafkaSection(bootstrap_servers=broker.bootstrap))
        for group, (offset, metadata) in kept.items():
            admin.reset(group, {place: offset}, {place: metadata})
        events = scene.produce(60)
        time.sleep(1.1)
        member = scene.member(delivery={"max_age_seconds": 1}, dead_letter={"max_ratio": 1.0})
        until(lambda: sum(broker.end_offsets(scene.dead).values()) >= 60, 60, "new letters")
        member.terminate()
        assert run_for_json(scene, *REDRIVE, "--execute")["delivered"] == 60
        assert ids_of(events) <= set(scene.endpoint.answered())
