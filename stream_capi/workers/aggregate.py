"""What several workers tell of themselves, as one: their metrics summed, their statuses joined.

A counter never falls: what a worker had counted when it ended is carried on. Of gauges that are sums by nature (requests in
flight, bytes, lag of partitions that one worker has each) the sum is told, of ages the greatest, and what belongs to one
process bears the worker's number as a label.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_OF_A_PROCESS = ("process_", "python_")
_GREATEST = (
    *("stream_capi_oldest_unresolved_seconds", "stream_capi_held", "stream_capi_build_info"),
    "stream_capi_broker_out_of_reach",
    "stream_capi_clock_offset_seconds",  # of one machine: about the same for each worker
)
_ADDING = ("counter", "histogram")

Status = Mapping[str, Any]
_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Sums(Collector):
    """The metrics of all workers. ``heard`` takes what one says, ``ended`` carries on what it had counted."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}
        self._carried: dict[str, Metric] = {}

    def heard(self, worker: int, text: str) -> None:
        """The metrics of a worker, in the text format."""
        self._said[worker] = text

    def ended(self, worker: int) -> None:
        """A worker has ended; its successor begins at nothing."""
        for family in text_string_to_metric_families(self._said.pop(worker, "")):
            if family.type in _ADDING and not family.name.startswith(_OF_A_PROCESS):
                self._carried[family.name] = _summed(family, [self._carried.get(family.name), family])

    def collect(self) -> Iterator[Metric]:
        """The sums, for a scrape."""
        families: defaultdict[str, list[Metric | None]] = defaultdict(list)
        for name, carried in self._carried.items():
            families[name].append(carried)
        for worker, text in sorted(self._said.items()):
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


def not_ready(statuses: Mapping[int, Status | None]) -> list[str]:
    """Why the workers are not ready, or those of them that aren't."""
    return [
        f"worker {worker}: {reason}"
        for worker, status in sorted(statuses.items())
        for reason in (["it doesn't answer yet"] if status is None else status["reasons"])
    ]


def joined(statuses: Mapping[int, Status | None], uptime: float) -> dict[str, Any]:
    """One status of the workers' own; None stands for a worker that doesn't answer at present."""
    said = [status for status in statuses.values() if status is not None]
    reasons = not_ready(statuses)
    whole: dict[str, Any] = dict(said[0]) if said else {}
    return whole | {
        "uptime_seconds": round(uptime, 1),
        "alive": True,  # this process answers; a worker that has ended is started again
        "ready": not reasons,
        "reasons": reasons,
        "tasks": sum(status["tasks"] for status in said),
        "held": _different(entry for status in said for entry in status["held"]),
        "notices": _different(entry for status in said for entry in status["notices"]),
        "totals": _added(("consumed", "delivered", "dead_lettered", "skipped"), (s["totals"] for s in said)),
        "throughput": _throughput(said),
        "latency": _latency(said),
        "freshness": _freshness(said),
        "requests": _added(("in_flight", "limit"), (s["requests"] for s in said)),
        "buffered": _added(("bytes", "budget"), (s["buffered"] for s in said)),
        "partitions": sorted(
            (entry for status in said for entry in status["partitions"]), key=lambda e: (e["topic"], e["partition"])
        ),
        "dead_letters": _dead_letters(said),
        "pixels": _pixels(said),
        "lanes": _lanes(said),
        "workers": [{"worker": worker, "answers": status is not None} for worker, status in sorted(statuses.items())],
    }


def _different(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What several workers wait for alike is told once."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        found.setdefault(tuple(entry.get(key) for key in ("pixel", "subject", "reason")), entry)
    return list(found.values())


def _added(names: Iterable[str], counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    every = list(counts)
    return {name: sum(one[name] for one in every) for name in names}


def _throughput(said: Sequence[Status]) -> dict[str, Any]:
    if not said:
        return {"per_second": 0.0, "seconds": 0, "series": []}
    every = [status["throughput"] for status in said]
    return {
        "per_second": round(sum(one["per_second"] for one in every), 1),
        "seconds": every[0]["seconds"],
        "series": [sum(values) for values in zip(*(one["series"] for one in every), strict=True)],
    }


def _latency(said: Sequence[Status]) -> dict[str, Any]:
    """Quantiles can't be added: the slowest worker's are told."""
    told: dict[str, Any] = {"recent_seconds": said[0]["latency"]["recent_seconds"] if said else 0}
    for kind in ("end_to_end_seconds", "request_seconds"):
        every = [status["latency"][kind] for status in said]
        told[kind] = {q: max((one[q] for one in every if one[q] is not None), default=None) for q in ("p50", "p99")}
        told[kind]["count"] = sum(one["count"] for one in every)
    return told


def _freshness(said: Sequence[Status]) -> dict[str, Any]:
    return {
        "within_seconds": said[0]["freshness"]["within_seconds"] if said else 0,
        "share": _weighted((s["freshness"]["share"], s["totals"]["delivered"]) for s in said),
        "recent_share": _weighted((s["freshness"]["recent_share"], sum(s["throughput"]["series"])) for s in said),
    }


def _weighted(shares: Iterable[tuple[float | None, float]]) -> float | None:
    known = [(share, weight) for share, weight in shares if share is not None and weight > 0]
    weight = sum(weight for _, weight in known)
    return round(sum(share * of for share, of in known) / weight, 4) if weight else None


def _dead_letters(said: Sequence[Status]) -> list[dict[str, Any]]:
    counts: Counter[tuple[str, str]] = Counter()
    for entry in (entry for status in said for entry in status["dead_letters"]):
        counts[entry["topic"], entry["code"]] += entry["count"]
    return [{"topic": topic, "code": code, "count": count} for (topic, code), count in counts.most_common()]


def _pixels(said: Sequence[Status]) -> list[dict[str, Any]]:
    """Of each pixel the word of a worker for which it is not open, if there is one."""
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for status in said for entry in status["pixels"]):
        if found.setdefault(entry["pixel"], entry)["state"] in ("open", "unused") and entry["state"] != "unused":
            found[entry["pixel"]] = entry
    return list(found.values())


def _lanes(said: Sequence[Status]) -> list[dict[str, Any]]:
    lanes: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for entry in (entry for status in said for entry in status["lanes"]):
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
