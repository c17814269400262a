"""Joins what several workers report: adds up their metrics, joins their statuses.

A counter never falls: the counts of a worker that ended are carried on. Gauges that add up (requests in flight, bytes, lag)
are summed, of ages the greatest is taken, and what belongs to one process gets the worker's number as a label.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from stream_capi import __version__
from stream_capi.observe.identifier_quality import added_up
from stream_capi.observe.rejected_rules import dead_letters_joined, held_joined
from stream_capi.observe.status_document import (
    DeadLetterTopicEntry,
    FreshnessEntry,
    LagEntry,
    LaneEntry,
    NoticeEntry,
    PausedEntry,
    PixelEntry,
    QuantilesEntry,
    SaidEntry,
    StatusDocument,
    ThroughputEntry,
)

_OF_A_PROCESS = ("process_", "python_")
_GREATEST = (
    *("stream_capi_oldest_unresolved_seconds", "stream_capi_held", "stream_capi_build_info", "stream_capi_paused"),
    "stream_capi_broker_out_of_reach",
    "stream_capi_clock_offset_seconds",  # of one machine: about the same for each worker
)
_WORSE = {"unused": 0, "open": 1, "paused": 2, "throttled": 3, "broken": 4, "partly_held": 5, "held": 6}  # of a pixel
_ADDING = ("counter", "histogram")

_Entry = TypeVar("_Entry", NoticeEntry, PausedEntry)
_Key = TypeVar("_Key", bound=Hashable)
_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class SummedMetrics(Collector):
    """The metrics of all workers. ``reported`` takes those of one, ``ended`` carries on what it had counted."""

    def __init__(self) -> None:
        self._reported: dict[int, str] = {}
        self._carried: dict[str, Metric] = {}

    def reported(self, worker: int, text: str) -> None:
        """The metrics of a worker, in the text format."""
        self._reported[worker] = text

    def ended(self, worker: int) -> None:
        """A worker has ended; its successor begins at nothing."""
        for family in text_string_to_metric_families(self._reported.pop(worker, "")):
            if family.type in _ADDING and not family.name.startswith(_OF_A_PROCESS):
                self._carried[family.name] = _summed(family, [self._carried.get(family.name), family])

    def collect(self) -> Iterator[Metric]:
        """The sums, for a scrape."""
        families: defaultdict[str, list[Metric | None]] = defaultdict(list)
        for name, carried in self._carried.items():
            families[name].append(carried)
        for worker, text in sorted(self._reported.items()):
            for family in text_string_to_metric_families(text):
                if family.name.startswith(_OF_A_PROCESS):
                    family = _labelled(family, worker)
                families[family.name].append(family)
        for several in families.values():
            model = next(family for family in several if family is not None)
            yield _summed(model, several)

    def total(self, name: str) -> float:
        """The sum of all samples of this name."""
        return sum(s.value for family in self.collect() for s in family.samples if s.name == name)


def _labelled(family: Metric, worker: int) -> Metric:
    metric = Metric(family.name, family.documentation, family.type)
    for sample in family.samples:
        metric.add_sample(sample.name, {**sample.labels, "worker": str(worker)}, sample.value)
    return metric


def _summed(model: Metric, several: Iterable[Metric | None]) -> Metric:
    combine: Callable[[float, float], float] = max if model.name in _GREATEST else float.__add__
    samples: _Samples = {}
    for family in several:
        for sample in family.samples if family is not None else ():
            if sample.name.endswith("_created"):
                continue
            key = (sample.name, tuple(sorted(sample.labels.items())))
            value = float(sample.value)
            samples[key] = combine(samples[key], value) if key in samples else value
    metric = Metric(model.name, model.documentation, model.type)
    for (name, labels), value in samples.items():
        metric.add_sample(name, dict(labels), value)
    return metric


def not_ready(statuses: Mapping[int, StatusDocument | None]) -> list[str]:
    """Why the workers are not ready, or those of them that aren't."""
    return [
        f"worker {worker}: {reason}"
        for worker, status in sorted(statuses.items())
        for reason in (["it doesn't answer yet"] if status is None else status["reasons"])
    ]


def joined(statuses: Mapping[int, StatusDocument | None], group: str, uptime: float) -> StatusDocument:
    """One status of the workers' own; None stands for a worker that doesn't answer at present."""
    known = [status for status in statuses.values() if status is not None]
    reasons = not_ready(statuses)
    return {
        "version": __version__,
        "group": group,
        "clients": sorted(client for status in known for client in status["clients"]),
        "uptime_seconds": round(uptime, 1),
        "tasks": sum(status["tasks"] for status in known),
        "alive": True,  # this process answers; a worker that has ended is started again
        "ready": not reasons,
        "reasons": reasons,
        "held": held_joined(entry for status in known for entry in status["held"]),
        "paused": _distinct(entry for status in known for entry in status["paused"]),
        "notices": _distinct(entry for status in known for entry in status["notices"]),
        "totals": {
            "consumed": sum(status["totals"]["consumed"] for status in known),
            "delivered": sum(status["totals"]["delivered"] for status in known),
            "dead_lettered": sum(status["totals"]["dead_lettered"] for status in known),
            "skipped": sum(status["totals"]["skipped"] for status in known),
        },
        "throughput": _throughput([status["throughput"] for status in known]),
        "latency": {
            "recent_seconds": known[0]["latency"]["recent_seconds"] if known else 0,
            "end_to_end_seconds": _slowest([status["latency"]["end_to_end_seconds"] for status in known]),
            "request_seconds": _slowest([status["latency"]["request_seconds"] for status in known]),
        },
        "untimed": [
            {"reason": reason, "count": count}
            for reason, count in _sums((one["reason"], one["count"]) for s in known for one in s["untimed"])
        ],
        "freshness": _freshness(known),
        "lag": _lag([status["lag"] for status in known]),
        "requests": {
            "in_flight": sum(status["requests"]["in_flight"] for status in known),
            "limit": sum(status["requests"]["limit"] for status in known),
        },
        "buffered": {
            "bytes": sum(status["buffered"]["bytes"] for status in known),
            "budget": sum(status["buffered"]["budget"] for status in known),
        },
        "partitions": sorted(
            (entry for status in known for entry in status["partitions"]), key=lambda e: (e["topic"], e["partition"])
        ),
        "dead_letters": dead_letters_joined(entry for status in known for entry in status["dead_letters"]),
        "dead_letter_topic": _dead_letter_topic(known),
        "skipped": [
            {"topic": topic, "reason": reason, "count": count}
            for (topic, reason), count in _sums(
                ((one["topic"], one["reason"]), one["count"]) for s in known for one in s["skipped"]
            )
        ],
        "left_out": [
            {"field": field, "reason": reason, "count": count}
            for (field, reason), count in _sums(
                ((one["field"], one["reason"]), one["count"]) for s in known for one in s["left_out"]
            )
        ],
        "pixels": _pixels(known),
        "lanes": _lanes(known),
        "identifiers": added_up([status["identifiers"] for status in known]),
        "workers": [{"worker": worker, "answers": status is not None} for worker, status in sorted(statuses.items())],
    }


def _distinct(entries: Iterable[_Entry]) -> list[_Entry]:
    """Entries that several workers share, each once."""
    found: dict[tuple[object, ...], _Entry] = {}
    for entry in entries:
        found.setdefault(tuple(entry.get(key) for key in ("pixel", "subject", "reason")), entry)
    return list(found.values())


def _throughput(every: Sequence[ThroughputEntry]) -> ThroughputEntry:
    if not every:
        return {"per_second": 0.0, "seconds": 0, "series": []}
    return {
        "per_second": round(sum(one["per_second"] for one in every), 1),
        "seconds": every[0]["seconds"],
        "series": [sum(values) for values in zip(*(one["series"] for one in every), strict=True)],
    }


def _slowest(every: Sequence[QuantilesEntry]) -> QuantilesEntry:
    """Quantiles can't be added: those of the slowest worker."""
    return {
        "p50": max((one["p50"] for one in every if one["p50"] is not None), default=None),
        "p99": max((one["p99"] for one in every if one["p99"] is not None), default=None),
        "count": sum(one["count"] for one in every),
    }


def _freshness(known: Sequence[StatusDocument]) -> FreshnessEntry:
    return {
        "within_seconds": known[0]["freshness"]["within_seconds"] if known else 0,
        "share": _weighted((s["freshness"]["share"], s["totals"]["delivered"]) for s in known),
        "recent_share": _weighted((s["freshness"]["recent_share"], sum(s["throughput"]["series"])) for s in known),
    }


def _weighted(shares: Iterable[tuple[float | None, float]]) -> float | None:
    known = [(share, weight) for share, weight in shares if share is not None and weight > 0]
    weight = sum(weight for _, weight in known)
    return round(sum(share * of for share, of in known) / weight, 4) if weight else None


def _lag(every: Sequence[LagEntry]) -> LagEntry:
    """The members' own lags add up; of the group's the one that was asked for last."""
    known = [one["member"] for one in every if one["member"] is not None]
    last = min(
        (one for one in every if one["group_seconds_ago"] is not None),
        key=lambda one: one["group_seconds_ago"] or 0.0,
        default=None,
    )
    return {
        "member": sum(known) if known else None,
        "partitions": sum(one["partitions"] for one in every),
        "group": last["group"] if last else None,
        "group_partitions": last["group_partitions"] if last else None,
        "group_seconds_ago": last["group_seconds_ago"] if last else None,
    }


def _sums(counted: Iterable[tuple[_Key, int]]) -> list[tuple[_Key, int]]:
    """The counts of each key added up, the greatest first."""
    counts: Counter[_Key] = Counter()
    for key, count in counted:
        counts[key] += count
    return counts.most_common()


def _dead_letter_topic(known: Sequence[StatusDocument]) -> DeadLetterTopicEntry | None:
    """It is one topic: what any worker knows of it."""
    entries = [entry for status in known if (entry := status["dead_letter_topic"]) is not None]
    return next((entry for entry in entries if entry["retention"] != "not_known"), entries[0] if entries else None)


def _pixels(known: Sequence[StatusDocument]) -> list[PixelEntry]:
    """For each pixel the entry of the worker in the worst state, with the API's words and what is held of all workers."""
    found: dict[str, PixelEntry] = {}
    entries = [entry for status in known for entry in status["pixels"]]
    said: dict[str, SaidEntry] = {}
    for entry in entries:
        last, before = entry["api_said"], said.get(entry["pixel"])
        if last is not None and (before is None or last["seconds_ago"] < before["seconds_ago"]):
            said[entry["pixel"]] = last
    forms = {entry["pixel"]: entry["authorization"] for entry in entries if entry["authorization"]}
    held_by: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for entry in entries:
        held_by[entry["pixel"]] |= dict.fromkeys(entry["held_by"])
        if _WORSE.get(entry["state"], 0) > _WORSE.get(found.setdefault(entry["pixel"], entry)["state"], 0):
            found[entry["pixel"]] = entry
    return [
        {
            **entry,
            "held_by": list(held_by[pixel]),
            "authorization": forms.get(pixel),
            "api_said": said.get(pixel),
        }
        for pixel, entry in found.items()
    ]


def _lanes(known: Sequence[StatusDocument]) -> list[LaneEntry]:
    lanes: defaultdict[tuple[str, str], list[LaneEntry]] = defaultdict(list)
    for entry in (entry for status in known for entry in status["lanes"]):
        lanes[entry["pixel"], entry["event"]].append(entry)
    return [
        {
            "pixel": pixel,
            "event": event,
            "delivered": sum(one["delivered"] for one in every),
            "fresh_share": _weighted((one["fresh_share"], one["delivered"]) for one in every),
            "mapped": sum(one["mapped"] for one in every),
            "coverage": {
                field: _weighted((one["coverage"].get(field), one["mapped"]) for one in every)
                for field in every[0]["coverage"]
            },
        }
        for (pixel, event), every in lanes.items()
    ]
