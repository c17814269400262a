"""The metrics (contract, section 9): counted in plain dictionaries on the event loop, exposed when somebody asks.

Counting costs a dictionary entry a chunk or a batch; names, labels and text are made at scrape time. What has a present
value (lag, what is held) is asked for then, too, so that a partition that was revoked is gone from the next answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_capi import __version__
from stream_capi.applovin import FRESH_SECONDS
from stream_capi.model import Lane
from stream_capi.observe import log_writer
from stream_capi.observe.histogram import Histogram, PerSecond, Rolling

RECENT_SECONDS = 60.0
SERIES_SECONDS = 120

_REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_BOUNDS = (1, 2, 5, 10, 20, 40, 60, 80, 99, 100)
_END_TO_END_BOUNDS_MS = (
    *(50, 100, 250, 500, 750, 1000, 1250, 1500, 2000, 3000, 5000, 10_000, 30_000, 60_000, 120_000),
    *(FRESH_SECONDS * 1000, 900_000, 3_600_000, 21_600_000, 86_400_000),
)

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


class Metrics(Collector):
    """Everything that is counted. All of it is called on the event loop.

    ``gauges`` is asked at each scrape. ``clock`` gives monotonic seconds, for the recent figures of the status page.
    """

    def __init__(self, identifier_fields: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.identifier_fields = tuple(identifier_fields)
        self.gauges: Callable[[], Gauges] = Gauges
        self.consumed_counts: Counts = Counter()
        self.delivered_counts: Counts = Counter()
        self.fresh_counts: Counts = Counter()
        self.timed_counts: Counts = Counter()  # delivered, and their records had a time
        self.dead_letter_counts: Counts = Counter()
        self.skipped_counts: Counts = Counter()
        self.identifier_counts: Counts = Counter()
        self.mapped_counts: Counts = Counter()
        self._requests: Counts = Counter()
        self._commits: Counts = Counter()
        self._dropped: Counts = Counter()
        self._suspect: Counts = Counter()
        self._batch_events = Histogram(_BATCH_BOUNDS)
        self._clock = clock
        self._per_second = PerSecond(SERIES_SECONDS + 1)
        self.request_seconds = Rolling(Histogram(_REQUEST_BOUNDS), RECENT_SECONDS)
        self.end_to_end = Rolling(Histogram(_END_TO_END_BOUNDS_MS, unit=1000), RECENT_SECONDS)
        self.registry = CollectorRegistry(support_collectors_without_names=True)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    # What the pipeline and the delivery tell

    def consumed(self, topic: str, n: int) -> None:
        """Records were fetched."""
        self.consumed_counts[(topic,)] += n

    def delivered(self, lane: Lane, timestamps_ms: Sequence[int], now_ms: int) -> None:
        """A batch was answered with a 200. A timestamp of 0 or below is none: the event's age is not known."""
        key, n = (lane.pixel, lane.event.value), len(timestamps_ms)
        now = self._clock()
        self.delivered_counts[key] += n
        self._per_second.add(n, now)
        self.end_to_end.roll(now)
        least, most = now_ms - max(timestamps_ms), now_ms - min(timestamps_ms)
        limit = FRESH_SECONDS * 1000
        # With a backlog or without, the ages of a batch are mostly alike: then none is looked at by itself.
        if least >= 0 and most < now_ms and (most <= limit or least > limit):
            total = n * now_ms - sum(timestamps_ms)
            if self.end_to_end.histogram.observe_alike(n, least, most, total):
                self.timed_counts[key] += n
                self.fresh_counts[key] += n if most <= limit else 0
                return
        # A producer whose clock is ahead makes no event that was delivered before it came.
        ages = [now_ms - at if at < now_ms else 0 for at in timestamps_ms if at > 0]
        self.end_to_end.histogram.observe_all(ages)
        self.timed_counts[key] += len(ages)
        self.fresh_counts[key] += sum(age <= limit for age in ages)

    def dead_lettered(self, topic: str, code: str, n: int = 1) -> None:
        """Events were written to the dead-letter topic."""
        self.dead_letter_counts[topic, code] += n

    def skipped(self, topic: str, reason: str, n: int) -> None:
        """Records were passed over on purpose."""
        self.skipped_counts[topic, reason] += n

    def request(self, pixel: str, status: str, seconds: float) -> None:
        """A request ended, with an HTTP status or a fault in its place."""
        self._requests[pixel, status] += 1
        self.request_seconds.roll(self._clock())
        self.request_seconds.histogram.observe(seconds)

    def batch(self, n_events: int) -> None:
        """A request carried so many events."""
        self._batch_events.observe(n_events)

    def commit(self, result: str) -> None:
        """A partition's commit ended."""
        self._commits[(result,)] += 1

    # What the transforms have counted

    def mapped(self, pixel: str, event: str, n: int) -> None:
        """Events were mapped: those among which the identifiers were counted."""
        self.mapped_counts[pixel, event] += n

    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None:
        """Events carried this identifier."""
        self.identifier_counts[pixel, event, field] += n

    def dropped(self, field: str, reason: str, n: int) -> None:
        """An optional field was wrong and left out."""
        self._dropped[field, reason] += n

    def suspect(self, field: str, reason: str, n: int) -> None:
        """A field was delivered as it came, though it looks wrong."""
        self._suspect[field, reason] += n

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
        """Every metric, made at scrape time."""
        yield from self._counters()
        yield from self._histograms()
        yield from self._present(self.gauges())

    def _counters(self) -> Iterator[Metric]:
        yield _counter("consumed", "Records fetched.", ["topic"], self.consumed_counts)
        yield _counter("delivered", "Events answered with a 200.", ["pixel", "event"], self.delivered_counts)
        yield _counter("dead_lettered", "Events written as dead letters.", ["topic", "code"], self.dead_letter_counts)
        yield _counter("skipped", "Records passed over on purpose.", ["topic", "reason"], self.skipped_counts)
        yield _counter("requests", "Requests, by status or fault.", ["pixel", "status"], self._requests)
        within = f"Events answered with a 200 within {FRESH_SECONDS} s of their Kafka timestamp."
        yield _counter("delivered_within_5m", within, ["pixel", "event"], self.fresh_counts)
        present = "Mapped events that carry the identifier."
        yield _counter("identifier_present", present, ["pixel", "event", "field"], self.identifier_counts)
        yield _counter("fields_dropped", "Optional fields left out.", ["field", "reason"], self._dropped)
        yield _counter("suspect", "Fields delivered that look wrong.", ["field", "reason"], self._suspect)
        yield _counter("commits", "Commits of a partition, by how they ended.", ["result"], self._commits)
        lines = "Log lines that nobody read in time, or that could not be written."
        yield _counter("log_lines_dropped", lines, [], Counter({(): log_writer.dropped()}))

    def _histograms(self) -> Iterator[Metric]:
        end_to_end = "From an event's Kafka timestamp to its 200, in seconds."
        for name, text, histogram in (
            ("request_seconds", "Duration of a request, in seconds.", self.request_seconds.histogram),
            ("batch_events", "Events in a request.", self._batch_events),
            ("end_to_end_seconds", end_to_end, self.end_to_end.histogram),
        ):
            family = HistogramMetricFamily(f"stream_capi_{name}", text)
            histogram.add_to(family)
            yield family

    def _present(self, gauges: Gauges) -> Iterator[Metric]:
        yield _gauge("build_info", "The program's version.", ["version"], {(__version__,): 1})
        yield _gauge("in_flight_requests", "Requests without an answer yet.", [], {(): gauges.in_flight})
        yield _gauge("in_flight_limit", "Requests allowed at once at present.", [], {(): gauges.in_flight_limit})
        yield _gauge("buffered_bytes", "Memory that open events take.", [], {(): gauges.buffered_bytes})
        partition = ["topic", "partition"]
        yield _gauge("lag", "Records behind the committed offset.", partition, gauges.lag)
        oldest = "Age of the oldest event without an outcome, in seconds by its Kafka timestamp."
        yield _gauge("oldest_unresolved_seconds", oldest, partition, gauges.oldest_unresolved_seconds)
        yield _gauge("held", "1 while something waits for a person.", ["pixel", "reason"], gauges.held)
        out_of_reach = "1 while a broker that this member needs doesn't answer."
        yield _gauge("broker_out_of_reach", out_of_reach, ["broker"], gauges.out_of_reach)
        yield _gauge("unread", "1 while a partition has records that don't arrive.", partition, gauges.unread)
        timeouts = "Requests of the consumer that a broker did not answer in time."
        yield _counter("broker_timeouts", timeouts, ["broker"], gauges.timeouts)
        clock = "Seconds that the local clock is ahead of another one, where that is known."
        yield _gauge("clock_offset_seconds", clock, ["of"], gauges.clock_offset_seconds)


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
