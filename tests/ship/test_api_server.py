"""The manifests and the chart, applied to a real API server with the pod security standard ``restricted``."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.program import ROOT, documents
from tests.ship.api_server import ApiServer, CommandFailed
from tests.ship.manifests import BASE, CHART, COMPONENTS, Objects, charted, kustomized, overlay

pytestmark = pytest.mark.engine

NAME = "stream-capi"
OPERATIONS = ROOT / "docs/operations.md"
APPLY = {"client-side": ["apply"], "server-side": ["apply", "--server-side"]}
EVERYTHING = ["keda", "podMonitor", "prometheusRule", "toolbox", "serviceAccount"]
everywhere = pytest.mark.parametrize("apply", APPLY.values(), ids=APPLY)


def values(*names: str) -> list[str]:
    """helm's arguments that enable these parts of the chart."""
    switch = {"serviceAccount": "create"}
    return [word for name in names for word in ("--set", f"{name}.{switch.get(name, 'enabled')}=true")]


def pods(objects: Objects) -> list[dict[str, Any]]:
    """The pods among the objects, and those of their templates."""
    templates = [one["spec"]["template"] for (kind, _), one in objects.items() if kind in {"Deployment", "StatefulSet"}]
    made = [{"apiVersion": "v1", "kind": "Pod", **deepcopy(template)} for template in templates]
    for number, pod in enumerate(made):
        pod["metadata"]["name"] = f"of-a-template-{number}"
    return made + [one for (kind, _), one in objects.items() if kind == "Pod"]


def members(api_server: ApiServer, namespace: str, kind: str = "deployment") -> int:
    return int(api_server.get(kind, NAME, namespace)["spec"]["replicas"])


def scale(api_server: ApiServer, namespace: str, number: int, kind: str = "deployment") -> None:
    api_server.kubectl("scale", f"{kind}/{NAME}", f"--replicas={number}", "--namespace", namespace)


# Applying the manifests


@everywhere
@pytest.mark.parametrize("components", [[], *([one] for one in COMPONENTS), COMPONENTS], ids="+".join)
def test_the_manifests_are_taken_without_a_warning(
    api_server: ApiServer, namespace: str, tmp_path: Path, components: list[str], apply: list[str]
) -> None:
    """Applied twice, as releases do: no immutable field changes, and no member is restarted."""
    folder = str(overlay(tmp_path, components))
    api_server.kubectl(*apply, "--kustomize", folder, "--namespace", namespace)
    generation = api_server.get("deployment", NAME, namespace)["metadata"]["generation"]
    again = api_server.kubectl(*apply, "--kustomize", folder, "--namespace", namespace)
    assert len(again.splitlines()) == len(kustomized(Path(folder)))
    assert api_server.get("deployment", NAME, namespace)["metadata"]["generation"] == generation


def test_the_example_of_the_secret_is_taken(api_server: ApiServer, namespace: str) -> None:
    (secret,) = documents(BASE / "secret.example.yaml")
    api_server.create(secret, "--namespace", namespace)


@pytest.mark.parametrize("static", ["false", "true"], ids=["deployment", "stateful set"])
def test_each_pod_of_manifests_and_chart_is_restricted(
    api_server: ApiServer, namespace: str, tmp_path: Path, static: str
) -> None:
    objects = charted(*values(*EVERYTHING), "--set", f"staticMembership={static}")
    if account := objects.get(("ServiceAccount", NAME)):
        api_server.create(account, "--namespace", namespace)
    for pod in pods(objects) + pods(kustomized(overlay(tmp_path, COMPONENTS))):
        api_server.create(pod, "--namespace", namespace, "--dry-run=server")


@pytest.mark.parametrize("field", ["allowPrivilegeEscalation", "capabilities"])
def test_a_pod_that_is_not_restricted_is_refused(
    api_server: ApiServer, namespace: str, tmp_path: Path, field: str
) -> None:
    """Otherwise the tests above would prove nothing."""
    pod = pods(kustomized(overlay(tmp_path)))[0]
    del pod["spec"]["containers"][0]["securityContext"][field]
    with pytest.raises(CommandFailed, match='violates PodSecurity "restricted'):
        api_server.create(pod, "--namespace", namespace, "--dry-run=server")


def test_a_field_that_nothing_reads_is_refused(api_server: ApiServer, namespace: str, tmp_path: Path) -> None:
    """This holds for custom resources too, since their definitions are the real ones."""
    scaled = kustomized(overlay(tmp_path, ["keda"]))["ScaledObject", NAME]
    scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behaviour"] = {}
    with pytest.raises(CommandFailed, match="unknown field"):
        api_server.create(scaled, "--namespace", namespace)


# The number of members


@everywhere
def test_a_base_that_is_applied_again_leaves_the_number_of_members(
    api_server: ApiServer, namespace: str, tmp_path: Path, apply: list[str]
) -> None:
    base = str(overlay(tmp_path))
    api_server.kubectl(*apply, "--kustomize", base, "--namespace", namespace)
    scale(api_server, namespace, 8)
    api_server.kubectl(*apply, "--kustomize", base, "--namespace", namespace)
    assert members(api_server, namespace) == 8


@everywhere
def test_keda_takes_over_the_number_of_members_that_there_is(
    api_server: ApiServer, namespace: str, tmp_path: Path, apply: list[str]
) -> None:
    """Without KEDA again, applying the base keeps the number that was set last."""
    base, scaled = tmp_path / "base", tmp_path / "scaled"
    for folder in (base, scaled):
        folder.mkdir()
    api_server.kubectl(*apply, "--kustomize", str(overlay(base)), "--namespace", namespace)
    scale(api_server, namespace, 8)
    api_server.kubectl(*apply, "--kustomize", str(overlay(scaled, ["keda"])), "--namespace", namespace)
    assert members(api_server, namespace) == 8
    scale(api_server, namespace, 5)
    api_server.kubectl(*apply, "--kustomize", str(base), "--namespace", namespace)
    assert members(api_server, namespace) == 5


def owning(folder: Path) -> str:
    """An overlay that sets the number of members, as the manifests of 0.1.0 did."""
    folder.mkdir()
    kustomization = yaml.safe_load((overlay(folder) / "kustomization.yaml").read_text())
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(kustomization | {"replicas": [{"name": NAME, "count": 2}]})
    )
    return str(folder)


def test_a_number_that_was_applied_is_handed_over_as_the_page_says(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Done by the commands of docs/operations.md; without them the number becomes one at once."""
    here = ["--namespace", namespace]
    api_server.kubectl("apply", "--kustomize", owning(tmp_path / "owning"), *here)
    (page,) = re.findall(r"### Hand the number over\n.*?```sh\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    view, forget, apply, _ = re.split(r" \| sed '/\^  replicas:/d' \| |\n", page.strip())
    scale(api_server, namespace, 8)
    remembered = api_server.kubectl(*view.split()[1:], *here)
    assert "\n  replicas: 2\n" in remembered
    stdin = re.sub(r"(?m)^  replicas:.*\n", "", remembered)
    api_server.kubectl(*forget.split()[1:], *here, stdin=stdin)
    assert apply == "kubectl apply --kustomize deploy/kubernetes"
    api_server.kubectl("apply", "--kustomize", str(overlay(tmp_path, ["keda"])), *here)
    assert members(api_server, namespace) == 8
    api_server.kubectl("apply", "--kustomize", str(tmp_path / "owning"), *here)
    scale(api_server, namespace, 8)
    api_server.kubectl("apply", "--kustomize", str(overlay(tmp_path)), *here)
    assert members(api_server, namespace) == 1


def test_a_number_that_the_server_remembers_is_handed_over_to_another_owner(
    api_server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    apply = ["apply", "--server-side", "--namespace", namespace]
    api_server.kubectl(*apply, "--kustomize", owning(tmp_path / "owning"))
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}}
    number = json.dumps(head | {"spec": {"replicas": 2}})
    api_server.kubectl(*apply, "--field-manager=scaler", "--filename=-", stdin=number)
    api_server.kubectl(*apply, "--kustomize", str(overlay(tmp_path, ["keda"])))
    assert members(api_server, namespace) == 2


@pytest.mark.parametrize("static", ["false", "true"], ids=["deployment", "stateful set"])
def test_the_chart_leaves_the_number_of_members_and_hands_it_over_to_keda(
    api_server: ApiServer, namespace: str, static: str
) -> None:
    kind = {"false": "deployment", "true": "statefulset"}[static]
    chart = [NAME, str(CHART), "--namespace", namespace, "--set", f"staticMembership={static}"]
    api_server.helm("install", *chart)
    scale(api_server, namespace, 8, kind)
    api_server.helm("upgrade", *chart, "--set", "image.tag=other")
    assert members(api_server, namespace, kind) == 8
    api_server.helm("upgrade", *chart, *values("keda"))
    assert members(api_server, namespace, kind) == 8
    scale(api_server, namespace, 5, kind)
    api_server.helm("upgrade", *chart)
    assert members(api_server, namespace, kind) == 5


# Install, upgrade, rollback


def test_the_chart_is_installed_changed_and_rolled_back(api_server: ApiServer, namespace: str) -> None:
    """The former release's ConfigMap is kept, for pods of that release and for a rollback."""
    chart = [NAME, str(CHART), "--namespace", namespace, *values(*EVERYTHING)]
    api_server.helm("install", *chart)
    first = settings_read(api_server, namespace)
    api_server.helm("upgrade", *chart, "--set", "settings.batch.window_ms=200")
    second = settings_read(api_server, namespace)
    assert "window_ms = 200" in second[1]
    assert "window_ms" not in first[1]
    assert first[0] in kept(api_server, namespace)
    api_server.helm("rollback", NAME, "--namespace", namespace)
    assert settings_read(api_server, namespace) == first
    api_server.helm("uninstall", NAME, "--namespace", namespace)
    assert kept(api_server, namespace) == {first[0], second[0]}
    api_server.helm("install", *chart)  # works although ConfigMaps were kept
    assert settings_read(api_server, namespace) == first


def settings_read(api_server: ApiServer, namespace: str) -> tuple[str, str]:
    """The ConfigMap that the members read, and the file in it."""
    pod = api_server.get("deployment", NAME, namespace)["spec"]["template"]["spec"]
    (name,) = (volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume)
    return name, api_server.get("configmap", name, namespace)["data"]["stream-capi.toml"]


def kept(api_server: ApiServer, namespace: str) -> set[str]:
    listed = json.loads(api_server.kubectl("get", "configmaps", "--output=json", "--namespace", namespace))
    names = {one["metadata"]["name"] for one in listed["items"]}
    return {name for name in names if re.fullmatch(r"stream-capi-[0-9a-z]{10}", name)}
