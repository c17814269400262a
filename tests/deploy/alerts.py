"""The alert rules and their test cases as data, and promtool, which checks the rules and runs the cases."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
CASES = sorted(RULES.parent.glob("*.test.yml"))

FIRING = 'ALERTS{alertstate="firing"}'


class Alert(NamedTuple):
    """One alerting rule."""

    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


def alerts() -> list[Alert]:
    """All alerting rules."""
    return [
        Alert(rule["alert"], rule["expr"], rule.get("labels", {}), rule.get("annotations", {}))
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    ]


def cases() -> list[dict[str, Any]]:
    """All test cases, as promtool reads them."""
    return [case for file in CASES for case in yaml.safe_load(file.read_text())["tests"]]


class Question(NamedTuple):
    """One expectation of a case: an expression, and the labels of each sample in its result."""

    expression: str
    answer: list[dict[str, str]]


def questions() -> Iterator[Question]:
    """The expectations of all cases."""
    for asked in (asked for case in cases() for asked in case["promql_expr_test"]):
        yield Question(asked["expr"], [_labels(sample["labels"]) for sample in asked["exp_samples"]])


def seconds(duration: str) -> float:
    """The seconds of a duration in Prometheus' notation."""
    return promql.parse_duration(duration).total_seconds()


def promtool(*arguments: str | Path) -> None:
    """Run promtool; fail with its output if it fails. Without promtool the test is skipped, and in CI it fails."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("there is no promtool here, and CI must not pass without it: install the package prometheus")
        pytest.skip("there is no promtool here: install the package prometheus")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr


def _labels(series: str) -> dict[str, str]:
    selector = promql.parse(series)
    assert isinstance(selector, promql.VectorSelector), series
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}
