"""docker-compose.yml agrees with the program, and its services with each other. It is read, not started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from stream_capi import config
from stream_capi.applovin import PATH
from stream_capi.config.settings import AdminSection
from stream_capi.sandbox.fault_script import Script
from tests.deploy.alerts import seconds
from tests.deploy.dockerfile import stages
from tests.deploy.program import ROOT, admin_server, parse
from tests.stack.artefacts import KAFKA, REGISTRY

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
MEMBER = SERVICES["stream-capi"]
SETTINGS_FILE = ROOT / "deploy/compose/stream-capi.toml"
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())

MOUNTS = [
    pytest.param(name, *volume.split(":"), id=f"{name} {volume}")
    for name, service in SERVICES.items()
    for volume in service.get("volumes", [])
]


def settings() -> config.Settings:
    """The member's settings as it loads them: its file, overridden by its environment and the image's."""
    image = dict(word.split("=", 1) for word in stages(ROOT / "Dockerfile")[-1].the("ENV").words)
    return config.load(SETTINGS_FILE, {**image, **MEMBER["environment"]})


def port_of(service: str) -> int:
    """The container port that a service publishes."""
    (published,) = SERVICES[service]["ports"]
    return int(published.rsplit(":", 1)[1])


def tagged(service: str) -> str:
    """A service's image, without the digest that an update bot may have added to its tag."""
    return re.sub(r"@sha256:[0-9a-f]{64}$", "", str(SERVICES[service]["image"]))


@pytest.mark.parametrize(("service", "source", "target", "mode"), MOUNTS)
def test_what_is_mounted_is_there_and_can_only_be_read(service: str, source: str, target: str, mode: str) -> None:
    assert source.startswith("./")
    assert (ROOT / source).exists()
    assert Path(target).is_absolute()
    assert mode == "ro"


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_that_the_program_takes(name: str) -> None:
    command, parameters = parse(OURS[name]["command"])
    assert command == {"stream-capi": "run", "samples": "produce-samples", "endpoint": "mock-endpoint"}[name]
    mounted = {volume.split(":")[1] for volume in OURS[name]["volumes"]}
    assert {str(value) for value in parameters.values() if isinstance(value, Path)} == mounted


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_named_with_its_version(name: str) -> None:
    image, _, tag = tagged(name).rpartition(":")
    assert image
    assert tag != "latest"
    assert name in OURS or re.fullmatch(r"v?\d+\.\d+\.\d+", tag), "a version that moves is none"


def test_broker_and_registry_are_the_ones_that_the_tests_run_with() -> None:
    kafka, registry = KAFKA.rsplit(":", 1)[1], REGISTRY.rsplit(":", 1)[1]
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"]
    assert tagged("kafka") == f"apache/kafka:{kafka}"
    assert tagged("registry") == f"apicurio/apicurio-registry:{registry}"


def test_whoever_is_waited_for_is_there_and_can_become_what_is_waited_for() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            assert name in SERVICES
            if wait["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]


def test_the_settings_load_with_what_the_environment_gives() -> None:
    """All variables are settings or a pixel's key: the loader refuses unknown ones, and a missing key."""
    pixel_keys = {pixel.api_key_env for pixel in settings().pixels}
    assert {name for name in MEMBER["environment"] if not name.startswith("STREAM_CAPI_")} == pixel_keys


def test_the_samples_need_no_key() -> None:
    assert "environment" not in SERVICES["samples"]
    assert config.load(SETTINGS_FILE, {}, keys=False).sources == settings().sources


def test_addresses_in_the_settings_are_those_of_the_services() -> None:
    loaded = settings()
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"INSIDE://{loaded.kafka.bootstrap_servers}" in listeners
    assert loaded.schema_registry is not None
    registry = urlsplit(loaded.schema_registry.url)
    assert (registry.hostname, registry.port) == ("registry", port_of("registry"))
    endpoint = urlsplit(loaded.endpoint.url)
    _, parameters = parse(SERVICES["endpoint"]["command"])
    assert (endpoint.hostname, endpoint.port, endpoint.path) == ("endpoint", parameters["port"], PATH)
    assert parameters["host"] == "0.0.0.0"  # noqa: S104 -- in a container


def test_the_broker_is_asked_where_it_listens() -> None:
    inside = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")[0].removeprefix("INSIDE://")
    assert SERVICES["kafka"]["healthcheck"]["test"][-1] == inside
    assert f"--bootstrap-server {inside} " in SERVICES["topics"]["command"][-1]


def test_the_topics_made_are_those_of_the_settings() -> None:
    loaded = settings()
    made = re.search(r"for topic in (.*); do", SERVICES["topics"]["command"][-1])
    assert made is not None
    assert made[1].split() == [*(source.topic for source in loaded.sources), loaded.dead_letter.topic]
    # The program never creates a topic, so the broker must not create one for it.
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_there_are_status_pages_for_as_many_members_as_there_are_partitions() -> None:
    (published,) = MEMBER["ports"]
    _, outside, inside = published.split(":")
    first, last = map(int, outside.split("-"))
    partitions = re.search(r"--partitions (\d+)", SERVICES["topics"]["command"][-1])
    assert partitions is not None
    assert last - first + 1 == int(partitions[1]) * len(settings().sources)
    assert first == int(inside) == settings().admin.port == AdminSection().port


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", OURS)
def test_the_program_runs_without_rights_and_on_a_file_system_it_cannot_write(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service  # the image's own user, without rights
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()


def test_only_the_member_is_asked_for_its_health() -> None:
    """The image's health check asks the admin server, which the other commands don't have."""
    assert "healthcheck" not in MEMBER
    assert all(OURS[name]["healthcheck"] == {"disable": True} for name in OURS.keys() - {"stream-capi"})


def test_a_stop_grants_more_than_the_drain_takes() -> None:
    assert seconds(MEMBER["stop_grace_period"]) > settings().shutdown.drain_seconds


def test_a_member_that_ends_by_itself_is_started_again_and_one_that_was_stopped_is_not() -> None:
    assert MEMBER["restart"] == "on-failure"


def test_the_samples_are_asked_for_and_not_started_with_the_rest() -> None:
    assert SERVICES["samples"]["profiles"] == ["samples"]
    assert all("profiles" not in service for name, service in SERVICES.items() if name != "samples")


def test_the_endpoints_script_is_one_that_it_can_play() -> None:
    Script.load(ROOT / "deploy/compose/endpoint.toml")  # refuses unknown keys


async def test_prometheus_scrapes_every_member_where_it_answers() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["names"] == ["stream-capi"]
    assert discovery["type"] == "A"  # a service's name resolves to the addresses of all its containers
    assert discovery["port"] == settings().admin.port
    server = admin_server()
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{server.port}{job.get('metrics_path', '/metrics')}"
            assert "stream_capi_build_info" in await (await session.get(address)).text()
    finally:
        await server.stop()


def test_prometheus_reads_the_alert_rules_and_its_job_is_the_one_that_they_look_for() -> None:
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["prometheus"]["volumes"]}
    assert [mounts[file] for file in PROMETHEUS["rule_files"]] == ["./deploy/prometheus/rules.yml"]
    assert mounts["/etc/prometheus/prometheus.yml"] == "./deploy/compose/prometheus.yml"
    (job,) = PROMETHEUS["scrape_configs"]
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    assert set(re.findall(r'job="([^"]+)"', rules)) == {job["job_name"]}


def test_grafana_shows_without_a_login_and_lets_nobody_change() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    mounted = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounted
