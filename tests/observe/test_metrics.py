"""The metrics of the contract (section 9): names, types and labels, and what each counts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_capi import __version__
from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.rejected_field import RejectedRule
from stream_capi.model import EventName, Lane
from stream_capi.observe.histogram import quantile
from stream_capi.observe.metrics import Gauges, Metrics

LEADS = Lane("main", EventName.GENERATE_LEAD)
VIEWS = Lane("main", EventName.PAGE_VIEW)
NOW = 1_800_000_000_000

# By the name as scraped: type and labels.
CONTRACT = {
    "stream_capi_consumed_total": ("counter", {"topic"}),
    "stream_capi_delivered_total": ("counter", {"pixel", "event"}),
    "stream_capi_dead_lettered_total": ("counter", {"topic", "code"}),
    "stream_capi_skipped_total": ("counter", {"topic", "reason"}),
    "stream_capi_requests_total": ("counter", {"pixel", "status"}),
    "stream_capi_request_seconds": ("histogram", set()),
    "stream_capi_batch_events": ("histogram", set()),
    "stream_capi_in_flight_requests": ("gauge", set()),
    "stream_capi_in_flight_limit": ("gauge", set()),
    "stream_capi_end_to_end_seconds": ("histogram", set()),
    "stream_capi_delivered_within_5m_total": ("counter", {"pixel", "event"}),
    "stream_capi_lag": ("gauge", {"topic", "partition"}),
    "stream_capi_oldest_unresolved_seconds": ("gauge", {"topic", "partition"}),
    "stream_capi_held": ("gauge", {"pixel", "reason"}),
    "stream_capi_broker_out_of_reach": ("gauge", {"broker"}),
    "stream_capi_unread": ("gauge", {"topic", "partition"}),
    "stream_capi_hanging_transaction": ("gauge", {"topic", "partition"}),
    "stream_capi_broker_timeouts_total": ("counter", {"broker"}),
    "stream_capi_clock_offset_seconds": ("gauge", {"of"}),
    "stream_capi_paused": ("gauge", {"topic", "partition", "extent"}),
    "stream_capi_delivered_untimed_total": ("counter", {"pixel", "event", "reason"}),
    "stream_capi_identifier_present_total": ("counter", {"pixel", "event", "field"}),
    "stream_capi_fields_dropped_total": ("counter", {"field", "reason"}),
    "stream_capi_suspect_total": ("counter", {"field", "reason"}),
    "stream_capi_schema_lacks_path_total": ("counter", {"topic", "field"}),
    "stream_capi_buffered_bytes": ("gauge", set()),
    "stream_capi_commits_total": ("counter", {"result"}),
    "stream_capi_log_lines_dropped_total": ("counter", set()),
    "stream_capi_build_info": ("gauge", {"version"}),
}


class Watch:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fed() -> Metrics:
    metrics = Metrics(IDENTIFIER_FIELDS, Watch())
    metrics.consumed("leads", 500)
    metrics.consumed("leads", 7)
    metrics.delivered(LEADS, [NOW - 800] * 60 + [NOW - 40_000] * 40, NOW)
    metrics.delivered(VIEWS, [0], NOW)
    metrics.dead_lettered("leads", RejectedRule("missing_field"))
    metrics.dead_lettered("leads", RejectedRule("refused"), 2)
    metrics.skipped("leads", "tombstone", 3)
    metrics.request("main", "200", 0.2)
    metrics.request("main", "timeout", 10.0)
    metrics.batch(100)
    metrics.commit("ok")
    metrics.mapped("main", "generate_lead", 100)
    metrics.identifiers("main", "generate_lead", "email", 90)
    metrics.dropped("phone", "not_a_phone_number", 4)
    metrics.suspect("client_ip_address", "private", 5)
    metrics.schema_lacks("leads", "email")
    broker: Mapping[tuple[str, ...], float] = {("kafka-1:9092/1",): 1}
    partition: Mapping[tuple[str, ...], float] = {("leads", "1"): 1}
    metrics.gauges = lambda: Gauges(
        3,
        16,
        4096,
        {("leads", "0"): 12},
        {("leads", "0"): 1.5},
        {("main", "401"): 1},
        broker,
        partition,
        broker,
        {("endpoint",): -2.0},
        {("views", "0", "all"): 1},
        partition,
    )
    return metrics


def scraped(metrics: Metrics) -> dict[str, tuple[str, set[str]]]:
    found: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("stream_capi_"):
            found[name] = family.type, {label for s in family.samples for label in s.labels} - {"le"}
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"stream_capi_{name}", labels)


def test_names_types_and_labels_are_those_of_the_contract() -> None:
    assert scraped(fed()) == CONTRACT


def test_every_metric_is_announced_before_anything_has_happened() -> None:
    assert {name: kind for name, (kind, _) in scraped(Metrics(())).items()} == {
        name: kind for name, (kind, _) in CONTRACT.items()
    }


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("consumed_total", {"topic": "leads"}, 507),
        ("delivered_total", {"pixel": "main", "event": "generate_lead"}, 100),
        ("dead_lettered_total", {"topic": "leads", "code": "refused"}, 2),
        ("dead_lettered_total", {"topic": "leads", "code": "missing_field"}, 1),
        ("skipped_total", {"topic": "leads", "reason": "tombstone"}, 3),
        ("requests_total", {"pixel": "main", "status": "timeout"}, 1),
        ("request_seconds_count", {}, 2),
        ("request_seconds_sum", {}, 10.2),
        ("batch_events_bucket", {"le": "99.0"}, 0),
        ("batch_events_bucket", {"le": "100.0"}, 1),
        ("end_to_end_seconds_bucket", {"le": "1.0"}, 60),
        ("end_to_end_seconds_bucket", {"le": "60.0"}, 100),
        ("end_to_end_seconds_sum", {}, 60 * 0.8 + 40 * 40),
        ("delivered_within_5m_total", {"pixel": "main", "event": "generate_lead"}, 100),
        ("lag", {"topic": "leads", "partition": "0"}, 12),
        ("oldest_unresolved_seconds", {"topic": "leads", "partition": "0"}, 1.5),
        ("held", {"pixel": "main", "reason": "401"}, 1),
        ("identifier_present_total", {"pixel": "main", "event": "generate_lead", "field": "email"}, 90),
        ("fields_dropped_total", {"field": "phone", "reason": "not_a_phone_number"}, 4),
        ("suspect_total", {"field": "client_ip_address", "reason": "private"}, 5),
        ("schema_lacks_path_total", {"topic": "leads", "field": "email"}, 1),
        ("in_flight_requests", {}, 3),
        ("in_flight_limit", {}, 16),
        ("buffered_bytes", {}, 4096),
        ("commits_total", {"result": "ok"}, 1),
        ("build_info", {"version": __version__}, 1),
    ],
)
def test_each_counts_what_it_says(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(fed(), name, **labels) == pytest.approx(expected)


def test_an_event_is_fresh_up_to_five_minutes_from_its_kafka_timestamp() -> None:
    metrics = Metrics(())
    metrics.delivered(LEADS, [NOW - 300_000, NOW - 300_001, NOW - 86_400_000_000], NOW)
    assert metrics.fresh_counts == {("main", "generate_lead"): 1}
    assert value(metrics, "end_to_end_seconds_bucket", le="300.0") == 1
    assert value(metrics, "end_to_end_seconds_bucket", le="86400.0") == 2
    assert value(metrics, "end_to_end_seconds_count") == 3


def ages(metrics: Metrics) -> dict[str, float]:
    """The end-to-end histogram as exposed."""
    samples = (s for family in metrics.registry.collect() for s in family.samples if "end_to_end_seconds" in s.name)
    return {s.name + s.labels.get("le", ""): s.value for s in samples}


TIMESTAMPS = st.one_of(
    st.sampled_from([-1, 0, 1, NOW, NOW + 5000, NOW - 300_000, NOW - 300_001]), st.integers(NOW - 400_000, NOW + 50)
)


@pytest.mark.slow
@given(st.lists(TIMESTAMPS, min_size=1, max_size=8))
def test_the_events_of_a_batch_count_as_each_would_alone(timestamps: list[int]) -> None:
    together, alone = Metrics(()), Metrics(())
    together.delivered(LEADS, timestamps, NOW)
    for timestamp in timestamps:
        alone.delivered(LEADS, [timestamp], NOW)
    for counts in ("delivered_counts", "timed_counts", "fresh_counts"):
        assert getattr(together, counts) == getattr(alone, counts)
    assert ages(together) == ages(alone)


def test_an_event_without_a_timestamp_is_delivered_but_has_no_age() -> None:
    metrics = Metrics(())
    metrics.delivered(LEADS, [0, -1, NOW - 1000], NOW)
    assert metrics.delivered_counts.total() == 3
    assert metrics.timed_counts.total() == metrics.fresh_counts.total() == 1
    assert value(metrics, "end_to_end_seconds_count") == 1
    metrics.delivered(LEADS, [0], NOW)
    assert value(metrics, "end_to_end_seconds_count") == 1


def test_a_producers_clock_that_is_ahead_makes_no_negative_age() -> None:
    metrics = Metrics(())
    metrics.delivered(LEADS, [NOW + 5000], NOW)
    assert value(metrics, "end_to_end_seconds_sum") == 0
    assert metrics.fresh_counts.total() == 1


def test_a_partition_that_was_revoked_is_gone_from_the_next_scrape() -> None:
    metrics = Metrics(())
    lag: dict[tuple[str, ...], float] = {("leads", "0"): 4, ("leads", "1"): 5}
    metrics.gauges = lambda: Gauges(lag=lag)
    assert value(metrics, "lag", topic="leads", partition="1") == 5
    del lag["leads", "1"]
    assert value(metrics, "lag", topic="leads", partition="1") is None
    assert value(metrics, "lag", topic="leads", partition="0") == 4


def test_recent_figures_tell_of_the_last_minute() -> None:
    watch = Watch()
    metrics = Metrics((), watch)
    metrics.delivered(LEADS, [NOW - 100] * 100, NOW)
    watch.now += 1
    assert metrics.series[-1] == 100
    watch.now += 500
    metrics.delivered(LEADS, [NOW - 2000] * 10, NOW)
    watch.now += 1
    assert metrics.series == [0] * 119 + [10]
    assert sum(metrics.recent(metrics.end_to_end)) == 10


def test_the_process_itself_is_measured_too() -> None:
    text = generate_latest(Metrics(()).registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "process_cpu_seconds_total" in text


def test_no_series_tells_when_a_series_began() -> None:
    assert "_created" not in generate_latest(fed().registry).decode()


def test_label_values_that_need_it_are_escaped() -> None:
    metrics = Metrics(())
    metrics.request('ma"in\n', "200", 0.1)
    families = {f.name: f for f in text_string_to_metric_families(generate_latest(metrics.registry).decode())}
    assert families["stream_capi_requests"].samples[0].labels["pixel"] == 'ma"in\n'


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (0, "no_timestamp"),
        (-1, "no_timestamp"),
        (1, "too_old"),
        (NOW // 1000, "too_old"),
        (NOW * 1000, "in_future"),
        (NOW - 3 * 365 * 86_400_000 - 1, "too_old"),
        (NOW + 3_600_001, "in_future"),
    ],
)
def test_a_timestamp_that_cannot_be_true_gives_no_age_and_is_counted(at: int, reason: str) -> None:
    metrics = Metrics((), Watch())
    metrics.delivered(LEADS, [NOW - 1000] * 3 + [at] * 2, NOW)
    metrics.delivered(LEADS, [at], NOW)
    assert metrics.delivered_counts.total() == 6
    assert metrics.timed_counts.total() == metrics.fresh_counts.total() == 3
    assert value(metrics, "end_to_end_seconds_sum") == 3
    assert value(metrics, "end_to_end_seconds_count") == 3
    labels = {"pixel": "main", "event": "generate_lead", "reason": reason}
    assert value(metrics, "delivered_untimed_total", **labels) == 3
    assert metrics.untimed_counts == {("main", "generate_lead", reason): 3}


@pytest.mark.parametrize("at", [NOW - 3 * 365 * 86_400_000, NOW + 3_600_000, NOW])
def test_a_timestamp_within_the_bounds_gives_an_age(at: int) -> None:
    metrics = Metrics((), Watch())
    metrics.delivered(LEADS, [at], NOW)
    assert value(metrics, "end_to_end_seconds_sum") == max(0, NOW - at) / 1000
    assert metrics.untimed_counts == {}


@pytest.mark.parametrize("seconds", [0.03, 0.4, 1.7, 37.0, 200.0, 5000.0, 100_000.0, 4_000_000.0])
def test_quantiles_are_wrong_by_a_tenth_at_most(seconds: float) -> None:
    metrics = Metrics((), Watch())
    metrics.delivered(LEADS, [NOW - int(seconds * 1000)] * 100, NOW)
    metrics.request("main", "200", seconds)
    of_events = metrics.end_to_end, seconds
    for rolling, true in (of_events, (metrics.request_seconds, seconds)) if seconds < 60 else (of_events,):
        for share in (0.5, 0.99):
            assert quantile(rolling.bounds, metrics.recent(rolling), share) == pytest.approx(true, rel=0.1)


def test_prometheus_gets_few_of_the_bounds() -> None:
    text = generate_latest(Metrics(()).registry).decode()
    assert text.count("stream_capi_end_to_end_seconds_bucket") == 21
    assert text.count("stream_capi_request_seconds_bucket") == 14


def test_rules_of_dead_letters_are_told_apart_up_to_a_bound_and_the_rest_is_counted_by_code() -> None:
    metrics = Metrics(())
    for topic in range(3000):
        metrics.dead_lettered(f"t{topic % 3}", RejectedRule("missing_field", "event_time", f'"path.{topic}"'))
    assert metrics.rule_counts.total() == 3000
    assert len(metrics.rule_counts) <= 2000 + 3, "and one for each topic and code"
    rest = sum(metrics.rule_counts[f"t{topic}", RejectedRule("missing_field")] for topic in range(3))
    assert rest == 1000
    assert metrics.dead_letter_counts.total() == 3000
