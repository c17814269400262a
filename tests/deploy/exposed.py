"""The metrics that the program exposes: names, types and labels, parsed from a real scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import promql_parser as promql
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.rejected_field import RejectedRule
from stream_capi.model import EventName, Lane
from stream_capi.observe.metrics import Gauges, Metrics

# Labels that Prometheus adds to every series: by the scrape job, and by the operator's or docker's service discovery.
SCRAPED = frozenset({"job", "instance", "namespace", "pod"})


class Exposed(NamedTuple):
    """One metric."""

    kind: str
    labels: frozenset[str]


def fed() -> Metrics:
    """Metrics after each kind of event has happened once."""
    metrics = Metrics(IDENTIFIER_FIELDS)
    now = 1_800_000_000_000
    metrics.consumed("leads", 1)
    metrics.delivered(Lane("main", EventName.GENERATE_LEAD), [now - 800, 0], now)
    metrics.dead_lettered("leads", RejectedRule("refused"))
    metrics.skipped("leads", "tombstone", 1)
    metrics.request("main", "200", 0.2)
    metrics.batch(1)
    metrics.commit("ok")
    metrics.identifiers("main", "generate_lead", "email", 1)
    metrics.dropped("phone", "not_a_phone_number", 1)
    metrics.suspect("client_ip_address", "private", 1)
    metrics.schema_lacks("leads", "email")
    partition: Mapping[tuple[str, ...], float] = {("leads", "0"): 1}
    broker: Mapping[tuple[str, ...], float] = {("kafka-1:9092/1",): 1}
    held: Mapping[tuple[str, ...], float] = {("main", "401"): 1}
    clock: Mapping[tuple[str, ...], float] = {("endpoint",): 1}
    paused: Mapping[tuple[str, ...], float] = {("leads", "0", "all"): 1}
    metrics.gauges = lambda: Gauges(
        1, 16, 1, partition, partition, held, broker, partition, broker, clock, paused, partition
    )
    return metrics


@cache
def exposed() -> dict[str, Exposed]:
    """Every sample name of a scrape (so three for a histogram), and ``up``."""
    found = {"up": Exposed("gauge", frozenset())}
    for family in text_string_to_metric_families(generate_latest(fed().registry).decode()):
        for sample in family.samples:
            known = found.get(sample.name, Exposed(family.type, frozenset()))
            found[sample.name] = Exposed(known.kind, known.labels | sample.labels.keys())
    return found


def selectors(expression: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Every selector in an expression."""
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        elif isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql.walk(expression, visit)
    return iter(found)


def faults_of(expression: str) -> list[str]:
    """The faults of an expression: a syntax error, or a metric or label that the program doesn't expose."""
    try:
        parsed = promql.parse(expression)
    except ValueError as error:
        return [str(error)]
    faults = []
    labels: set[str] = set()
    for selector in selectors(parsed):
        metric = exposed().get(selector.name or "")
        if metric is None:
            faults.append(f"there is no metric {selector.name}")
            continue
        labels |= metric.labels
        asked = {matcher.name for matcher in selector.matchers.matchers}
        faults += [f"{selector.name} has no label {name}" for name in asked - metric.labels - SCRAPED]
    faults += [f"no metric here has the label {name}" for name in _grouped(parsed) - labels - SCRAPED]
    return faults + list(_misused(parsed))


def _grouped(expression: promql.Expr) -> set[str]:
    """The labels by which an expression groups or matches."""
    names: set[str] = set()

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            names.update(node.modifier.labels)
        if isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
            names.update(node.modifier.matching.labels)
        return True

    promql.walk(expression, visit)
    return names


def _misused(expression: promql.Expr) -> Iterator[str]:
    """Rates of gauges, and counters or histograms without a rate: Prometheus draws both, and they mean nothing."""
    rated: set[str] = set()
    quantiles: set[str] = set()
    every = [selector.name or "" for selector in selectors(expression)]

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.Call) and node.func.name in ("rate", "increase"):
            rated.update(selector.name or "" for selector in selectors(node))
        if isinstance(node, promql.Call) and node.func.name == "histogram_quantile":
            quantiles.update(selector.name or "" for selector in selectors(node))
        return True

    promql.walk(expression, visit)
    for name in every:
        metric = exposed().get(name)
        if metric is None:
            continue
        counts = metric.kind in ("counter", "histogram")
        if counts and name not in rated:
            yield f"{name} is a {metric.kind} and is used without rate or increase"
        if name.endswith("_bucket") and name not in quantiles:
            yield f"{name} counts upwards over its bounds, and is used without histogram_quantile"
        if not counts and name in rated:
            yield f"{name} is a {metric.kind}, of which a rate means nothing"
