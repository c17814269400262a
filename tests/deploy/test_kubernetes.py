"""The Kubernetes manifests agree with the program, the image, each other and the restricted pod security standard."""

from __future__ import annotations

import copy
import re
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from stream_capi import __version__, config
from tests.deploy.dockerfile import stages
from tests.deploy.program import ROOT, admin_server, documents, parse

FOLDER = ROOT / "deploy/kubernetes"
FILES = [file for file in sorted(FOLDER.rglob("*.yaml")) if file.name != "kustomization.yaml"]
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))


def key(kind: str, name: str) -> str:
    """An object's kind; the toolbox is a Deployment as the members are, and has a key of its own."""
    return "Toolbox" if name == "stream-capi-toolbox" else kind


OBJECTS: dict[str, dict[str, Any]] = {
    key(document["kind"], document["metadata"]["name"]): document
    for document in chain.from_iterable(documents(file) for file in FILES)
}
(BASE,) = documents(FOLDER / "kustomization.yaml")
DEPLOYMENT: dict[str, Any] = OBJECTS["Deployment"]["spec"]
POD: dict[str, Any] = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
SCALED: dict[str, Any] = OBJECTS["ScaledObject"]["spec"]
IMAGE = stages(ROOT / "Dockerfile")[-1]


def settings() -> config.Settings:
    """The members' settings as they load them, with the image's environment and the pod's."""
    environ = dict(word.split("=", 1) for word in IMAGE.the("ENV").words)
    environ |= {variable["name"]: variable.get("value", "x") for variable in CONTAINER.get("env", [])}
    return config.load(FOLDER / "stream-capi.toml", environ, keys=False)


def mount(name: str) -> tuple[Path, dict[str, Any]]:
    """The mount path of a volume, and the volume."""
    (place,) = (entry for entry in CONTAINER["volumeMounts"] if entry["name"] == name)
    (volume,) = (entry for entry in POD["volumes"] if entry["name"] == name)
    return Path(place["mountPath"]), volume


def bytes_of(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi")) * 1_048_576


def ports_out() -> set[int]:
    return {port["port"] for rule in OBJECTS["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]}


def taken_in(*components: str) -> dict[str, dict[str, Any]]:
    """The objects, patched by these components. A path that doesn't exist is an error, as in kustomize."""
    objects = copy.deepcopy(OBJECTS)
    for component in components:
        (kustomization,) = documents(FOLDER / component / "kustomization.yaml")
        for entry in kustomization["patches"]:
            found = objects[key(**entry["target"])]
            assert found["metadata"]["name"] == entry["target"]["name"]
            for operation in yaml.safe_load(entry["patch"]):
                apply(operation, found)
    return objects


def apply(operation: dict[str, Any], place: Any) -> None:
    """Apply one operation of a JSON patch."""
    *way, last = operation["path"].strip("/").split("/")
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    if operation["op"] == "add" and last == "-":
        place.append(operation["value"])
        return
    key = int(last) if isinstance(place, list) else last
    assert operation["op"] in ("remove", "replace")
    assert place[key] is not None
    if operation["op"] == "remove":
        del place[key]
    else:
        place[key] = operation["value"]


def reached(objects: dict[str, dict[str, Any]]) -> dict[str, set[int]]:
    """The ports that members may connect to, by namespace or network."""
    found: dict[str, set[int]] = {}
    for rule in objects["NetworkPolicy"]["spec"]["egress"]:
        for to in rule["to"]:
            name = (
                to["ipBlock"]["cidr"]
                if "ipBlock" in to
                else to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            )
            found.setdefault(name, set()).update(port["port"] for port in rule["ports"])
    return found


# Objects and kustomizations


def test_each_kind_is_there_once() -> None:
    assert sum(len(documents(file)) for file in FILES) == len(OBJECTS)


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=lambda file: str(file.parent.name))
def test_what_a_kustomization_takes_in_is_there(file: Path) -> None:
    (kustomization,) = documents(file)
    names = list(kustomization.get("resources", []))
    if "patches" in kustomization:
        assert kustomization["kind"] == "Component"
        return  # the patches are tested below, with the other layouts
    names += [name for generator in kustomization.get("configMapGenerator", []) for name in generator["files"]]
    assert names
    assert all((file.parent / name).is_file() for name in names)


def test_everything_is_taken_in_except_the_example_of_the_secret() -> None:
    taken = {file.parent / name for file in KUSTOMIZATIONS for name in documents(file)[0].get("resources", [])}
    assert set(FILES) - taken == {FOLDER / "secret.example.yaml"}


def test_nothing_names_a_namespace_of_its_own() -> None:
    assert "namespace" not in BASE
    assert all("namespace" not in document["metadata"] for document in OBJECTS.values())


def test_all_of_them_mean_the_same_pods() -> None:
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    assert DEPLOYMENT["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["PodMonitor"]["spec"]["selector"]["matchLabels"] == labels
    assert all(spread["labelSelector"]["matchLabels"] == labels for spread in POD["topologySpreadConstraints"])


def test_the_policy_of_the_network_is_for_members_and_toolbox() -> None:
    (expression,) = OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchExpressions"]
    members = DEPLOYMENT["template"]["metadata"]["labels"]
    toolbox = OBJECTS["Toolbox"]["spec"]["template"]["metadata"]["labels"]
    assert members.keys() == toolbox.keys() == {expression["key"]}
    assert expression["operator"] == "In"
    assert set(expression["values"]) == {*members.values(), *toolbox.values()}
    assert members != toolbox  # otherwise it would count as a member


def test_the_toolbox_has_the_members_settings_and_keys_and_no_more_rights() -> None:
    pod = OBJECTS["Toolbox"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    same = ("securityContext", "volumes", "automountServiceAccountToken", "enableServiceLinks")
    assert [pod[name] for name in same] == [POD[name] for name in same]
    assert [container[name] for name in ("image", "securityContext", "volumeMounts")] == [
        CONTAINER[name] for name in ("image", "securityContext", "volumeMounts")
    ]


# The program in the pod


def test_the_arguments_are_ones_that_the_program_takes() -> None:
    command, parameters = parse(CONTAINER["args"])
    folder, volume = mount("settings")
    (generator,) = BASE["configMapGenerator"]
    assert command == "run"
    assert "command" not in CONTAINER  # the image's entry point is used
    assert parameters["config_file"] == folder / generator["files"][0]
    assert volume["configMap"]["name"] == generator["name"]


def test_the_image_is_of_this_version() -> None:
    assert CONTAINER["image"] == f"stream-capi:{__version__}"


def test_the_settings_load() -> None:
    assert settings().kafka.group_id == "stream-capi"


def test_a_key_is_a_file_of_the_secret_in_a_folder_that_follows_a_rotation() -> None:
    folder, volume = mount("keys")
    secret = OBJECTS["Secret"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert all("subPath" not in entry for entry in CONTAINER["volumeMounts"])
    for pixel in settings().pixels:
        assert pixel.api_key_file is not None
        assert Path(pixel.api_key_file).parent == folder
        assert Path(pixel.api_key_file).name in secret["stringData"]


def test_the_example_of_the_secret_holds_none() -> None:
    assert set(OBJECTS["Secret"]["stringData"].values()) == {"put-the-key-here"}


def test_the_key_can_be_read_by_the_program_and_by_nobody_else() -> None:
    _, volume = mount("keys")
    assert volume["secret"]["defaultMode"] == 0o440  # readable by root and the pod's group
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsGroup"]


async def test_the_probes_and_the_monitor_ask_for_what_the_admin_server_has() -> None:
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == settings().admin.port
    assert settings().admin.host == "::"  # probes come from outside the pod, by IPv4 or IPv6
    (endpoint,) = OBJECTS["PodMonitor"]["spec"]["podMetricsEndpoints"]
    (published,) = OBJECTS["Service"]["spec"]["ports"]
    asked = [CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")] + [endpoint]
    assert {one["port"] for one in asked} == {published["targetPort"]} == {port["name"]}
    assert published["port"] == port["containerPort"]
    server = admin_server()
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            for one in asked:
                assert (await session.get(one["path"])).status == 200
    finally:
        await server.stop()


def test_only_what_a_restart_mends_ends_a_member() -> None:
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert CONTAINER["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_busy_member_is_given_time_before_it_is_killed() -> None:
    probe = CONTAINER["livenessProbe"]
    assert probe["timeoutSeconds"] >= 5
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_the_grace_is_the_drain_and_five_seconds() -> None:
    assert POD["terminationGracePeriodSeconds"] == settings().shutdown.drain_seconds + 5


def test_memory_is_enough_for_the_budget_and_the_program_and_the_processor_is_not_limited() -> None:
    resources = CONTAINER["resources"]
    program = 200 * 1_000_000
    assert bytes_of(resources["limits"]["memory"]) > program + 2 * settings().delivery.max_buffered_bytes
    assert bytes_of(resources["requests"]["memory"]) > program
    assert "cpu" in resources["requests"]
    assert "cpu" not in resources["limits"]


# Rollouts and scaling


def test_a_rollout_has_never_more_members_than_there_were() -> None:
    """A surplus member would get no partition and never be ready, and the rollout would wait for it."""
    assert DEPLOYMENT["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "group.instance.id" not in settings().kafka.properties


def test_a_held_pixel_keeps_no_node_from_being_drained() -> None:
    budget = OBJECTS["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_held_member_is_scraped_all_the_same() -> None:
    service = OBJECTS["Service"]["spec"]
    assert service["publishNotReadyAddresses"] is True
    assert service["clusterIP"] == "None"
    assert POD["enableServiceLinks"] is False  # its variables have the program's own prefix


def test_the_scaler_looks_at_the_topics_and_the_group_of_the_settings() -> None:
    loaded = settings()
    asked = [trigger["metadata"] for trigger in SCALED["triggers"]]
    assert {trigger["type"] for trigger in SCALED["triggers"]} == {"kafka"}
    assert [one["topic"] for one in asked] == [source.topic for source in loaded.sources]
    assert {one["consumerGroup"] for one in asked} == {loaded.kafka.group_id}
    assert {one["bootstrapServers"] for one in asked} == {loaded.kafka.bootstrap_servers}
    assert {one["offsetResetPolicy"] for one in asked} == {loaded.kafka.start}
    assert SCALED["scaleTargetRef"]["name"] == OBJECTS["Deployment"]["metadata"]["name"]


def test_there_are_never_more_members_than_partitions_and_never_none() -> None:
    partitions = int(OBJECTS["ScaledObject"]["metadata"]["annotations"]["stream-capi/partitions"])
    assert 0 < SCALED["minReplicaCount"] < SCALED["maxReplicaCount"] <= partitions
    assert "idleReplicaCount" not in SCALED
    assert {trigger["metadata"]["allowIdleConsumers"] for trigger in SCALED["triggers"]} == {"false"}


def test_a_lag_that_cannot_be_read_changes_no_number() -> None:
    fallback = SCALED["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"  # KEDA's default is "static"
    assert fallback["replicas"] == SCALED["minReplicaCount"]
    assert fallback["failureThreshold"] > 1
    for text in ((FOLDER / "keda/scaledobject.yaml").read_text(), (ROOT / "docs/operations.md").read_text()):
        assert "KEDA 2.17 or newer" in text  # the first version with this behavior


def test_the_lag_is_asked_for_in_a_protocol_that_brokers_of_kafka_4_speak() -> None:
    """KEDA's default is version 1.0, which brokers of Kafka 4 refuse."""
    assert {trigger["metadata"]["version"] for trigger in SCALED["triggers"]} == {"2.1.0"}


def test_partitions_that_stand_still_bring_no_members() -> None:
    assert {trigger["metadata"]["excludePersistentLag"] for trigger in SCALED["triggers"]} == {"true"}


def test_a_partition_that_is_worked_off_is_not_taken_for_one_that_stands_still() -> None:
    """KEDA compares the committed offset with that of the last query, whoever made it: so only its poll may query."""
    loaded = settings()
    assert all(trigger["useCachedMetrics"] is True for trigger in SCALED["triggers"])
    between_commits = loaded.endpoint.timeout_seconds + loaded.kafka.commit_interval_ms / 1000
    assert SCALED["pollingInterval"] > between_commits


def test_members_go_slower_than_they_come() -> None:
    behavior = SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    down, up = behavior["scaleDown"], behavior["scaleUp"]
    assert up["stabilizationWindowSeconds"] < down["stabilizationWindowSeconds"]
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    assert down["policies"][0]["periodSeconds"] > POD["terminationGracePeriodSeconds"]


def test_applying_again_leaves_the_number_of_members_as_it_is() -> None:
    """Client-side apply sets ``replicas`` if a file has it; if a component removes it, Kubernetes' default 1 is set."""
    assert "replicas" not in DEPLOYMENT
    for file in KUSTOMIZATIONS:
        (kustomization,) = documents(file)
        assert "replicas" not in kustomization
        assert "replicas" not in str(kustomization.get("patches", []))


def test_the_monitors_job_is_the_one_that_the_alert_rules_look_for() -> None:
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    job = labels[OBJECTS["PodMonitor"]["spec"]["jobLabel"]]
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    assert set(re.findall(r'job="([^"]+)"', rules)) == {job}


# Network and rights


def test_it_may_reach_what_the_settings_name_and_what_resolves_names() -> None:
    loaded = settings()
    assert loaded.schema_registry is not None
    kafka = {int(server.rsplit(":", 1)[1]) for server in loaded.kafka.bootstrap_servers.split(",")}
    registry, endpoint = urlsplit(loaded.schema_registry.url), urlsplit(loaded.endpoint.url)
    assert endpoint.scheme == "https"
    assert ports_out() == kafka | {registry.port, endpoint.port or 443, 53}


def test_it_may_not_reach_what_is_inside_as_if_it_were_the_api() -> None:
    rules = OBJECTS["NetworkPolicy"]["spec"]["egress"]
    outside = {
        to["ipBlock"]["cidr"]: set(to["ipBlock"]["except"]) for rule in rules for to in rule["to"] if "ipBlock" in to
    }
    assert outside.keys() == {"0.0.0.0/0", "::/0"}
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= outside["0.0.0.0/0"]
    assert {"fc00::/7", "fe80::/10"} <= outside["::/0"]
    assert all("to" in rule for rule in rules)


def test_only_the_admin_port_can_be_reached_and_only_from_where_prometheus_runs() -> None:
    policy = OBJECTS["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": CONTAINER["ports"][0]["name"]}]
    assert all("namespaceSelector" in source for source in rule["from"])


def test_the_pod_is_restricted() -> None:
    """Kubernetes' pod security standard "restricted", rule by rule, and a read-only file system."""
    context = POD["securityContext"]
    assert context["runAsNonRoot"] is True
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == IMAGE.the("USER").text
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & POD.keys()
    assert all(set(volume) & {"configMap", "secret", "emptyDir", "projected"} for volume in POD["volumes"])
    own = CONTAINER["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPort" not in port for port in CONTAINER["ports"])
    assert all(entry["readOnly"] is True for entry in CONTAINER["volumeMounts"])


def test_it_has_no_business_with_the_cluster() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in POD


# Other layouts


def test_brokers_with_tls_are_reached_besides() -> None:
    assert reached(taken_in("brokers-tls")) == reached(OBJECTS) | {"kafka": {9092, 8081, 9093}}


def test_brokers_outside_are_reached_by_the_networks_that_are_written_there() -> None:
    outside = {"203.0.113.0/24": {9093, 443}, "2001:db8::/32": {9093, 443}}  # networks reserved for documentation
    others = {name: ports for name, ports in reached(OBJECTS).items() if name != "kafka"}
    assert reached(taken_in("brokers-outside")) == others | outside


def test_openshift_gives_the_user_and_nothing_else_is_less_strict() -> None:
    objects = taken_in("openshift")
    for name in ("Deployment", "Toolbox"):
        pod, base = (of[name]["spec"]["template"]["spec"] for of in (objects, OBJECTS))
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert pod | {"securityContext": 0} == base | {"securityContext": 0}


def test_openshifts_names_and_monitoring_are_where_it_has_them() -> None:
    objects = taken_in("openshift")
    others = {name: ports for name, ports in reached(OBJECTS).items() if name != "kube-system"}
    assert reached(objects) == others | {"openshift-dns": {5353}}
    (rule,) = objects["NetworkPolicy"]["spec"]["ingress"]
    names = [source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for source in rule["from"]]
    assert names == ["monitoring", "openshift-user-workload-monitoring"]
