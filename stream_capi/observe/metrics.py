"""The metrics (contract, section 9): counted for each chunk, batch or request by prometheus-client, never for each event.

What has a present value (lag, what is held) is read at scrape time, so that a partition that was revoked is gone from the
next answer.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_capi import __version__
from stream_capi.applovin import FRESH_SECONDS
from stream_capi.events.rejected_field import RejectedRule
from stream_capi.model import Lane
from stream_capi.observe import log_writer
from stream_capi.observe.histogram import AgeHistogram, RecentSums, Rolling, finer
from stream_capi.observe.record_age import MOST_AGE_MS, age_of, why_none

RECENT_SECONDS = 60.0
SERIES_SECONDS = 120
_MOST_RULES = 2_000  # told apart of all topics; of the rest only topic and code

_REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FINE_REQUEST_BOUNDS = tuple(finer(_REQUEST_BOUNDS, 0.001))
_BATCH_BOUNDS = (1, 2, 5, 10, 20, 40, 60, 80, 99, 100)
_END_TO_END_BOUNDS_MS = (
    *(50, 100, 250, 500, 750, 1000, 1250, 1500, 2000, 3000, 5000, 10_000, 30_000, 60_000, 120_000),
    *(FRESH_SECONDS * 1000, 900_000, 3_600_000, 21_600_000, 86_400_000),
)
_FINE_END_TO_END_BOUNDS_MS = tuple(
    dict.fromkeys(round(bound) for bound in finer((*_END_TO_END_BOUNDS_MS, MOST_AGE_MS), 10))
)

# A series of the time when each series began would double the exposition.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]

# Keys are the label values in their order.
Counts = Counter[tuple[str, ...]]
Labelled = Mapping[tuple[str, ...], float]
_NONE: Labelled = MappingProxyType({})


class Gauges(NamedTuple):
    """Present values, in seconds and bytes."""

    in_flight: int = 0
    in_flight_limit: int = 0
    buffered_bytes: int = 0
    lag: Labelled = _NONE
    oldest_unresolved_seconds: Labelled = _NONE
    held: Labelled = _NONE
    out_of_reach: Labelled = _NONE
    unread: Labelled = _NONE
    timeouts: Labelled = _NONE
    clock_offset_seconds: Labelled = _NONE
    paused: Labelled = _NONE
    hanging_transaction: Labelled = _NONE


class Metrics(Collector):
    """Everything that is counted. All of it is called on the event loop.

    ``gauges`` is asked at each scrape. ``clock`` gives monotonic seconds, for the recent figures of the status page.
    """

    def __init__(self, identifier_fields: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.identifier_fields = tuple(identifier_fields)
        self.gauges: Callable[[], Gauges] = Gauges
        self.registry = prometheus.CollectorRegistry(support_collectors_without_names=True)
        self._register_counters()
        self._register_histograms()
        build = self._gauge("build_info", "The program's version.", ["version"])
        build.labels(__version__).set(1)
        self.registry.register(self)
        prometheus.ProcessCollector(registry=self.registry)
        prometheus.PlatformCollector(registry=self.registry)
        # For the status page alone
        self.timed_counts: Counts = Counter()  # delivered, and their records had a time
        self.mapped_counts: Counts = Counter()
        self.rule_counts: Counter[tuple[str, RejectedRule]] = Counter()  # of dead letters, by topic
        self._clock = clock
        self._per_second = RecentSums(SERIES_SECONDS + 1)

    def _register_counters(self) -> None:
        pixel_event = ["pixel", "event"]
        self._consumed = self._counter("consumed", "Records fetched.", ["topic"])
        self._consumed_of = cache(self._consumed.labels)  # of a topic; called for every chunk
        self._delivered = self._counter("delivered", "Events answered with a 200.", pixel_event)
        self._dead_lettered = self._counter("dead_lettered", "Events written as dead letters.", ["topic", "code"])
        self._skipped = self._counter("skipped", "Records passed over on purpose.", ["topic", "reason"])
        self._requests = self._counter("requests", "Requests, by status or fault.", ["pixel", "status"])
        within = f"Events answered with a 200 within {FRESH_SECONDS} s of their Kafka timestamp."
        self._fresh = self._counter("delivered_within_5m", within, pixel_event)
        without = "Events answered with a 200 whose Kafka timestamp gives no age: missing, too old or in the future."
        self._untimed = self._counter("delivered_untimed", without, [*pixel_event, "reason"])
        present = "Mapped events that carry the identifier."
        self._identifiers = self._counter("identifier_present", present, [*pixel_event, "field"])
        self._dropped = self._counter("fields_dropped", "Optional fields left out.", ["field", "reason"])
        self._suspect = self._counter("suspect", "Fields delivered that look wrong.", ["field", "reason"])
        lacks = "New writer's schemas that lack a mapped path which the previous one had."
        self._schema_lacks = self._counter("schema_lacks_path", lacks, ["topic", "field"])
        self._commits = self._counter("commits", "Commits of a partition, by result.", ["result"])

    def _register_histograms(self) -> None:
        seconds = self._histogram("request_seconds", "Duration of a request, in seconds.", _REQUEST_BOUNDS)
        self._request_seconds = seconds
        self._batch_events = self._histogram("batch_events", "Events in a request.", _BATCH_BOUNDS)
        self._ages = AgeHistogram(_FINE_END_TO_END_BOUNDS_MS, _END_TO_END_BOUNDS_MS)
        self._request_counts = [0] * (len(_FINE_REQUEST_BOUNDS) + 1)
        self.request_seconds = Rolling(_FINE_REQUEST_BOUNDS, lambda: self._request_counts, RECENT_SECONDS)
        self.end_to_end = Rolling(self._ages.bounds_seconds, lambda: self._ages.counts, RECENT_SECONDS)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> prometheus.Counter:
        return prometheus.Counter(f"stream_capi_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str]) -> prometheus.Gauge:
        return prometheus.Gauge(f"stream_capi_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: Sequence[float]) -> prometheus.Histogram:
        return prometheus.Histogram(f"stream_capi_{name}", text, buckets=bounds, registry=self.registry)

    # What the pipeline and the delivery tell

    def consumed(self, topic: str, n: int) -> None:
        """Records were fetched."""
        self._consumed_of(topic).inc(n)

    def delivered(self, lane: Lane, timestamps_ms: Sequence[int], now_ms: int) -> None:
        """A batch was answered with a 200. An event whose timestamp can't be true has no age (``record_age``)."""
        key, n = (lane.pixel, lane.event.value), len(timestamps_ms)
        now = self._clock()
        self._delivered.labels(*key).inc(n)
        self._per_second.add(n, now)
        self.end_to_end.roll(now)
        timed, fresh = self._observe_ages(timestamps_ms, now_ms)
        self.timed_counts[key] += timed
        if timed < n:
            for reason, count in Counter(why for at in timestamps_ms if (why := why_none(at, now_ms))).items():
                self._untimed.labels(*key, reason).inc(count)
        self._fresh.labels(*key).inc(fresh)

    def _observe_ages(self, timestamps_ms: Sequence[int], now_ms: int) -> tuple[int, int]:
        """Take the ages of a batch's events; returns how many have one, and how many of these are fresh."""
        n, limit = len(timestamps_ms), FRESH_SECONDS * 1000
        least, most = now_ms - max(timestamps_ms), now_ms - min(timestamps_ms)
        # With a backlog or without, the ages of a batch are mostly alike: then none is looked at by itself.
        alike = least >= 0 and most < min(now_ms, MOST_AGE_MS) and (most <= limit or least > limit)
        if alike and self._ages.observe_alike(n, least, most, n * now_ms - sum(timestamps_ms)):
            return n, n if most <= limit else 0
        ages = [age for at in timestamps_ms if (age := age_of(at, now_ms)) is not None]
        self._ages.observe_all(ages)
        return len(ages), sum(age <= limit for age in ages)

    def dead_lettered(self, topic: str, rule: RejectedRule, n: int = 1) -> None:
        """Events were written to the dead-letter topic. Fields and paths are no labels: they are for the status alone."""
        self._dead_lettered.labels(topic, rule.code).inc(n)
        key = (topic, rule)
        if key not in self.rule_counts and len(self.rule_counts) >= _MOST_RULES:
            key = (topic, RejectedRule(rule.code))
        self.rule_counts[key] += n

    def skipped(self, topic: str, reason: str, n: int) -> None:
        """Records were passed over on purpose."""
        self._skipped.labels(topic, reason).inc(n)

    def request(self, pixel: str, status: str, seconds: float) -> None:
        """A request ended, with an HTTP status or a fault in its place."""
        self._requests.labels(pixel, status).inc()
        self.request_seconds.roll(self._clock())
        self._request_seconds.observe(seconds)
        self._request_counts[bisect_left(_FINE_REQUEST_BOUNDS, seconds)] += 1

    def batch(self, n_events: int) -> None:
        """A request carried so many events."""
        self._batch_events.observe(n_events)

    def schema_lacks(self, topic: str, field: str) -> None:
        """A new writer's schema lacks a path that is mapped to this field."""
        self._schema_lacks.labels(topic, field).inc()

    def commit(self, result: str) -> None:
        """A partition's commit ended."""
        self._commits.labels(result).inc()

    # What the transforms have counted

    def mapped(self, pixel: str, event: str, n: int) -> None:
        """Events were mapped: those among which the identifiers were counted."""
        self.mapped_counts[pixel, event] += n

    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None:
        """Events carried this identifier."""
        self._identifiers.labels(pixel, event, field).inc(n)

    def dropped(self, field: str, reason: str, n: int) -> None:
        """An optional field was wrong and left out."""
        self._dropped.labels(field, reason).inc(n)

    def suspect(self, field: str, reason: str, n: int) -> None:
        """A field was delivered as it came, though it looks wrong."""
        self._suspect.labels(field, reason).inc(n)

    # What was counted, by label values

    @property
    def consumed_counts(self) -> Counts:
        """Records fetched, by topic."""
        return _counts(self._consumed)

    @property
    def delivered_counts(self) -> Counts:
        """Events answered with a 200, by pixel and event."""
        return _counts(self._delivered)

    @property
    def fresh_counts(self) -> Counts:
        """Events delivered within five minutes, by pixel and event."""
        return _counts(self._fresh)

    @property
    def untimed_counts(self) -> Counts:
        """Events delivered whose Kafka timestamp gives no age, by pixel, event and reason."""
        return _counts(self._untimed)

    @property
    def dead_letter_counts(self) -> Counts:
        """Dead letters, by topic and code."""
        return _counts(self._dead_lettered)

    @property
    def skipped_counts(self) -> Counts:
        """Records passed over on purpose, by topic and reason."""
        return _counts(self._skipped)

    @property
    def dropped_counts(self) -> Counts:
        """Optional fields that were left out, by field and reason."""
        return _counts(self._dropped)

    @property
    def suspect_counts(self) -> Counts:
        """Fields that were sent though they look wrong, by field and reason."""
        return _counts(self._suspect)

    @property
    def identifier_counts(self) -> Counts:
        """Mapped events that carry an identifier, by pixel, event and field."""
        return _counts(self._identifiers)

    # For the status page

    @property
    def series(self) -> list[int]:
        """Events delivered in each of the last whole seconds, oldest first."""
        return self._per_second.series(self._clock())

    def recent(self, rolling: Rolling) -> list[int]:
        """A rolling histogram's counts up to now."""
        return rolling.counts(self._clock())

    # For Prometheus

    def collect(self) -> Iterator[Metric]:
        """What is read at scrape time: the rest registers itself."""
        lines = "Log lines that nobody read in time, or that could not be written."
        yield _counter("log_lines_dropped", lines, [], {(): log_writer.dropped()})
        text = "From an event's Kafka timestamp to its 200, in seconds."
        family = HistogramMetricFamily("stream_capi_end_to_end_seconds", text)
        self._ages.add_to(family)
        yield family
        yield from self._present(self.gauges())

    def _present(self, gauges: Gauges) -> Iterator[Metric]:
        yield _gauge("in_flight_requests", "Requests without an answer yet.", [], {(): gauges.in_flight})
        yield _gauge("in_flight_limit", "Requests allowed at once at present.", [], {(): gauges.in_flight_limit})
        yield _gauge("buffered_bytes", "Memory that open events take.", [], {(): gauges.buffered_bytes})
        partition = ["topic", "partition"]
        yield _gauge("lag", "Records behind the committed offset.", partition, gauges.lag)
        oldest = "Age of the oldest event without an outcome, in seconds by its Kafka timestamp."
        yield _gauge("oldest_unresolved_seconds", oldest, partition, gauges.oldest_unresolved_seconds)
        yield _gauge("held", "1 while something is held.", ["pixel", "reason"], gauges.held)
        paused = "1 where events of a partition are paused by configuration: all, some, or so many that the others wait, too."
        yield _gauge("paused", paused, [*partition, "extent"], gauges.paused)
        out_of_reach = "1 while a broker that this member needs doesn't answer."
        yield _gauge("broker_out_of_reach", out_of_reach, ["broker"], gauges.out_of_reach)
        yield _gauge("unread", "1 while a partition has records that don't arrive.", partition, gauges.unread)
        hanging = "1 while an open transaction blocks the reading of a partition."
        yield _gauge("hanging_transaction", hanging, partition, gauges.hanging_transaction)
        timeouts = "Requests of the consumer that a broker did not answer in time."
        yield _counter("broker_timeouts", timeouts, ["broker"], gauges.timeouts)
        clock = "Seconds that the local clock is ahead of another one, where that is known."
        yield _gauge("clock_offset_seconds", clock, ["of"], gauges.clock_offset_seconds)


def _counts(counter: prometheus.Counter) -> Counts:
    """The values of a counter by its label values."""
    (family,) = counter.collect()
    return Counter({tuple(sample.labels.values()): int(sample.value) for sample in family.samples})


def _counter(name: str, text: str, labels: Sequence[str], counts: Labelled) -> Metric:
    family = CounterMetricFamily(f"stream_capi_{name}", text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], present: Labelled) -> Metric:
    family = GaugeMetricFamily(f"stream_capi_{name}", text, labels=labels)
    for values, value in present.items():
        family.add_metric(values, value)
    return family
