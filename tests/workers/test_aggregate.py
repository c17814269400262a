"""The metrics and statuses of several workers, joined into one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_capi import __version__
from stream_capi.events.rejected_field import RejectedRule
from stream_capi.model import EventName, Lane
from stream_capi.observe.metrics import Gauges, Metrics
from stream_capi.observe.rejected_rules import dead_letter_entries, dead_letters_joined, rule_entries
from stream_capi.observe.status_document import StatusDocument
from stream_capi.workers.aggregate import SummedMetrics, joined

LANE = Lane("main", EventName.GENERATE_LEAD)


def text_of(delivered: int, lag: int, partition: str) -> str:
    metrics = Metrics(("email",))
    metrics.delivered(LANE, [1_000] * delivered, 1_200)
    metrics.batch(delivered)
    metrics.gauges = lambda: Gauges(
        in_flight=2,
        lag={("leads", partition): lag},
        oldest_unresolved_seconds={("leads", "0"): float(lag)},
        held={("main", "401"): 1},
    )
    return generate_latest(metrics.registry).decode()


def samples(sums: SummedMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    registry = CollectorRegistry()
    registry.register(sums)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_counters_and_histograms_are_summed_and_gauges_by_what_they_mean() -> None:
    sums = SummedMetrics()
    sums.reported(1, text_of(3, 10, "0"))
    sums.reported(2, text_of(4, 7, "1"))
    found = samples(sums)
    lane = frozenset({("pixel", "main"), ("event", "generate_lead")})
    assert found["stream_capi_delivered_total", lane] == 7
    assert found["stream_capi_end_to_end_seconds_count", frozenset()] == 7
    assert found["stream_capi_end_to_end_seconds_bucket", frozenset({("le", "+Inf")})] == 7
    assert found["stream_capi_in_flight_requests", frozenset()] == 4
    assert found["stream_capi_lag", frozenset({("topic", "leads"), ("partition", "0")})] == 10
    assert found["stream_capi_lag", frozenset({("topic", "leads"), ("partition", "1")})] == 7
    oldest = frozenset({("topic", "leads"), ("partition", "0")})
    assert found["stream_capi_oldest_unresolved_seconds", oldest] == 10
    assert found["stream_capi_held", frozenset({("pixel", "main"), ("reason", "401")})] == 1
    assert {dict(labels).get("worker") for name, labels in found if name == "process_resident_memory_bytes"} == {
        "1",
        "2",
    }


def test_a_counter_never_falls_because_a_worker_has_ended() -> None:
    sums = SummedMetrics()
    sums.reported(1, text_of(3, 10, "0"))
    sums.ended(1)
    assert sums.total("stream_capi_delivered_total") == 3
    assert ("stream_capi_in_flight_requests", frozenset()) not in samples(sums), "what it had in flight, it has no more"
    sums.reported(1, text_of(5, 10, "0"))
    assert sums.total("stream_capi_delivered_total") == 8
    sums.ended(1)
    sums.ended(1)
    assert sums.total("stream_capi_delivered_total") == 8


def rule(code: str, field: str, count: int) -> dict[str, Any]:
    return {"code": code, "field": field, "source": "", "count": count}


def kept(retention: str) -> Any:
    return {"topic": "dead", "retention": retention, "retention_seconds": None, "kept": "kept somehow"}


def status(partition: int, delivered: int, ready: bool = True, pixel: str = "open") -> Any:
    return {
        "version": "1",
        "group": "g",
        "clients": [f"stream-capi-pod-{partition}"],
        "uptime_seconds": 1.0,
        "tasks": 5,
        "alive": True,
        "ready": ready,
        "reasons": [] if ready else ["held"],
        "held": [] if ready else [
            {"pixel": "main", "subject": "main", "reason": "401", "detail": "", "rejected": [], "what_to_do": "look"}
        ],
        "paused": [{"subject": "source views", "reason": "paused by configuration", "what_to_do": "wait"}],
        "notices": [],
        "totals": {"consumed": delivered, "delivered": delivered, "dead_lettered": 0, "skipped": 0},
        "throughput": {"per_second": 1.5, "seconds": 2, "series": [1, 2]},
        "latency": {
            "recent_seconds": 60,
            "end_to_end_seconds": {"p50": delivered / 10, "p99": None, "count": 2},
            "request_seconds": {"p50": None, "p99": None, "count": 0},
        },
        "freshness": {"within_seconds": 300, "share": delivered / 100, "recent_share": None},
        "untimed": [{"reason": "too_old", "count": 3}],
        "lag": {"member": delivered, "partitions": 1, "group": 100 - delivered, "group_partitions": 2,
                "group_seconds_ago": float(delivered)},
        "requests": {"in_flight": 1, "limit": 16},
        "buffered": {"bytes": 10, "budget": 100},
        "partitions": [{"topic": "leads", "partition": partition}],
        "dead_letters": [
            {"topic": "leads", "code": "refused", "count": 2, "rules": [rule("refused", "", 2)]},
            {"topic": "leads", "code": "missing_field", "count": 3 + delivered,
             "rules": [rule("missing_field", "event_source_url", delivered), rule("missing_field", "event_time", 1)]},
        ],
        "dead_letter_topic": kept("not_known"),
        "skipped": [{"topic": "leads", "reason": "tombstone", "count": 1}, {"topic": "leads", "reason": "where", "count": 2}],
        "left_out": [{"field": "phone", "reason": "digits", "count": delivered}],
        "pixels": [{"pixel": "main", "state": pixel, "held_by": ["leads"] if pixel == "partly_held" else [],
                    "authorization": None if pixel == "held" else "raw", "api_said": None}],
        "lanes": [
            {"pixel": "main", "event": "page_view", "delivered": delivered, "fresh_share": None, "mapped": delivered,
             "coverage": {"email": delivered / 100}}
        ],
        "identifiers": {
            "hour_seconds": 60.0 * partition, "day_seconds": 60.0 * partition,
            "sources": [{"source": "leads", "event": "page_view",
                         "hour": {"events": delivered, "carry": {"user_id": delivered // 2}},
                         "day": {"events": 2 * delivered, "carry": {"user_id": delivered}}}],
            "suspects": [
                {"source": "leads", "event": "page_view", "field": f"user_data.{field}", "path": field, "reason": reason,
                 "why": "one value", "hour": {"count": 2, "of": 5}, "day": {"count": 3, "of": 10}}
                for field, reason in (("user_id", "shared"), ("client_ip_address", "private"))
                if partition
            ],
        },
    }  # fmt: skip


def test_statuses_are_joined() -> None:
    whole = joined({1: status(1, 10), 2: status(0, 30)}, "g", 7.0)
    assert list(whole) == list(StatusDocument.__annotations__)
    assert (whole["version"], whole["group"], whole["uptime_seconds"]) == (__version__, "g", 7.0)
    assert whole["clients"] == ["stream-capi-pod-0", "stream-capi-pod-1"]
    assert whole["ready"]
    assert [one["subject"] for one in whole["paused"]] == ["source views"], "once, of however many workers"
    assert whole["totals"]["delivered"] == 40
    assert whole["throughput"] == {"per_second": 3.0, "seconds": 2, "series": [2, 4]}
    assert whole["latency"]["end_to_end_seconds"] == {"p50": 3.0, "p99": None, "count": 4}
    assert [entry["partition"] for entry in whole["partitions"]] == [0, 1]
    assert whole["dead_letters"] == [
        {"topic": "leads", "code": "missing_field", "count": 46,
         "rules": [rule("missing_field", "event_source_url", 40), rule("missing_field", "", 4),
                   rule("missing_field", "event_time", 2)]},
        {"topic": "leads", "code": "refused", "count": 4, "rules": [rule("refused", "", 4)]},
    ]  # fmt: skip
    assert whole["skipped"] == [
        {"topic": "leads", "reason": "where", "count": 4},
        {"topic": "leads", "reason": "tombstone", "count": 2},
    ]
    assert whole["left_out"] == [{"field": "phone", "reason": "digits", "count": 40}]
    assert whole["untimed"] == [{"reason": "too_old", "count": 6}]
    assert whole["freshness"]["share"] == 0.25
    assert whole["lanes"][0]["coverage"] == {"email": 0.25}
    assert whole["buffered"] == {"bytes": 20, "budget": 200}


def test_identifiers_add_up_and_what_is_suspect_in_one_worker_is_told_of_the_events_of_all() -> None:
    whole = joined({1: status(1, 10), 2: status(0, 30), 3: None}, "g", 7.0)["identifiers"]
    assert (whole["hour_seconds"], whole["day_seconds"]) == (60.0, 60.0)
    (source,) = whole["sources"]
    assert source["hour"] == {"events": 40, "carry": {"user_id": 20}}
    assert source["day"] == {"events": 80, "carry": {"user_id": 40}}
    assert [(one["field"], one["hour"], one["day"]) for one in whole["suspects"]] == [
        ("user_data.user_id", {"count": 2, "of": 20}, {"count": 3, "of": 40}),
        ("user_data.client_ip_address", {"count": 2, "of": 40}, {"count": 3, "of": 80}),
    ]
    both = joined({1: status(1, 10), 2: status(2, 10)}, "g", 7.0)["identifiers"]
    assert [one["hour"]["count"] for one in both["suspects"]] == [4, 4]
    assert joined({1: None}, "g", 7.0)["identifiers"]["sources"] == []


def test_one_that_is_not_ready_or_does_not_answer_makes_the_whole_not_ready() -> None:
    whole = joined({1: status(0, 1), 2: status(1, 1, ready=False, pixel="held"), 3: None}, "g", 7.0)
    assert not whole["ready"]
    assert whole["reasons"] == ["worker 2: held", "worker 3: it doesn't answer yet"]
    (pixel,) = whole["pixels"]
    assert (pixel["state"], pixel["authorization"], pixel["api_said"]) == ("held", "raw", None)
    assert len(whole["held"]) == 1


def test_what_several_workers_are_held_for_alike_is_told_once_with_the_rules_of_all() -> None:
    def of(detail: str, *rules: dict[str, Any]) -> Any:
        held = {"pixel": "main", "subject": "leads", "reason": "dead_letter_ratio", "detail": detail}
        return status(0, 1) | {"held": [held | {"rejected": list(rules), "what_to_do": "look"}]}

    one = of("90 of 100: …", rule("missing_field", "event_source_url", 90), rule("invalid_field", "event_time", 10))
    two = of("83 of 87: …", rule("missing_field", "event_source_url", 83), rule("no_identifier", "", 4))
    (held,) = joined({1: one, 2: two}, "g", 7.0)["held"]
    assert held["detail"] == "173 of 187: missing_field event_source_url"
    assert [(entry["code"], entry["count"]) for entry in held["rejected"]] == [
        ("missing_field", 173), ("invalid_field", 10), ("no_identifier", 4)
    ]  # fmt: skip
    assert joined({1: one, 2: None}, "g", 7.0)["held"] == one["held"]


def test_of_many_rules_the_ten_most_frequent_are_named() -> None:
    rules = Counter({RejectedRule("invalid_field", f"field_{number:02}"): 100 - number for number in range(50)})
    assert [entry["field"] for entry in rule_entries(rules)] == [f"field_{number:02}" for number in range(10)]
    (entry,) = dead_letter_entries({("leads", one): count for one, count in rules.items()})
    assert (entry["count"], len(entry["rules"])) == (rules.total(), 10)
    (of_two,) = dead_letters_joined([entry, entry])
    assert of_two["count"] == 2 * rules.total()
    assert len(of_two["rules"]) == 10


def test_there_is_a_status_before_any_worker_has_answered() -> None:
    whole = joined({1: None, 2: None}, "g", 0.1)
    assert not whole["ready"]
    assert whole["totals"]["delivered"] == 0


def test_the_members_lags_add_up_and_the_groups_is_the_one_that_was_asked_for_last() -> None:
    whole = joined({1: status(1, 10), 2: status(0, 30)}, "g", 7.0)
    assert whole["lag"] == {
        "member": 40, "partitions": 2, "group": 90, "group_partitions": 2, "group_seconds_ago": 10.0
    }  # fmt: skip
    unknown = status(0, 5)
    unknown["lag"] = {
        "member": None, "partitions": 0, "group": None, "group_partitions": None, "group_seconds_ago": None
    }  # fmt: skip
    assert joined({1: unknown}, "g", 1.0)["lag"] == unknown["lag"]
    assert joined({1: unknown, 2: status(0, 30)}, "g", 1.0)["lag"]["group"] == 70


def test_how_long_dead_letters_are_kept_is_what_any_worker_knows() -> None:
    assert joined({1: None}, "g", 1.0)["dead_letter_topic"] is None
    one, other = status(0, 1), status(1, 1)
    assert joined({1: one, 2: other}, "g", 1.0)["dead_letter_topic"] == kept("not_known")
    other["dead_letter_topic"] = kept("without_end")
    assert joined({1: one, 2: other}, "g", 1.0)["dead_letter_topic"] == kept("without_end")


@pytest.mark.parametrize("worse", ["partly_held", "broken", "throttled", "held"])
def test_a_pixel_is_in_the_worst_state_of_any_worker(worse: str) -> None:
    for several in ({1: status(0, 1), 2: status(1, 1, pixel=worse)}, {1: status(1, 1, pixel=worse), 2: status(0, 1)}):
        (pixel,) = joined(several, "g", 1.0)["pixels"]
        assert pixel["state"] == worse
        assert pixel["held_by"] == (["leads"] if worse == "partly_held" else [])
