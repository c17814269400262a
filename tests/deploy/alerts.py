"""The alert rules, and what they say of series that a test made up: pending, then firing, as Prometheus does it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import yaml

from tests.deploy.promql import Database, Labels, Series

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
CASES = RULES.with_name("rules.test.yml")

_STEP = re.compile(r"(?P<first>-?[\d.]+)(?:(?P<by>[+-][\d.]+))?(?:x(?P<times>\d+))?|_(?:x(?P<gaps>\d+))?")


class Alert(NamedTuple):
    """One rule of the file."""

    name: str
    expression: str
    seconds: float  # of ``for``
    labels: dict[str, str]
    annotations: dict[str, str]


def alerts() -> list[Alert]:
    """Every alert of the rules."""
    return [
        Alert(
            rule["alert"],
            rule["expr"],
            seconds(rule["for"]) if "for" in rule else 0.0,
            rule.get("labels", {}),
            rule.get("annotations", {}),
        )
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    ]


def seconds(duration: str) -> float:
    """A duration as Prometheus writes it."""
    return promql.parse_duration(duration).total_seconds()


def firing(database: Database, end: float, every: float) -> dict[str, list[Labels]]:
    """Which alerts fire at ``end``, each with its instances' labels, having been evaluated ``every`` so many seconds."""
    found: dict[str, list[Labels]] = {}
    for alert in alerts():
        since: dict[Labels, float] = {}
        at = 0.0
        while at <= end:
            active = {_nameless(labels) for labels in database.evaluate(alert.expression, at)}
            since = {labels: since.get(labels, at) for labels in active}
            at += every
        over = [labels for labels, begun in since.items() if end - begun >= alert.seconds]
        if over:
            found[alert.name] = over
    return found


def _nameless(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


class Case(NamedTuple):
    """One test of ``rules.test.yml``: series, and the alerts that fire at a moment."""

    name: str
    database: Database
    every: float
    expected: list[tuple[float, dict[str, int]]]  # seconds, and how many instances of which alerts


def cases() -> Iterator[Case]:
    """The cases, which are written as promtool reads them."""
    whole = yaml.safe_load(CASES.read_text())
    every = seconds(whole["evaluation_interval"])
    for test in whole["tests"]:
        series = [Series(_labels(given["series"]), _samples(given["values"])) for given in test["input_series"]]
        yield Case(
            test["name"],
            Database(series, seconds(test["interval"])),
            every,
            [(seconds(asked["eval_time"]), _counts(asked)) for asked in test["promql_expr_test"]],
        )


def _labels(series: str) -> dict[str, str]:
    selector = promql.parse(series)
    assert isinstance(selector, promql.VectorSelector), series
    assert selector.name is not None, series
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers} | {"__name__": selector.name}


def _samples(text: str) -> list[float | None]:
    samples: list[float | None] = []
    for word in text.split():
        step = _STEP.fullmatch(word)
        assert step is not None, f"{word!r} is no series of samples"
        if step["first"] is None:
            samples += [None] * int(step["gaps"] or 1)
        else:
            first, by = float(step["first"]), float(step["by"] or 0)
            samples += [first + by * i for i in range(int(step["times"] or 0) + 1)]
    return samples


def _counts(asked: dict[str, Any]) -> dict[str, int]:
    assert asked["expr"] == 'count by (alertname) (ALERTS{alertstate="firing"})', "cases ask for all that fires"
    return {_labels(f"x{sample['labels']}")["alertname"]: sample["value"] for sample in asked["exp_samples"]}
