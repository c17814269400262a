"""The dashboard agrees with the program's real metrics, so that no panel is empty because a name has changed."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tests.deploy.alerts import ROOT
from tests.deploy.exposed import exposed, faults_of, selectors

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS: list[dict[str, Any]] = [target for panel in PANELS for target in panel.get("targets", [])]
QUERIES = [
    pytest.param(panel, target, id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel.get("targets", [])
]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
BUILT_IN = {"__rate_interval": "5m", "__range": "3h"}


def query(target: dict[str, Any]) -> str:
    """The expression as Grafana sends it, but with variables in matchers left as they are."""
    expression: str = target["expr"]
    for name, value in BUILT_IN.items():
        expression = expression.replace(f"${name}", value)
    return expression


def test_each_panel_has_an_id_of_its_own() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)


def test_panels_fit_the_grid_and_none_lies_on_another() -> None:
    cells = [panel["gridPos"] for panel in PANELS]
    assert all(cell["x"] + cell["w"] <= 24 for cell in cells)
    for a, b in combinations(cells, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def test_each_panel_says_what_it_shows() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_a_query_asks_only_for_what_the_program_exposes(panel: dict[str, Any], target: dict[str, Any]) -> None:
    assert faults_of(query(target)) == []


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_a_query_goes_to_the_chosen_source_and_uses_only_variables_that_there_are(
    panel: dict[str, Any], target: dict[str, Any]
) -> None:
    assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert set(re.findall(r"\$(\w+)", target["expr"])) <= VARIABLES.keys() | BUILT_IN.keys()


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_each_selector_heeds_the_chosen_namespace_and_job(panel: dict[str, Any], target: dict[str, Any]) -> None:
    for selector in selectors(promql.parse(query(target))):
        matchers = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
        assert {("namespace", "$namespace"), ("job", "$job")} <= matchers
        if "pixel" in exposed()[selector.name or ""].labels and selector.name != "stream_capi_held":
            assert ("pixel", "$pixel") in matchers  # a held source has no pixel, and must be shown all the same


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_a_legend_names_only_labels_that_the_query_leaves(panel: dict[str, Any], target: dict[str, Any]) -> None:
    named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    left: set[str] = set()
    aggregated = False

    def visit(node: promql.Expr) -> bool:
        nonlocal aggregated
        if isinstance(node, promql.AggregateExpr) and str(node.op) != "topk":
            aggregated = True
            left.update(node.modifier.labels if node.modifier is not None else [])
        return True

    promql.walk(promql.parse(query(target)), visit)
    assert named <= (left if aggregated else {"instance"})


def test_each_metric_of_the_program_is_on_the_dashboard() -> None:
    shown = {selector.name or "" for target in TARGETS for selector in selectors(promql.parse(query(target)))}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    every = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed() if name.startswith("stream_capi_")}
    assert every - shown == set()


def test_variables_are_asked_of_metrics_that_there_are() -> None:
    assert VARIABLES["datasource"]["query"] == "prometheus"
    for name in ("namespace", "job", "pixel"):
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name]["query"]["query"])
        assert asked is not None
        assert faults_of(f"sum by ({asked[2]}) ({rated(asked[1])})") == []


def rated(selector: str) -> str:
    """The selector, as a rate if it is a counter's."""
    return f"rate({selector}[5m])" if "_total" in selector else selector


def test_grafana_finds_prometheus_and_the_dashboard_where_compose_puts_them() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/stream-capi.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose
    assert mounts["./deploy/grafana/dashboard.json"] == f"{provider['options']['path']}/stream-capi.json"
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
