"""The chart's own files agree with the program and the manifests. tests/ship/test_chart.py tests what helm renders."""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy

import pytest
from jsonschema import Draft7Validator

from stream_capi import __version__, config
from tests.deploy.configuration_page import VALUES_SCHEMA
from tests.deploy.program import ROOT, documents

CHART = ROOT / "deploy/helm"
(VALUES,) = documents(CHART / "values.yaml")
SCHEMA = json.loads(VALUES_SCHEMA.read_text("utf-8"))
VALIDATOR = Draft7Validator(SCHEMA)


def test_the_chart_is_of_this_version() -> None:
    (chart,) = documents(CHART / "Chart.yaml")
    assert chart["version"] == chart["appVersion"] == __version__


def test_its_alert_rules_are_the_same_file() -> None:
    """The chart has a symbolic link, which helm follows when it packs the chart."""
    assert (CHART / "rules.yml").samefile(ROOT / "deploy/prometheus/rules.yml")


def test_its_settings_are_those_of_the_manifests() -> None:
    assert VALUES["settings"] == tomllib.loads((ROOT / "deploy/kubernetes/stream-capi.toml").read_text())


def test_its_values_fit_their_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert [error.message for error in VALIDATOR.iter_errors(VALUES)] == []


def test_the_schema_has_each_value() -> None:
    assert SCHEMA["properties"].keys() == {*VALUES, "global"}


@pytest.mark.parametrize("path", ["", "image", "settings", "settings.kafka", "keda", "networkPolicy", "podMonitor"])
def test_the_schema_refuses_a_name_that_nothing_reads(path: str) -> None:
    values = deepcopy(VALUES)
    table = values
    for name in filter(None, path.split(".")):
        table = table[name]
    table["misspelt"] = 1
    (error,) = VALIDATOR.iter_errors(values)
    assert "'misspelt' was unexpected" in error.message


def test_no_template_makes_a_secret() -> None:
    """Values are kept in the release's history and in values files, where no secret belongs."""
    templates = sorted((CHART / "templates").rglob("*.yaml"))
    assert len(templates) > 8
    assert not [template.name for template in templates if "kind: Secret" in template.read_text()]


def test_static_membership_is_the_setting_of_the_group_instance_id() -> None:
    (name,) = {
        line.split()[-1]
        for line in (CHART / "templates/members.yaml").read_text().splitlines()
        if "name: STREAM_CAPI_" in line
    }
    settings = config.load(ROOT / "deploy/kubernetes/stream-capi.toml", {name: "stream-capi-0"}, keys=False)
    assert settings.kafka.properties["group.instance.id"] == "stream-capi-0"
