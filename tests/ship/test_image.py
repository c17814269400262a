"""The image, built and run by a container engine with the manifests' restrictions: no root, no rights, read-only."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from stream_capi import __version__
from tests.deploy.program import ROOT
from tests.program import KEY
from tests.scene import Scene
from tests.ship.container import IMAGE, Containers
from tests.ship.engines import EngineError
from tests.stack import Broker, Registry
from tests.stack.process import free_ports
from tests.stack.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.real, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    built = Containers()
    try:
        yield built.start()
    finally:
        built.stop()


def tell(line: str) -> None:
    """Print a figure for docs/operations.md; `make test-deploy` shows what its tests print (`-rP`)."""
    sys.stdout.write(f"{line}\n")


def test_the_image_shows_the_programs_commands(containers: Containers) -> None:
    assert f"stream-capi {__version__}" in containers.run("--version")
    assert "dead-letters" in containers.run("--help")


def test_it_adds_little_to_its_base(containers: Containers) -> None:
    whole, base = (int(containers.inspect(image, ".Size")) / 1e6 for image in (IMAGE, containers.base))
    tell(f"image: {whole - base:.0f} MB on a base of {base:.0f} MB ({containers.base}) {containers.why_stand_in}")
    assert 50 < whole - base < 250


def test_it_is_nobody_and_has_no_installer(containers: Containers) -> None:
    assert containers.inspect(IMAGE, ".Config.User") == "10001:10001"
    asked = "import os, pathlib; print(os.getuid(), os.getgid(), pathlib.Path('/venv/bin/pip').exists())"
    said = containers.run("-c", asked, options=["--entrypoint=python"])
    assert said.split() == ["10001", "10001", "False"]


def test_its_file_system_can_not_be_written(containers: Containers) -> None:
    """Otherwise the test below would prove nothing."""
    with pytest.raises(EngineError, match="Read-only file system"):
        containers.run("-c", "open('/tmp/anything', 'w')", options=["--entrypoint=python"])


def test_a_member_delivers_with_nothing_to_write_and_stops_in_time_without_a_duplicate(
    containers: Containers, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """The program itself is PID 1, so it gets the engine's SIGTERM, drains and commits."""
    with Scene(tmp_path, broker, registry) as scene:
        scene.produce(20_000, bad=40)
        seconds = []
        for number in (1, 2):
            (port,) = free_ports(1)
            settings = {**scene.settings, "admin": {"host": "127.0.0.1", "port": port}}
            file = tmp_path / f"{number}.toml"
            file.write_text(tomli_w.dumps(settings))
            name = f"member-{number}"
            options = [f"--volume={file}:/etc/stream-capi/stream-capi.toml:ro", f"--env=CAPI_TEST_KEY={KEY}"]
            containers.begin(name, options=options)  # without arguments, so the image's CMD is used
            until(lambda port=port: ready(port), 60, "the member is ready")  # type: ignore[misc]  # called in this turn
            assert containers.podman("exec", name, "cat", "/proc/1/cmdline").split("\0")[1].endswith("/stream-capi")
            if number == 1:
                until(lambda: len(scene.endpoint.answered()) > 500, 60, "some are delivered")
            else:
                scene.close(seconds=120, duplicates=0)
            containers.podman("healthcheck", "run", name)
            begun = time.monotonic()
            containers.podman("stop", "--time=30", name)
            seconds.append(time.monotonic() - begun)
            assert containers.podman("inspect", name, "--format={{.State.ExitCode}}").strip() == "0"
        tell(f"stop: {seconds[0]:.1f} s at work, {seconds[1]:.1f} s with nothing left")
        assert max(seconds) < scene.settings["shutdown"]["drain_seconds"] + 5


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_check_in_the_image_says_what_it_can_not_reach(containers: Containers, tmp_path: Path) -> None:
    """helm's test runs this command, and fails by its exit code."""
    (port,) = free_ports(1)
    text = (ROOT / "deploy/kubernetes/stream-capi.toml").read_text()
    (tmp_path / "stream-capi.toml").write_text(text.replace("kafka-bootstrap.kafka.svc:9092", f"127.0.0.1:{port}"))
    (tmp_path / "main").write_text(KEY)
    tmp_path.chmod(0o755)  # so that the image's user may read it
    options = [f"--volume={tmp_path}:/etc/stream-capi:ro", f"--volume={tmp_path}:/run/secrets/stream-capi:ro"]
    with pytest.raises(EngineError, match=r"ended with 1:[\s\S]*FAIL  brokers: .*nothing listens there"):
        containers.run("check", "--config", "/etc/stream-capi/stream-capi.toml", options=options)
