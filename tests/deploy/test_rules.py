"""The alert rules are tested with the program's real metrics, with made-up series (by promtool), and by the runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_capi.config.settings import DeliverySection
from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.rejected_field import RejectedRule
from stream_capi.kafka.properties import events_bytes
from stream_capi.model import EventName, Lane
from stream_capi.observe.metrics import Gauges, Metrics
from tests.deploy.alerts import CASES, FIRING, RULES, Alert, alerts, cases, promtool, questions
from tests.deploy.exposed import faults_of

ALERTS = {alert.name: alert for alert in alerts()}
QUESTIONS = list(questions())


def rule(name: str) -> Alert:
    return ALERTS[name]


def test_there_is_one_rule_and_one_case_of_each_name() -> None:
    assert len(ALERTS) == len(alerts())
    assert len({case["name"] for case in cases()}) == len(cases())


@pytest.mark.parametrize("name", ALERTS)
def test_a_rule_asks_only_for_what_the_program_exposes(name: str) -> None:
    assert faults_of(rule(name).expression) == []


@pytest.mark.parametrize("name", ALERTS)
def test_a_rule_tells_how_bad_what_it_is_and_what_is_safe(name: str) -> None:
    alert = rule(name)
    assert alert.labels["severity"] in ("critical", "warning")
    assert len(alert.annotations["summary"]) <= 160
    assert alert.annotations["description"].endswith(".")
    assert alert.annotations["runbook_url"] == f"docs/operations.md#{name.lower()}"


# Cases of promtool


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", RULES)


@pytest.mark.repeat(of="test_promtool_takes_the_rules")
@pytest.mark.slow
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.name)
def test_each_case_fires_what_it_says(file: Path) -> None:
    promtool("test", "rules", file)


def test_each_case_asks_for_all_that_fires() -> None:
    """Otherwise an alert that a case doesn't expect could fire unnoticed."""
    assert {question.expression for question in QUESTIONS} == {FIRING}


def test_each_alert_fires_in_a_case() -> None:
    assert {labels["alertname"] for question in QUESTIONS for labels in question.answer} == set(ALERTS)


def test_each_alert_ends_with_the_members_that_it_is_about() -> None:
    """A range has samples for a while after its series ended; but when members end, only the absence alert may fire."""
    before: set[str] = set()
    for case in (case for case in cases() if "stale" in str(case["input_series"])):
        first, *later = (
            {re.search(r'alertname="(\w+)"', sample["labels"])[1] for sample in asked["exp_samples"]}  # type: ignore[index]
            for asked in case["promql_expr_test"]
        )
        before |= first
        assert set().union(*later) <= {"StreamCapiAbsent"}
    assert before == set(ALERTS) - {"StreamCapiAbsent"}


def test_an_alert_says_nothing_that_it_does_not_know() -> None:
    for labels in (labels for question in QUESTIONS for labels in question.answer):
        text = " ".join(rule(labels["alertname"]).annotations.values())
        # To Prometheus an empty label is a missing one; the texts handle it with a `with`.
        named = set(re.findall(r"\$labels\.(\w+)", text)) - set(re.findall(r"with \$labels\.(\w+)", text))
        assert named <= labels.keys(), labels["alertname"]


def test_the_budget_in_the_rules_is_the_default_one() -> None:
    budget = re.search(r"\* (\d+)$", rule("StreamCapiBufferedNearBudget").expression)
    assert budget is not None
    assert int(budget[1]) == events_bytes(DeliverySection().max_buffered_bytes)


class Member:
    """A member's real metrics, scraped once a minute."""

    def __init__(self) -> None:
        self.metrics = Metrics(IDENTIFIER_FIELDS)
        self.metrics.gauges = lambda: Gauges(4, 16, 900_000, {("leads", "0"): 20}, {("leads", "0"): 0.9})
        self.scrapes: list[dict[frozenset[tuple[str, str]], float]] = []

    def minute(self) -> None:
        """A minute of ordinary traffic."""
        metrics, now = self.metrics, 1_800_000_000_000
        metrics.consumed("leads", 6000)
        metrics.identifiers("main", "generate_lead", "email", 5000)
        for _ in range(60):
            metrics.delivered(Lane("main", EventName.GENERATE_LEAD), [now - 900] * 99, now)
            metrics.request("main", "200", 0.2)
            metrics.batch(99)
        metrics.request("main", "timeout", 10.0)
        metrics.dead_lettered("leads", RejectedRule("refused"), 60)
        metrics.commit("ok")
        self.scrape()

    def scrape(self) -> None:
        """Record the samples that Prometheus would take from ``/metrics`` now."""
        scraped = {frozenset({"__name__": "up", "job": "stream-capi", "instance": "a"}.items()): 1.0}
        for family in text_string_to_metric_families(generate_latest(self.metrics.registry).decode()):
            for sample in family.samples:
                labels = {**sample.labels, "__name__": sample.name, "job": "stream-capi", "instance": "a"}
                scraped[frozenset(labels.items())] = sample.value
        self.scrapes.append(scraped)

    def fires(self, names: set[str], folder: Path) -> None:
        """Assert with promtool that exactly these alerts fire at the last scrape."""
        last = len(self.scrapes) - 1
        series = []
        for labels in set().union(*self.scrapes):
            values = " ".join("_" if (value := scrape.get(labels)) is None else repr(value) for scrape in self.scrapes)
            matchers = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels))
            series.append({"series": f"{{{matchers}}}", "values": values})
        question = {
            "expr": f"count by (alertname) ({FIRING})",
            "eval_time": f"{last}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
        }
        case = {"interval": "1m", "input_series": series, "promql_expr_test": [question]}
        file = folder / "member.test.yml"
        file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
        promtool("test", "rules", file)


@pytest.mark.slow
def test_a_real_member_with_ordinary_traffic_fires_nothing(tmp_path: Path) -> None:
    member = Member()
    for _ in range(90):
        member.minute()
    member.fires(set(), tmp_path)


@pytest.mark.slow
def test_a_real_member_that_the_api_refuses_fires_held_and_no_delivery(tmp_path: Path) -> None:
    member = Member()
    for _ in range(30):
        member.minute()
    for minute in range(30):
        lag, age = 20 + 6000.0 * minute, 60.0 * minute
        member.metrics.gauges = lambda lag=lag, age=age: Gauges(  # type: ignore[misc]  # values bound as defaults
            0, 16, 5_000_000, {("leads", "0"): lag}, {("leads", "0"): age}, {("main", "401"): 1}
        )
        member.metrics.request("main", "401", 0.1)
        member.metrics.request("main", "401", 0.1)
        member.metrics.consumed("leads", 10)
        member.scrape()
    member.fires({"StreamCapiHeld", "StreamCapiNoDelivery", "StreamCapiEventsLate"}, tmp_path)
