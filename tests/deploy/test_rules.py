"""The alert rules against the program's real metrics, against made-up series, and against the runbook."""

from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_capi.config.settings import Delivery
from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.kafka.properties import events_bytes
from stream_capi.model import EventName, Lane
from stream_capi.observe.metrics import Gauges, Metrics
from tests.deploy.alerts import Alert, Case, alerts, cases, firing
from tests.deploy.exposed import faults_of
from tests.deploy.promql import Database, Series

ALERTS = {alert.name: alert for alert in alerts()}
CASES = list(cases())


def rule(name: str) -> Alert:
    return ALERTS[name]


def test_there_is_one_rule_of_each_name() -> None:
    assert len(ALERTS) == len(alerts())
    assert len({case.name for case in CASES}) == len(CASES)


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


ASKED = [
    pytest.param(case, at, expected, id=f"{case.name}, after {at / 60:g} min")
    for case in CASES
    for at, expected in case.expected
]


@pytest.mark.parametrize(("case", "at", "expected"), ASKED)
def test_a_case_fires_what_it_says_and_nothing_else(case: Case, at: float, expected: dict[str, int]) -> None:
    fires = firing(case.database, at, case.every)
    assert {name: len(instances) for name, instances in fires.items()} == expected
    for name, instances in fires.items():
        text = " ".join(rule(name).annotations.values())
        named = set(re.findall(r"\$labels\.(\w+)", text))
        # A label that is empty is none to Prometheus; the texts say so with a `with`.
        allowed = set(re.findall(r"with \$labels\.(\w+)", text))
        for labels in instances:
            assert named <= {label for label, _ in labels} | allowed, f"{name} says what it doesn't know"


def test_each_alert_fires_in_a_case() -> None:
    assert set().union(*(expected for case in CASES for _, expected in case.expected)) == set(ALERTS)


def test_a_held_pixel_is_named() -> None:
    (case,) = (case for case in CASES if case.name.startswith("a held pixel"))
    ((labels,),) = firing(case.database, 720.0, case.every).values()
    assert ("pixel", "main") in labels


def test_the_budget_in_the_rules_is_the_default_one() -> None:
    budget = re.search(r"\* (\d+)$", rule("StreamCapiBufferedNearBudget").expression)
    assert budget is not None
    assert int(budget[1]) == events_bytes(Delivery().max_buffered_bytes)


class Member:
    """The real metrics of a member, scraped once a minute."""

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
        metrics.dead_lettered("leads", "refused", 60)
        metrics.commit("ok")
        self.scrape()

    def scrape(self) -> None:
        """What Prometheus would take from ``/metrics`` now."""
        scraped = {frozenset({"__name__": "up", "job": "stream-capi", "instance": "a"}.items()): 1.0}
        for family in text_string_to_metric_families(generate_latest(self.metrics.registry).decode()):
            for sample in family.samples:
                labels = {**sample.labels, "__name__": sample.name, "job": "stream-capi", "instance": "a"}
                scraped[frozenset(labels.items())] = sample.value
        self.scrapes.append(scraped)

    def database(self) -> Database:
        names = set().union(*self.scrapes)
        return Database([Series(dict(name), [scrape.get(name) for scrape in self.scrapes]) for name in names], 60.0)


def test_a_real_member_with_ordinary_traffic_fires_nothing() -> None:
    member = Member()
    for _ in range(90):
        member.minute()
    assert firing(member.database(), 89 * 60.0, 60.0) == {}


def test_a_real_member_that_the_api_refuses_fires_held_and_no_delivery() -> None:
    member = Member()
    for _ in range(30):
        member.minute()
    for minute in range(30):
        lag, age = 20 + 6000.0 * minute, 60.0 * minute
        member.metrics.gauges = lambda lag=lag, age=age: Gauges(  # type: ignore[misc]  # bound now, called in this turn
            0, 16, 5_000_000, {("leads", "0"): lag}, {("leads", "0"): age}, {("main", "401"): 1}
        )
        member.metrics.request("main", "401", 0.1)
        member.metrics.request("main", "401", 0.1)
        member.metrics.consumed("leads", 10)
        member.scrape()
    assert set(firing(member.database(), 59 * 60.0, 60.0)) == {
        "StreamCapiHeld",
        "StreamCapiNoDelivery",
        "StreamCapiEventsLate",
    }
