"""The status document of a whole pipeline in each of its states."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from stream_capi.avro.framing import Run, SchemaKey
from stream_capi.config import KeySource, Settings
from stream_capi.core.held_reason import HeldReason
from stream_capi.errors import RegistryUnavailable
from stream_capi.kafka.group_lag import GroupLag
from stream_capi.kafka.topic_retention import Retention
from stream_capi.model import NOT_READ, OUT_OF_REACH, Answer, Code, DeadLetter, EventName, Lane, Trouble
from stream_capi.observe.oldest_unresolved import oldest_events
from stream_capi.observe.status_document import StatusDocument
from stream_capi.observe.what_to_do import what_to_do
from tests.fake_record import FakeRecord
from tests.observe.simulated_app import P0, P1, V0, Watched
from tests.simulation import EPOCH, always, simulated


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


# Ready or not


@simulated
async def test_a_member_that_was_given_nothing_yet_is_joining() -> None:
    line = Watched(always(200))
    assert not line.status["ready"]
    assert line.status["reasons"] == ["joining group stream-capi: no partitions assigned yet"]
    assert line.status["alive"]


@simulated
async def test_a_member_that_was_given_an_empty_share_is_idle() -> None:
    line = Watched(always(200))
    line.assign()
    (reason,) = line.status["reasons"]
    assert reason.startswith("idle: group stream-capi has no partition for this member")


@simulated
async def test_a_member_with_a_partition_is_ready() -> None:
    line = Watched(always(200))
    line.assign(P0)
    assert (line.status["ready"], line.status["reasons"]) == (True, [])


@simulated
async def test_a_member_that_lost_its_share_is_joining_again() -> None:
    line = Watched(always(200))
    line.assign(P0)
    line.pipeline.lost([P0])
    line.telemetry.kafka("lost", count=1)
    assert line.status["reasons"] == ["joining group stream-capi: no partitions assigned yet"]


@simulated
async def test_a_stop_makes_it_not_ready_but_keeps_it_alive_to_the_end() -> None:
    line = Watched(always(200))
    line.assign(P0)
    line.app.stop_asked.set()
    assert line.status["reasons"] == ["stopping"]
    line.app.consumer.ended = asyncio.get_running_loop().create_future()
    line.app.consumer.ended.set_result(None)
    assert line.status["alive"]


@simulated
async def test_a_consumer_that_has_ended_unasked_makes_it_neither_ready_nor_alive() -> None:
    line = Watched(always(200))
    line.assign(P0)
    line.app.consumer.ended = asyncio.get_running_loop().create_future()
    assert line.status["alive"]
    line.app.consumer.ended.set_result(None)
    assert not line.status["alive"]
    assert line.status["reasons"] == ["the Kafka consumer has ended"]


# Held pixels, sources and partitions


@simulated
async def test_a_refused_key_holds_the_pixel_and_says_what_to_do() -> None:
    line = Watched(always(401))
    line.produce("leads", 0, *names("a", 30))
    line.assign(P0)
    await line.run_for(10)
    (held,) = line.status["held"]
    assert (held["pixel"], held["subject"], held["reason"]) == ("main", "main", "401")
    assert 8 < held["since_seconds"] < 10
    assert 20 < held["next_probe_seconds"] < 22
    assert held["what_to_do"] == what_to_do("401")
    assert line.status["reasons"] == ["main is held: 401"]
    assert line.snapshot.gauges().held == {("main", "401"): 1}
    shown: dict[str, Any] = {"pixel": "main", "state": "held", "held_by": [], "key": "environment", "key_fault": None}
    assert line.status["pixels"] == [shown | {"authorization": None, "api_said": None}]
    assert line.oldest()["state"] == "held"
    assert line.oldest()["why"].startswith("held: 401, next probe in 2")

    line.answering = always(200)
    await line.run_for(60)
    assert (line.status["held"], line.status["ready"], line.snapshot.gauges().held) == ([], True, {})
    assert line.oldest() is None


@simulated
async def test_a_refusal_of_all_events_holds_the_lane_by_its_name() -> None:
    line = Watched(always(400), max_events=100, max_split_requests=8)
    line.chunk = 100
    line.produce("leads", 0, *names("a", 200))
    line.assign(P0)
    await line.run_for(10)
    held = line.status["held"][0]
    assert (held["subject"], held["reason"]) == ("main/generate_lead", "split_budget")
    assert line.status["dead_letters"] == []


@simulated
async def test_too_many_rejected_events_hold_their_topic() -> None:
    line = Watched(always(200))
    line.produce("leads", 0, *names("bad", 200))
    line.assign(P0)
    await line.run_for(5)
    (held,) = line.status["held"]
    assert (held["pixel"], held["subject"], held["reason"]) == ("main", "leads", "dead_letter_ratio")
    assert held["next_probe_seconds"] is None
    assert line.oldest()["why"] == "held: dead_letter_ratio"
    assert not line.status["ready"]


def entry(code: str, field: str, source: str, count: int) -> dict[str, Any]:
    return {"code": code, "field": field, "source": source, "count": count}


def failing(line: Watched, *, url: int, time: int, good: int = 0) -> None:
    """Report rejected events, and ``good`` ones, as the mapping does."""
    partition, source = line.pipeline.partitions[P0], line.pipeline.partitions[P0].source
    line.pipeline.quarantine.passed(source, good)
    details = ['event_source_url: is absent (from "page.url")'] * url + ["event_time: is absent"] * time
    rejected = [DeadLetter(FakeRecord(place=("leads", 0, at)), Code.MISSING_FIELD, of) for at, of in enumerate(details)]
    line.pipeline.quarantine.reject(partition, source, rejected)


@simulated
async def test_a_held_topic_says_which_rule_most_events_fail() -> None:
    line = Watched(always(200))
    line.assign(P0)
    await line.run_for(0.1)
    with structlog.testing.capture_logs() as lines:
        failing(line, url=173, time=14)
    words = '173 of 187: missing_field event_source_url (from "page.url")'
    assert [one["detail"] for one in lines if one["event"] == "held"] == [words]
    (held,) = line.status["held"]
    assert held["detail"] == words
    assert held["rejected"] == [
        entry("missing_field", "event_source_url", '"page.url"', 173), entry("missing_field", "event_time", "", 14)
    ]  # fmt: skip
    failing(line, url=0, time=100)
    assert line.status["held"][0]["detail"] == "114 of 200: missing_field event_time", "of the last ones alone"
    failing(line, url=5000, time=0)
    assert line.status["held"][0]["detail"].startswith("200 of 200: ")
    failing(line, url=0, time=0, good=100_000)
    await line.run_for(5)
    assert line.status["held"] == []
    assert not line.pipeline.quarantine.rules("leads"), "forgotten with the hold"


@simulated
async def test_a_pixel_that_is_held_for_its_key_names_no_rule() -> None:
    line = Watched(always(401))
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(5)
    (held,) = line.status["held"]
    assert (held["detail"], held["rejected"]) == ("", [])


@simulated
async def test_a_stopped_partition_is_held_until_a_person_comes() -> None:
    line = Watched(always(503))
    line.produce("leads", 0, "a0")
    line.assign(P0, P1)
    await line.run_for(2)
    line.pipeline.stop_partition(P0, HeldReason.TOPIC_RECREATED)
    (held,) = line.status["held"]
    assert (held["subject"], held["reason"], held["since_seconds"]) == ("leads[0]", "topic_made_anew", None)
    assert [entry["stopped"] for entry in line.status["partitions"]] == ["topic_made_anew", None]
    assert line.oldest()["why"] == "stopped: topic_made_anew"


# Why the oldest event waits


@simulated
async def test_an_open_window() -> None:
    line = Watched(always(200))
    line.produce("leads", 0, *names("a", 9))
    line.assign(P0)
    await line.run_for(0.3)
    assert (line.oldest()["state"], line.oldest()["offset"]) == ("window", 0)
    assert line.oldest()["why"] == "window open, closes in at most 0.7 s"
    assert line.oldest()["seconds"] == 0.3


@simulated
async def test_a_request_in_flight_and_how_often_it_was_tried() -> None:
    line = Watched(lambda pixel, ids, now: (100, Answer(200)) if now > 2 else (0.1, Answer(500)))
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(0.15)
    assert line.oldest()["why"] == "in flight"
    await line.run_for(10)
    assert line.oldest()["state"] == "in_flight"
    assert line.oldest()["why"].endswith("after 500")


@simulated
async def test_the_backoff_of_its_batch() -> None:
    line = Watched(always(500))
    line.random.random = lambda: 0.9  # type: ignore[method-assign]
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(0.3)
    assert line.oldest()["state"] == "backoff"
    assert line.oldest()["why"].startswith("backoff after 500, sent again in 0.")
    now = asyncio.get_running_loop().time()
    line.pipeline.delivery.pixel_gates["main"].throttle("429", 0.0, now, 0.0)
    assert line.oldest()["state"] == "backoff", "a pause that is over keeps nothing back"


@simulated
async def test_an_endpoint_that_fails_for_all() -> None:
    line = Watched(lambda pixel, ids, now: (0.05, Answer(fault="timeout")))
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(300)
    assert line.oldest()["state"] in ("failing", "in_flight")
    (notice,) = [notice for notice in line.status["notices"] if notice["subject"] == "main/generate_lead"]
    assert notice["reason"] == "the endpoint fails: timeout"
    assert notice["what_to_do"] == what_to_do("timeout")
    assert line.status["ready"], "what mends itself takes no member out of service"


@simulated
async def test_a_local_clock_that_is_wrong_by_more_than_a_minute() -> None:
    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        return 0.05, Answer(200, date=formatdate(EPOCH + now, usegmt=True))

    line = Watched(answering)
    line.ahead = -3600.0
    line.produce("leads", 0, *names("a", 10))
    line.assign(P0)
    with structlog.testing.capture_logs() as logs:
        await line.run_for(15)
        (notice,) = line.status["notices"]
        assert (notice["subject"], notice["reason"]) == ("clock", "the local clock is 3600 s behind the endpoint's")
        assert "NTP" in notice["what_to_do"]
        assert line.metrics.registry.get_sample_value(
            "stream_capi_clock_offset_seconds", {"of": "endpoint"}
        ) == pytest.approx(-3600, abs=1)
        line.ahead = 0.0
        await line.run_for(15)
        assert line.status["notices"] == []
    events = [entry["event"] for entry in logs if "clock" in entry["event"]]
    assert events == ["clock differs", "clock agrees again, or is not known any more"]


@simulated
async def test_what_brokers_say_of_a_refused_login_is_masked() -> None:
    """The text may come from a company's identity provider."""
    line = Watched(always(200))
    said = 'no token: "https://idp/token": invalid_client: jane.doe@example.com client_secret=s3cr3tS3cr3tS3cr3t'
    line.telemetry.kafka("no connection to the brokers", reason="_AUTHENTICATION", detail=said)
    (notice,) = line.status["notices"]
    assert "invalid_client" in notice["reason"] + notice["subject"]
    assert not [text for text in ("jane.doe", "s3cr3t") if text in str(line.status)]


@simulated
async def test_dead_letters_whose_time_the_brokers_refuse_name_the_clock() -> None:
    line = Watched(always(200))
    line.app.dead_letters.failing = "INVALID_TIMESTAMP"
    (notice,) = line.status["notices"]
    assert "clock" in notice["what_to_do"]
    with structlog.testing.capture_logs() as logs:
        line.telemetry.dead_letters_unwritten("INVALID_TIMESTAMP")
        line.telemetry.dead_letters_unwritten("TOPIC_AUTHORIZATION_FAILED")
    assert ["clock" in entry["action"] for entry in logs] == [True, False]


@simulated
async def test_a_pause_that_the_endpoint_asked_for() -> None:
    line = Watched(lambda pixel, ids, now: (0.05, Answer(429, retry_after="120")))
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(30)
    assert line.oldest()["state"] == "throttled"
    assert line.oldest()["why"].startswith("throttled (429), goes on in 9")
    assert [notice["reason"] for notice in line.status["notices"]] == ["throttled: 429"]


@simulated
async def test_a_flood_of_schemas_that_nobody_can_give_is_one_short_notice() -> None:
    line = Watched(always(200))
    source = line.sources["leads"]

    async def load(key: object) -> str:
        raise RegistryUnavailable("the registry answers 503")

    def frame(records: Any, values: Any) -> list[Run]:
        return [Run(SchemaKey("id", record.offset()), at, [values[at]]) for at, record in enumerate(records)]

    source.load, source.frame = load, frame
    line.produce("leads", 0, *names("a", 1000))
    line.assign(P0)
    await line.run_for(30)
    (notice,) = line.status["notices"]
    waiting = line.pipeline.waiting_schemas["leads"]
    assert waiting >= 200
    expected = (
        f"records wait for schema id 0, schema id 1, schema id 2 and {waiting - 3} more: the registry answers 503"
    )
    assert (notice["subject"], notice["reason"]) == ("leads", expected)
    assert len(orjson.dumps(line.status)) < 20_000


@simulated
async def test_a_schema_that_nobody_can_give() -> None:
    async def down(key: SchemaKey) -> Any:
        raise RegistryUnavailable("the registry answers 503")

    line = Watched(always(200))
    line.sources["leads"].load = down
    line.produce("leads", 0, "a0")
    line.assign(P0)
    await line.run_for(20)
    assert line.oldest()["state"] == "schema"
    assert line.oldest()["why"] == "waits for schema file: the registry answers 503"
    (notice,) = line.status["notices"]
    assert (notice["subject"], notice["reason"]) == ("leads", "records wait for schema file: the registry answers 503")


@simulated
async def test_a_dead_letter_on_its_way() -> None:
    line = Watched(always(200))
    line.write_seconds = 100
    line.produce("leads", 0, "bad0", "a1")
    line.assign(P0)
    await line.run_for(20)
    assert (line.oldest()["offset"], line.oldest()["why"]) == (0, "dead letter being written")
    line.app.dead_letters.failing = "no_acknowledgement"
    assert line.oldest()["why"] == "dead letter can't be written: no_acknowledgement"
    assert line.status["notices"][0]["subject"] == "stream-capi.dead-letters"


@simulated
async def test_a_refused_event_whose_batch_is_not_decided() -> None:
    slow = {"a1": (50.0, Answer(200)), "a0": (0.1, Answer(400))}
    line = Watched(lambda pixel, ids, now: slow[ids[0]] if len(ids) == 1 else (0.1, Answer(400)))
    line.produce("leads", 0, "a0", "a1")
    line.assign(P0)
    await line.run_for(10)
    assert line.oldest()["state"] == "splitting"


@pytest.mark.parametrize("seed", range(5))
@simulated
async def test_every_open_event_is_somewhere(seed: int) -> None:
    """The oldest open event of each partition has a state at any time, whatever happens to it."""
    rnd = random.Random(seed)
    answers = [Answer(s) for s in (200, 200, 200, 400, 401, 429, 500)] + [Answer(fault="reset")]
    line = Watched(lambda pixel, ids, now: (rnd.uniform(0, 2), rnd.choice(answers)), probe_seconds=2.0)
    line.write_seconds = 1.5
    for partition in range(2):
        line.produce("leads", partition, *(f"{rnd.choice(['bad', 'a', 'a', 'a'])}{i}" for i in range(60)))
    line.produce("views", 0, *names("v", 60))
    line.assign(P0, P1, V0)
    seen = set()
    for _ in range(300):
        await line.run_for(0.1)
        found = oldest_events(line.pipeline)
        assert set(found) == {tp for tp, p in line.pipeline.partitions.items() if p.offsets.unresolved}
        assert all(found[tp].offset == line.pipeline.partitions[tp].offsets.watermark for tp in found)
        seen |= {oldest.wait.state for oldest in found.values()}
    assert len(seen) >= 4, seen


# Figures


@simulated
async def test_lag_counts_from_the_committed_offset_to_the_end() -> None:
    line = Watched(always(401))
    line.produce("leads", 0, *names("a", 30))
    line.assign(P0)
    await line.run_for(3)
    (entry,) = line.status["partitions"]
    assert (entry["lag"], entry["committed"], entry["position"], entry["open_events"]) == (30, 0, 30, 30)
    line.answering = always(200)
    await line.run_for(60)
    line.report_ends()
    (entry,) = line.status["partitions"]
    assert (entry["lag"], entry["committed"], entry["position"], entry["open_events"]) == (0, 30, 30, 0)
    assert line.snapshot.gauges().lag == {("leads", "0"): 0}
    line.pipeline.partitions[P0].committed = (12, "")
    assert line.status["partitions"][0]["lag"] == 18, "what is delivered and not committed would be sent again"
    assert line.snapshot.gauges().oldest_unresolved_seconds == {("leads", "0"): 0}


@simulated
async def test_a_partition_whose_end_is_not_known_has_no_lag() -> None:
    line = Watched(always(200))
    line.assign(P0)
    line.pipeline.partitions[P0].high = -1
    assert line.status["partitions"][0]["lag"] is None
    assert line.snapshot.gauges().lag == {}


@simulated
async def test_a_revoked_partition_is_gone_from_status_and_gauges() -> None:
    line = Watched(always(200))
    line.assign(P0, P1)
    await line.run_for(1)
    line.pipeline.lost([P1])
    assert [entry["partition"] for entry in line.status["partitions"]] == [0]
    assert line.snapshot.gauges().lag == {("leads", "0"): 0}


@simulated
async def test_rates_latency_and_freshness_of_what_was_delivered() -> None:
    line = Watched(lambda pixel, ids, now: (0.05, Answer(200, seconds=0.05)))
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(5)
    status = line.status
    assert status["totals"] == {"consumed": 100, "delivered": 100, "dead_lettered": 0, "skipped": 0}
    assert status["throughput"]["per_second"] == 10
    assert sum(status["throughput"]["series"]) == 100
    assert status["latency"]["request_seconds"]["count"] == 10
    assert 0.025 <= status["latency"]["request_seconds"]["p50"] <= 0.05
    assert status["latency"]["end_to_end_seconds"]["p99"] < 1
    assert status["freshness"] == {"within_seconds": 300, "share": 1.0, "recent_share": 1.0}
    assert status["buffered"] == {"bytes": 0, "budget": 67_108_864}
    assert status["lanes"][0]["fresh_share"] == 1.0


@simulated
async def test_identifier_coverage_is_a_share_of_the_mapped_events() -> None:
    line = Watched(always(200))
    line.metrics.mapped("main", "generate_lead", 200)
    line.metrics.identifiers("main", "generate_lead", "email", 150)
    leads, views = line.status["lanes"]
    assert leads["coverage"] == {"email": 0.75, "phone": 0.0}
    assert views["coverage"] == {"email": None, "phone": None}


@simulated
async def test_dead_letters_are_told_by_topic_and_code() -> None:
    line = Watched(lambda pixel, ids, now: (0.05, Answer(400 if "a7" in ids else 200)))
    line.produce("leads", 0, "bad0", "bad1", *names("a", 50))
    line.assign(P0)
    await line.run_for(10)
    assert line.status["dead_letters"] == [
        {"topic": "leads", "code": "missing_field", "count": 2, "rules": [entry("missing_field", "", "", 2)]},
        {"topic": "leads", "code": "refused", "count": 1, "rules": [entry("refused", "", "", 1)]},
    ]


@simulated
async def test_commits_that_fail_are_noticed_until_they_succeed() -> None:
    line = Watched(always(200))
    line.telemetry.commit("REQUEST_TIMED_OUT")
    line.telemetry.commit("fenced")
    assert [notice["reason"] for notice in line.status["notices"]] == ["commits fail: REQUEST_TIMED_OUT"]
    line.telemetry.commit("ok")
    assert line.status["notices"] == []


@simulated
async def test_silent_brokers_and_missing_topics_are_noticed() -> None:
    line = Watched(always(200))
    line.telemetry.kafka("brokers unreachable", reason="_ALL_BROKERS_DOWN")
    line.app.consumer.missing_topics = frozenset({"leads"})
    assert [notice["reason"] for notice in line.status["notices"]] == [
        "the topic is missing",
        "the brokers don't answer",
    ]
    assert "the topic leads is missing" in line.status["reasons"], "or it would seem to be joining for ever"
    line.telemetry.kafka("brokers answer again")
    line.app.consumer.missing_topics = frozenset()
    assert line.status["notices"] == []


def _notices(line: Watched) -> list[tuple[str, str]]:
    return [(notice["subject"], notice["reason"]) for notice in line.status["notices"]]


@simulated
async def test_a_connection_that_is_refused_is_noticed_with_its_cause() -> None:
    line = Watched(always(200))
    line.telemetry.kafka("no connection to the brokers", reason="_SSL", detail="kafka-1:9093: its certificate …")
    line.telemetry.kafka("brokers unreachable", reason="_ALL_BROKERS_DOWN", detail="3/3 brokers are down")
    group = line.app.settings.kafka.group_id
    assert _notices(line) == [(group, "kafka-1:9093: its certificate …")]
    line.telemetry.kafka("brokers answer again")
    assert _notices(line) == []


@simulated
async def test_rights_that_are_missing_are_noticed_until_they_are_granted() -> None:
    line = Watched(always(200))
    line.telemetry.rights({"leads": "READ", "dead-letters": "WRITE"})
    line.telemetry.rights({"dead-letters": "WRITE"})
    line.telemetry.kafka("brokers deny access", reason="GROUP_AUTHORIZATION_FAILED", detail="")
    line.telemetry.commit("NOT_COORDINATOR")
    group = line.app.settings.kafka.group_id
    assert _notices(line)[:2] == [
        ("dead-letters", "this user lacks WRITE on the topic"),
        (group, "this user lacks READ on the group"),
    ]
    line.telemetry.rights({})
    line.telemetry.commit("ok")
    assert _notices(line) == []


@simulated
async def test_what_waits_for_a_broker_is_noticed_and_measured() -> None:
    line = Watched(always(200))
    line.app.consumer.troubles = (
        Trouble(OUT_OF_REACH, "kafka-1:9092/1", "no answer for 9 s: leads[0] wait", (P0,)),
        Trouble(NOT_READ, "leads at kafka-2:9092/2", "behind, and nothing is read", (P1,)),
    )
    line.app.consumer.timeouts = {"kafka-1:9092/1": 3}
    notices = line.status["notices"]
    assert [(notice["subject"], notice["reason"]) for notice in notices] == [
        ("kafka-1:9092/1", "no answer for 9 s: leads[0] wait"),
        ("leads at kafka-2:9092/2", "behind, and nothing is read"),
    ]
    assert [notice["what_to_do"] for notice in notices] == [what_to_do(OUT_OF_REACH), what_to_do(NOT_READ)]
    gauges = line.snapshot.gauges()
    assert gauges.out_of_reach == {("kafka-1:9092/1",): 1}
    assert gauges.unread == {("leads", "1"): 1}
    assert gauges.timeouts == {("kafka-1:9092/1",): 3}


@simulated
async def test_a_key_file_that_cannot_be_read_is_noticed_and_named_by_its_pixel_alone(tmp_path: Path) -> None:
    file = tmp_path / "canary-key-file"
    file.write_text("canary-key")
    pixel = Settings.model_validate({"pixels": [{"name": "main", "pixel_id": "id", "api_key_file": str(file)}]}).pixels[
        0
    ]
    line = Watched(always(200))
    key = line.app.keys["main"] = KeySource(pixel, {})
    assert not line.status["notices"]
    file.unlink()
    assert not key.changed()
    (notice,) = line.status["notices"]
    assert notice["subject"] == "main"
    assert "No such file" in notice["reason"]
    assert "canary" not in str(line.status)
    file.write_text("another-key")
    assert key.changed()
    assert not line.status["notices"]


@simulated
async def test_the_status_is_json_and_holds_nothing_of_the_events() -> None:
    line = Watched(always(401))
    line.produce("leads", 0, *names("canary", 30), *names("bad-canary", 5), None)
    line.assign(P0)
    await line.run_for(10)
    text = orjson.dumps(line.status).decode()
    assert "canary" not in text
    assert orjson.loads(text) == line.status
    # The keys are in the order of the type; only a supervisor adds ``workers``.
    assert [*line.status, "workers"] == list(StatusDocument.__annotations__)


# Paused by configuration


def braked() -> Watched:
    """A line whose source ``leads`` is paused by configuration."""
    line = Watched(always(200))
    update = {
        "sources": tuple(one.model_copy(update={"paused": one.topic == "leads"}) for one in line.app.settings.sources)
    }
    line.app.settings = line.app.settings.model_copy(update=update)
    line.sources["leads"].paused = True
    return line


@simulated
async def test_what_is_paused_by_configuration_is_named_and_nothing_is_wrong_with_it() -> None:
    line = braked()
    line.produce("leads", 0, *names("a", 100))
    line.produce("views", 0, *names("v", 100))
    line.assign(P0, V0)
    await line.run_for(7200)
    line.report_ends()
    status = line.status
    assert (status["ready"], status["reasons"], status["held"], status["notices"]) == (True, [], [], [])
    assert status["paused"] == [
        {
            "subject": "source leads",
            "reason": "paused by configuration",
            "what_to_do": what_to_do("paused_by_configuration"),
            "runbook": "pause-a-source-or-a-pixel",
        }
    ]
    partitions = {one["topic"]: one for one in status["partitions"]}
    assert [partitions[topic]["paused_by_configuration"] for topic in ("leads", "views")] == ["all", None]
    assert [partitions[topic]["lag"] for topic in ("leads", "views")] == [100, 0]
    gauges = line.snapshot.gauges()
    assert gauges.paused == {("leads", "0", "all"): 1}
    assert gauges.oldest_unresolved_seconds == {("leads", "0"): 0.0, ("views", "0"): 0.0}
    assert (gauges.held, gauges.lag["leads", "0"], gauges.buffered_bytes) == ({}, 100, 0)


@simulated
async def test_a_paused_pixel_is_said_to_be_paused_and_not_open() -> None:
    line = Watched(always(200))
    pixels = tuple(one.model_copy(update={"paused": True}) for one in line.app.settings.pixels)
    line.app.settings = line.app.settings.model_copy(update={"pixels": pixels})
    assert [one["state"] for one in line.status["pixels"]] == ["paused"]
    assert [one["subject"] for one in line.status["paused"]] == ["pixel main"]


# What the lag waits for if no event is open


def waits(line: Watched) -> dict[tuple[str, int], Any]:
    return {(entry["topic"], entry["partition"]): entry["waits"] for entry in line.status["partitions"]}


@simulated
async def test_records_that_are_not_read_because_their_pixel_is_held_wait_for_it() -> None:
    line = Watched(always(401))
    line.chunk = 30
    line.produce("leads", 0, *names("a", 30))
    line.assign(P0, P1)
    await line.run_for(10)
    line.produce("leads", 1, *names("b", 50))
    await line.run_for(1)
    line.report_ends()
    of_one = line.status["partitions"][1]
    assert (of_one["lag"], of_one["open_events"], of_one["paused"], of_one["oldest"]) == (50, 0, True, None)
    assert of_one["waits"]["state"] == "held"
    assert of_one["waits"]["why"].startswith("held (not read yet): 401, next probe in 1")
    assert waits(line)["leads", 0]["why"].startswith("held: 401, next probe in 1"), "an open event's own"


@simulated
async def test_a_lag_that_is_about_to_be_read_or_committed_says_so() -> None:
    line = Watched(always(200))
    line.produce("leads", 0, *names("a", 30))
    line.assign(P0, P1)
    assert waits(line) == {("leads", 0): {"state": "unread", "why": "not read yet"}, ("leads", 1): None}
    await line.run_for(10)
    line.pipeline.partitions[P0].committed = (12, "")
    assert waits(line)["leads", 0] == {"state": "commit", "why": "done, waits for its commit"}


@simulated
async def test_what_keeps_a_lag_from_being_read_is_named() -> None:
    line = Watched(always(200))
    line.produce("leads", 0, *names("a", 30))
    line.assign(P0)
    partition = line.pipeline.partitions[P0]
    partition.paused = True
    assert waits(line)["leads", 0] == {"state": "full", "why": "not read yet: the memory for open events is full"}
    line.app.consumer.troubles = (Trouble(OUT_OF_REACH, "kafka-1:9092", "no answer for 9 s", (P0,)),)
    assert waits(line)["leads", 0]["why"] == "not read yet: kafka-1:9092: no answer for 9 s"
    line.pipeline.stop_partition(P0, HeldReason.TOPIC_RECREATED)
    assert waits(line)["leads", 0]["why"] == "stopped: topic_made_anew"


@simulated
async def test_a_pixel_is_not_open_while_a_topic_or_lane_of_it_is_held() -> None:
    line = Watched(always(200))
    line.produce("leads", 0, *names("bad", 200))
    line.produce("views", 0, *names("v", 20))
    line.assign(P0, V0)
    await line.run_for(5)
    (pixel,) = line.status["pixels"]
    assert (pixel["state"], pixel["held_by"]) == ("partly_held", ["leads"])
    line.pipeline.stop_partition(V0, HeldReason.TOPIC_RECREATED)
    assert line.status["pixels"][0]["held_by"] == ["leads", "views[0]"]


@simulated
async def test_what_was_skipped_and_left_out_is_told_by_reason() -> None:
    line = Watched(always(200))
    line.metrics.skipped("leads", "where", 3)
    line.metrics.skipped("leads", "tombstone", 7)
    line.metrics.dropped("phone", "digits", 4)
    line.metrics.dropped("zip", "digits", 5)
    line.metrics.delivered(Lane("main", EventName.GENERATE_LEAD), [1, 1, 0], 1_800_000_000_000)
    status = line.status
    assert [(one["topic"], one["reason"], one["count"]) for one in status["skipped"]] == [
        ("leads", "tombstone", 7),
        ("leads", "where", 3),
    ]
    assert [(one["field"], one["reason"], one["count"]) for one in status["left_out"]] == [
        ("zip", "digits", 5),
        ("phone", "digits", 4),
    ]
    assert status["untimed"] == [{"reason": "too_old", "count": 2}, {"reason": "no_timestamp", "count": 1}]


@simulated
async def test_the_lag_of_the_group_stands_beside_the_members_own() -> None:
    line = Watched(always(401))
    assert line.status["lag"] == {
        "member": None, "partitions": 0, "group": None, "group_partitions": None, "group_seconds_ago": None
    }  # fmt: skip
    line.produce("leads", 0, *names("a", 30))
    line.assign(P0)
    line.app.group_lag = GroupLag(700, 64, time.monotonic() - 3)
    lag = line.status["lag"]
    assert 3 <= lag.pop("group_seconds_ago") < 10
    assert lag == {"member": 30, "partitions": 1, "group": 700, "group_partitions": 64}


@simulated
async def test_how_long_dead_letters_are_kept_is_said() -> None:
    line = Watched(always(401))
    for retention, kept in (
        (Retention("not_known"), "kept for a time that is not known to this user"),
        (Retention("limited", 604_800.0), "kept for 7 days"),
        (Retention("without_end"), "kept forever"),
        (Retention("compacted"), "compacted: the newest record of each key is kept forever"),
    ):
        line.app.dead_letters_kept = retention
        assert line.status["dead_letter_topic"] == {
            "topic": "stream-capi.dead-letters",
            "retention": retention.state,
            "retention_seconds": retention.seconds,
            "kept": kept,
        }
