"""The program's present state: for ``/status``, the readiness probe and the gauges.

It has no payload, key or identifier: only names from the settings, numbers and reasons.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from stream_capi import __version__
from stream_capi.applovin import FRESH_SECONDS
from stream_capi.config import PixelSection
from stream_capi.core.flow import Gate
from stream_capi.events.rejected_field import most_rejected
from stream_capi.model import HANGING_TRANSACTION, NOT_READ, OUT_OF_REACH, Lane, TopicPartition, Trouble
from stream_capi.observe.health import Health, Held, Parts
from stream_capi.observe.histogram import Rolling, quantile
from stream_capi.observe.identifier_quality import identifiers_entry
from stream_capi.observe.metrics import RECENT_SECONDS, SERIES_SECONDS, Counts, Gauges
from stream_capi.observe.oldest_unresolved import Oldest, Wait, oldest_events, unread_waits
from stream_capi.observe.rejected_rules import dead_letter_entries, rule_entries
from stream_capi.observe.runbook import entry_of
from stream_capi.observe.status_document import (
    DeadLetterTopicEntry,
    FreshnessEntry,
    HeldEntry,
    LagEntry,
    LaneEntry,
    OldestEntry,
    PartitionEntry,
    PixelEntry,
    QuantilesEntry,
    SaidEntry,
    StatusDocument,
    WaitEntry,
)
from stream_capi.observe.telemetry import Said
from stream_capi.observe.what_to_do import what_to_do
from stream_capi.pipeline.partition import Partition

PARTLY_HELD = "partly_held"  # of a pixel: requests pass, and one of its lanes, topics or partitions is held

_RATE_SECONDS = 10


class Snapshot:
    """The present state of an app. Call it on the event loop."""

    def __init__(self, app: Parts, health: Health) -> None:
        self._app = app
        self._health = health
        self._begun = app.pipeline.clock.now()
        # Computed once: for each partition it would go through all sources and pixels.
        self._paused_in_part = {topic for topic in app.settings.topics if app.settings.has_paused(topic)}

    @property
    def alive(self) -> bool:
        """For the liveness probe."""
        return self._health.alive

    def not_ready(self) -> list[str]:
        """For the readiness probe."""
        return self._health.not_ready()

    def gauges(self) -> Gauges:
        """The present values for a scrape."""
        pipeline = self._app.pipeline
        oldest = self._oldest()
        troubles = self._app.consumer.troubles
        labels = {tp: (tp.topic, str(tp.partition)) for tp in pipeline.partitions}
        return Gauges(
            in_flight=pipeline.delivery.in_flight,
            in_flight_limit=pipeline.delivery.in_flight_limit,
            buffered_bytes=pipeline.buffered_bytes,
            lag={labels[tp]: lag for tp, p in pipeline.partitions.items() if (lag := p.lag) is not None},
            oldest_unresolved_seconds={
                label: (oldest[tp].seconds or 0.0) if tp in oldest else 0.0 for tp, label in labels.items()
            },
            paused={(*labels[tp], extent): 1 for tp, p in pipeline.partitions.items() if (extent := self._pause_of(p))},
            held={(held.pixel, held.reason): 1 for held in self._health.held()},
            out_of_reach={(trouble.subject,): 1 for trouble in troubles if trouble.kind == OUT_OF_REACH},
            unread=_partitions_of(troubles, NOT_READ),
            hanging_transaction=_partitions_of(troubles, HANGING_TRANSACTION),
            timeouts={(broker,): count for broker, count in list(self._app.consumer.timeouts.items())},
            clock_offset_seconds={
                (of,): offset for of in ("endpoint", "brokers") if (offset := pipeline.clocks.offset(of)) is not None
            },
        )

    def _oldest(self) -> dict[TopicPartition, Oldest]:
        return oldest_events(self._app.pipeline, self._app.dead_letters.failing)

    def status(self) -> StatusDocument:
        """Everything at once."""
        app, pipeline, metrics = self._app, self._app.pipeline, self._app.metrics
        reasons = self._health.not_ready()
        series = metrics.series
        return {
            "version": __version__,
            "group": app.settings.kafka.group_id,
            "clients": [app.settings.kafka.client_id],
            "uptime_seconds": round(pipeline.clock.now() - self._begun, 1),
            "tasks": len(asyncio.all_tasks()),
            "alive": self._health.alive,
            "ready": not reasons,
            "reasons": reasons,
            "held": [_held_entry(held) for held in self._health.held()],
            "paused": self._health.paused(),
            "notices": self._health.notices(),
            "totals": {
                "consumed": metrics.consumed_counts.total(),
                "delivered": metrics.delivered_counts.total(),
                "dead_lettered": metrics.dead_letter_counts.total(),
                "skipped": metrics.skipped_counts.total(),
            },
            "throughput": {
                "per_second": round(sum(series[-_RATE_SECONDS:]) / _RATE_SECONDS, 1),
                "seconds": SERIES_SECONDS,
                "series": series,
            },
            "latency": {
                "recent_seconds": RECENT_SECONDS,
                "end_to_end_seconds": self._quantiles(metrics.end_to_end),
                "request_seconds": self._quantiles(metrics.request_seconds),
            },
            "untimed": [
                {"reason": reason, "count": count} for reason, count in _by_last(metrics.untimed_counts).most_common()
            ],
            "freshness": self._freshness(),
            "lag": self._lag(),
            "requests": {"in_flight": pipeline.delivery.in_flight, "limit": pipeline.delivery.in_flight_limit},
            "buffered": {"bytes": pipeline.buffered_bytes, "budget": app.settings.delivery.max_buffered_bytes},
            "partitions": self._partitions(),
            "dead_letters": dead_letter_entries(metrics.rule_counts),
            "dead_letter_topic": self._dead_letter_topic(),
            "skipped": [
                {"topic": topic, "reason": reason, "count": count}
                for (topic, reason), count in metrics.skipped_counts.most_common()
            ],
            "left_out": [
                {"field": field, "reason": reason, "count": count}
                for (field, reason), count in metrics.dropped_counts.most_common()
            ],
            "pixels": self._pixels(),
            "lanes": [self._lane(lane) for lane in pipeline.delivery.lanes],
            "identifiers": identifiers_entry(app.qualities, pipeline.clock.now() - self._begun),
        }

    def _quantiles(self, rolling: Rolling) -> QuantilesEntry:
        counts = self._app.metrics.recent(rolling)
        values = (quantile(rolling.bounds, counts, share) for share in (0.5, 0.99))
        p50, p99 = (None if value is None else round(value, 4) for value in values)
        return {"p50": p50, "p99": p99, "count": sum(counts)}

    def _freshness(self) -> FreshnessEntry:
        """The share delivered in time to be merged with the pixel's own event; recent means the last minute."""
        metrics = self._app.metrics
        counts = metrics.recent(metrics.end_to_end)
        within = metrics.end_to_end.bounds.index(FRESH_SECONDS) + 1
        return {
            "within_seconds": FRESH_SECONDS,
            "share": _share(metrics.fresh_counts.total(), metrics.timed_counts.total()),
            "recent_share": _share(sum(counts[:within]), sum(counts)),
        }

    def _lag(self) -> LagEntry:
        """This member's, as of now, and the group's, as of when the brokers were last asked for it."""
        lags = [lag for p in self._app.pipeline.partitions.values() if (lag := p.lag) is not None]
        group = self._app.group_lag
        return {
            "member": sum(lags) if lags else None,
            "partitions": len(self._app.pipeline.partitions),
            "group": group.lag if group else None,
            "group_partitions": group.partitions if group else None,
            "group_seconds_ago": round(time.monotonic() - group.at, 1) if group else None,
        }

    def _dead_letter_topic(self) -> DeadLetterTopicEntry:
        kept = self._app.dead_letters_kept
        return {
            "topic": self._app.settings.dead_letter.topic,
            "retention": kept.state,
            "retention_seconds": kept.seconds,
            "kept": str(kept),
        }

    def _partitions(self) -> list[PartitionEntry]:
        oldest = self._oldest()
        unread = unread_waits(self._app.pipeline, self._app.consumer.troubles)
        return [
            {
                "topic": tp.topic,
                "partition": tp.partition,
                "lag": partition.lag,
                "committed": partition.committed[0] if partition.committed else None,
                "position": partition.offsets.position,
                "open_events": partition.offsets.unresolved,
                "paused": partition.paused,
                "paused_by_configuration": self._pause_of(partition),
                "stopped": partition.stopped,
                "oldest": _oldest_entry(oldest.get(tp)),
                "waits": _wait_entry(oldest[tp].wait if tp in oldest else unread.get(tp)),
            }
            for tp, partition in sorted(self._app.pipeline.partitions.items())
        ]

    def _pause_of(self, partition: Partition) -> str | None:
        """How much of a partition a pause by configuration concerns."""
        if partition.source.paused:
            return "all"
        if partition.is_blocked_by_pause:
            return "full"
        return "some" if partition.tp.topic in self._paused_in_part else None

    def _pixels(self) -> list[PixelEntry]:
        gates = self._app.pipeline.delivery.pixel_gates
        held = self._health.held()
        # What is held of a source whose records name their pixels may be any pixel's.
        held_by = {
            pixel.name: [one.subject for one in held if one.pixel in (pixel.name, "") and one.subject != pixel.name]
            for pixel in self._app.settings.pixels
        }
        return [
            {
                "pixel": pixel.name,
                "state": _state(pixel, gates.get(pixel.name), held_by[pixel.name]),
                "held_by": held_by[pixel.name],
                "key": "file" if pixel.api_key_file else "environment",
                "key_fault": self._app.keys[pixel.name].fault or None,
                "authorization": self._app.key_form(pixel.name),
                "api_said": _said_entry(self._app.telemetry.said.get(pixel.name)),
            }
            for pixel in self._app.settings.pixels
        ]

    def _lane(self, lane: Lane) -> LaneEntry:
        """How much of each identifier the mapped events have, and how fresh the delivered ones were."""
        metrics, key = self._app.metrics, (lane.pixel, lane.event.value)
        mapped, identifiers = metrics.mapped_counts[key], metrics.identifier_counts
        return {
            "pixel": lane.pixel,
            "event": lane.event.value,
            "delivered": metrics.delivered_counts[key],
            "fresh_share": _share(metrics.fresh_counts[key], metrics.timed_counts[key]),
            "mapped": mapped,
            "coverage": {field: _share(identifiers[*key, field], mapped) for field in metrics.identifier_fields},
        }


def _partitions_of(troubles: Sequence[Trouble], kind: str) -> dict[tuple[str, ...], float]:
    return {
        (tp.topic, str(tp.partition)): 1 for trouble in troubles if trouble.kind == kind for tp in trouble.partitions
    }


def _state(pixel: PixelSection, gate: Gate | None, held_by: Sequence[str]) -> str:
    if pixel.paused:
        return "paused"
    if held_by and (gate is None or not gate.held):
        return PARTLY_HELD
    return gate.state.value if gate else "unused"


def _by_last(counts: Counts) -> Counter[str]:
    """The sums by the last of the label values."""
    found: Counter[str] = Counter()
    for values, count in counts.items():
        found[values[-1]] += count
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _held_entry(held: Held) -> HeldEntry:
    rules = held.rules or Counter()
    return {
        "pixel": held.pixel,
        "subject": held.subject,
        "reason": held.reason,
        "since_seconds": None if held.since is None else round(held.since, 1),
        "next_probe_seconds": None if held.next_probe is None else round(held.next_probe, 1),
        "detail": most_rejected(rules),
        "rejected": rule_entries(rules),
        "what_to_do": what_to_do(held.reason),
        "runbook": entry_of(held.reason),
    }


def _said_entry(last: Said | None) -> SaidEntry | None:
    if last is None:
        return None
    return {
        "status": last.status,
        "error_code": last.said.code,
        "error_message": last.said.message,
        "trace_id": last.said.trace_id,
        "seconds_ago": round(time.monotonic() - last.at, 1),
    }


def _wait_entry(wait: Wait | None) -> WaitEntry | None:
    return None if wait is None else {"state": wait.state, "why": wait.text}


def _oldest_entry(oldest: Oldest | None) -> OldestEntry | None:
    if oldest is None:
        return None
    seconds = None if oldest.seconds is None else round(oldest.seconds, 1)
    return {"offset": oldest.offset, "seconds": seconds, "state": oldest.wait.state, "why": oldest.wait.text}
