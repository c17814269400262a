"""The chart as helm renders it agrees with the manifests as kustomize renders them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.configuration_page import Key, keys
from tests.deploy.program import ROOT, parse
from tests.ship.engines import engine, kubernetes_version
from tests.ship.manifests import BASE, CHART, COMPONENTS, ChartRefused, Objects, charted, kustomized, overlay

pytestmark = pytest.mark.engine

EVERYTHING = ["keda.enabled=true", "podMonitor.enabled=true", "toolbox.enabled=true"]
EVERYTHING += ["prometheusRule.enabled=true", "serviceAccount.create=true"]
# The chart's values that correspond to each component, without its changes to the network policy.
ON, OF_THE_NAMESPACE = {"enabled": True}, dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))
VALUES: dict[str, dict[str, Any]] = {
    "keda": {"keda": ON},
    "monitoring": {"podMonitor": ON},
    "toolbox": {"toolbox": ON},
    "openshift": {"podSecurityContext": OF_THE_NAMESPACE},
    "brokers-outside": {},
    "brokers-tls": {},
}
# Labels that only helm's charts have, or only the manifests' base and not its components; and the annotations of hooks.
HELMS = {f"app.kubernetes.io/{name}" for name in ("instance", "version", "managed-by", "part-of")}
HELMS |= {"helm.sh/chart", "helm.sh/hook", "helm.sh/hook-delete-policy"}
TOML = "stream-capi.toml"


def settings_of(objects: Objects) -> str:
    """The configuration file that the members read."""
    (text,) = (value["data"][TOML] for (kind, _), value in objects.items() if kind == "ConfigMap")
    return str(text)


def comparable(value: Any) -> Any:
    """The value without helm's labels and digests in names, and with the configuration file parsed."""
    if isinstance(value, dict):
        pairs = {name: comparable(inner) for name, inner in value.items() if name not in HELMS}
        left = {name: inner for name, inner in pairs.items() if inner != {} or value[name] == {}}
        return left | ({TOML: tomllib.loads(left[TOML])} if TOML in left else {})
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    return re.sub(r"^stream-capi-[0-9a-z]{10}$", "stream-capi-DIGEST", value) if isinstance(value, str) else value


def text_of(objects: Objects) -> str:
    """The comparable objects as text, so that pytest shows the lines that differ."""
    return yaml.safe_dump({f"{kind} {comparable(name)}": comparable(value) for (kind, name), value in objects.items()})


def sets(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def with_values(folder: Path, values: dict[str, Any]) -> list[str]:
    (folder / "values.yaml").write_text(yaml.safe_dump(values, allow_unicode=True))
    return ["--values", str(folder / "values.yaml")]


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The pod specs of the members, the toolbox and the check, by name."""
    return {
        name: value["spec"].get("template", value)["spec"]
        for (kind, name), value in objects.items()
        if kind in {"Deployment", "StatefulSet", "Pod"}
    }


# Compared with the manifests


@pytest.mark.parametrize("components", [[], *([one] for one in COMPONENTS), COMPONENTS], ids="+".join)
def test_the_chart_renders_what_the_manifests_apply(components: list[str], tmp_path: Path) -> None:
    manifests = kustomized(overlay(tmp_path, components))
    policy = manifests["NetworkPolicy", "stream-capi"]["spec"]
    values = {"networkPolicy": {way: policy[way] for way in ("ingress", "egress")}} if components else {}
    for component in components:
        values |= VALUES[component]
    chart = charted(*with_values(tmp_path, values))
    del chart["Pod", "stream-capi-check"]  # helm's test, which the manifests don't have
    assert text_of(chart) == text_of(manifests)


def test_the_alert_rules_are_those_of_the_file() -> None:
    rule = charted(*sets("prometheusRule.enabled=true"))["PrometheusRule", "stream-capi"]
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())


@pytest.mark.parametrize(
    "values", [[], EVERYTHING, [*EVERYTHING, "staticMembership=true"]], ids=["plain", "all", "static"]
)
def test_helm_finds_nothing_wrong(values: list[str]) -> None:
    command = [str(engine("helm")), "lint", str(CHART), "--strict", "--kube-version", kubernetes_version()]
    lint = subprocess.run([*command, *sets(*values)], capture_output=True, text=True, check=False, timeout=60)
    assert "0 chart(s) failed" in lint.stdout
    assert not re.search(r"WARNING|ERROR", lint.stdout)
    assert lint.returncode == 0


# Settings


def test_every_setting_can_be_a_value(tmp_path: Path) -> None:
    """All keys at once, each with its documented example."""
    settings: dict[str, Any] = {}
    for key in keys():
        table = _table_of(settings, key)
        table[key.name] = (key.field.examples or [None])[0]
    rendered = charted(*with_values(tmp_path, {"settings": settings}))
    assert tomllib.loads(settings_of(rendered)) == settings


def _table_of(settings: dict[str, Any], key: Key) -> dict[str, Any]:
    table: Any = settings
    variable = key.variable.removeprefix("STREAM_CAPI_").split("__")
    for at, name in enumerate(key.place):
        of_a_list = "0" in variable[: at + 2] and name in {"pixels", "sources", "where"}
        table = table.setdefault(name, [{}] if of_a_list else {})
        table = table[0] if isinstance(table, list) else table
    assert isinstance(table, dict)
    return table


def test_a_value_arrives_as_it_was_written(tmp_path: Path) -> None:
    properties = {
        "sasl.username": 'a "quoted" \\ name\nof two lines, <b>&amp; é 漢 #',
        "fetch.max.bytes": 52_428_800,  # as 5.24288e+07 the client would refuse it
        "receive.message.max.bytes": 2_000_000_000,
        "socket.keepalive.enable": True,
        "reconnect.backoff.jitter": 0.25,
    }
    rendered = charted(*with_values(tmp_path, {"settings": {"kafka": {"properties": properties}}}))
    read = tomllib.loads(settings_of(rendered))["kafka"]["properties"]
    assert read == properties
    assert {name: type(value) for name, value in read.items()} == {n: type(value) for n, value in properties.items()}


def test_a_setting_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ChartRefused, match="bootstrap_server"):
        charted(*sets("settings.kafka.bootstrap_server=kafka:9092"))


def test_the_whole_file_goes_in_as_it_is(tmp_path: Path) -> None:
    text = (BASE / TOML).read_text().replace(
        "drain_seconds = 25", "drain_seconds = 40"
    ) + "\n[delivery]\nmax_in_flight = 8\n"
    text = text.replace("[admin]", "[admin]\nport = 9000").replace('topic = "leads"', 'topic = "eu.leads"')
    (tmp_path / TOML).write_text(text)
    rendered = charted("--set-file", f"settingsFile={tmp_path / TOML}", *sets("keda.enabled=true"))
    assert settings_of(rendered).strip() == text.strip()
    members = pods(rendered)["stream-capi"]
    assert members["terminationGracePeriodSeconds"] == 45
    assert members["containers"][0]["ports"] == [{"name": "admin", "containerPort": 9000}]
    assert rendered["Service", "stream-capi"]["spec"]["ports"][0]["port"] == 9000
    triggers = rendered["ScaledObject", "stream-capi"]["spec"]["triggers"]
    assert [trigger["metadata"]["topic"] for trigger in triggers] == ["eu.leads", "page-views"]


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / TOML).write_text("[kafka\n")
    with pytest.raises(ChartRefused, match="settingsFile is no TOML"):
        charted("--set-file", f"settingsFile={tmp_path / TOML}")


def test_other_settings_are_another_configmap() -> None:
    """So a change of settings restarts the pods, and the old ones keep their own."""
    names = {
        name
        for seconds in (25, 30)
        for kind, name in charted(*sets(f"settings.shutdown.drain_seconds={seconds}"))
        if kind == "ConfigMap"
    }
    assert len(names) == 2


# Additions by values


def test_every_pod_has_what_the_values_add(tmp_path: Path) -> None:
    secret = {"secretKeyRef": {"name": "stream-capi-kafka", "key": "password"}}
    variable = {"name": "STREAM_CAPI_KAFKA__PROPERTIES__SASL__PASSWORD", "valueFrom": secret}
    volume = {"name": "certificates", "secret": {"secretName": "kafka-ca"}}
    place = {"name": "certificates", "mountPath": "/etc/kafka", "readOnly": True}
    added = {
        "env": [variable],
        "envFrom": [{"secretRef": {"name": "more"}}],
        "volumes": [volume],
        "volumeMounts": [place],
    }
    image = {
        "repository": "registry.example/stream-capi",
        "digest": f"sha256:{'a' * 64}",
        "pullSecrets": [{"name": "pull"}],
    }
    account = {"create": True, "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/capi"}}
    values = {
        **added,
        "image": image,
        "serviceAccount": account,
        "keysSecret": "other-keys",
        "toolbox": {"enabled": True},
    }
    rendered = charted(*with_values(tmp_path, values))
    assert pods(rendered).keys() == {"stream-capi", "stream-capi-toolbox", "stream-capi-check"}
    for pod in pods(rendered).values():
        (container,) = pod["containers"]
        assert container["env"] == [variable]
        assert container["envFrom"] == added["envFrom"]
        assert volume in pod["volumes"]
        assert place in container["volumeMounts"]
        assert container["image"] == f"registry.example/stream-capi@sha256:{'a' * 64}"
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["serviceAccountName"] == "stream-capi"
        assert {"name": "keys", "secret": {"secretName": "other-keys", "defaultMode": 0o440}} in pod["volumes"]
    assert rendered["ServiceAccount", "stream-capi"]["metadata"]["annotations"] == account["annotations"]


def test_a_static_member_is_a_pod_of_a_stateful_set_named_by_itself() -> None:
    static, plain = charted(*sets("staticMembership=true", "keda.enabled=true")), charted()
    assert not [kind for kind, _ in static if kind == "Deployment"]
    members = static["StatefulSet", "stream-capi"]["spec"]
    assert ("Service", members["serviceName"]) in static
    (container,) = members["template"]["spec"]["containers"]
    assert container.pop("env") == [
        {
            "name": "STREAM_CAPI_KAFKA__PROPERTIES__GROUP__INSTANCE__ID",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
        }
    ]
    assert members["template"] == plain["Deployment", "stream-capi"]["spec"]["template"]
    assert static["ScaledObject", "stream-capi"]["spec"]["scaleTargetRef"] == {
        "name": "stream-capi",
        "kind": "StatefulSet",
    }


def test_a_number_of_members_is_written_only_where_it_is_asked_for_and_nothing_scales() -> None:
    numbers = {
        values: charted(*sets(*values))["Deployment", "stream-capi"]["spec"].get("replicas")
        for values in [(), ("replicas=0",), ("replicas=4",), ("replicas=4", "keda.enabled=true")]
    }
    assert list(numbers.values()) == [None, 0, 4, None]


def test_two_releases_in_a_namespace_have_nothing_in_common() -> None:
    names = [set(charted(*sets(*EVERYTHING), release=release)) for release in ("stream-capi-eu", "stream-capi-us")]
    assert not names[0] & names[1]
    selectors = [
        charted(release=release)["Deployment", release]["spec"]["selector"]["matchLabels"]
        for release in ("stream-capi-eu", "stream-capi-us")
    ]
    assert selectors[0] != selectors[1]


def test_helms_test_is_the_command_that_sends_nothing() -> None:
    pod = charted()["Pod", "stream-capi-check"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    command, parameters = parse(container["args"])
    assert command == "check"
    assert parameters["config_file"] == Path("/etc/stream-capi", TOML)
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "stream-capi-toolbox"  # the network policy has it
