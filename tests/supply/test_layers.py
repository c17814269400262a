"""The import contracts refuse what docs/design.md forbids: each forbidden import is added to a copy of the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stream_capi

pytestmark = pytest.mark.slow

ROOT = Path(stream_capi.__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> tuple[int, str]:
    """The linter's exit code and output for the package in ``folder``."""
    done = subprocess.run(
        [LINTER, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, with its import contracts."""
    shutil.copytree(ROOT / "stream_capi", tmp_path / "stream_capi", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_as_it_is_keeps_every_contract(copy: Path) -> None:
    code, said = lint(copy)
    assert code == 0, said
    assert "0 broken" in said


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("pipeline/pipeline.py", "confluent_kafka", "the pipeline knows neither Kafka, HTTP, logs nor metrics"),
        ("pipeline/delivery.py", "aiohttp", "the pipeline knows neither Kafka, HTTP, logs nor metrics"),
        ("pipeline/delivery.py", "prometheus_client", "the pipeline knows neither Kafka, HTTP, logs nor metrics"),
        ("pipeline/source.py", "structlog", "the pipeline knows neither Kafka, HTTP, logs nor metrics"),
        (
            "pipeline/pipeline.py",
            "stream_capi.kafka.consumer",
            "the pipeline knows neither Kafka, HTTP, logs nor metrics",
        ),
        ("pipeline/pipeline.py", "stream_capi.observe.metrics", "one way through"),
        ("kafka/consumer.py", "stream_capi.endpoint.client", "Kafka's side and the endpoint's side never meet"),
        ("operations/preflight.py", "stream_capi.sandbox.samples", "only commands use the sandbox"),
        ("app.py", "stream_capi.sandbox.mock_api", "only commands use the sandbox"),
        ("core/flow.py", "time", "the core and the events are pure"),
        ("core/offsets.py", "prometheus_client", "the core and the events are pure"),
        ("events/fields.py", "random", "the core and the events are pure"),
        ("core/flow.py", "stream_capi.pipeline.delivery", "one way through"),
        ("events/paths.py", "stream_capi.avro.schemas", "one way through"),
        ("core/flow.py", "stream_capi.avro.names", "one way through"),
        ("model.py", "stream_capi.core.flow", "one way through"),
        ("applovin.py", "stream_capi.model", "one way through"),
        ("applovin.py", "stream_capi.core.outcomes", "one way through"),
    ],
)
def test_a_breach_is_refused(copy: Path, module: str, imported: str, contract: str) -> None:
    file = copy / "stream_capi" / module
    file.write_text(file.read_text() + f"\nimport {imported}\n")

    code, said = lint(copy)

    assert code == 1, said
    assert f"{contract} BROKEN" in said


def test_a_room_that_no_layer_names_is_refused(copy: Path) -> None:
    (copy / "stream_capi" / "helpers.py").write_text("")
    code, said = lint(copy)
    assert code == 1
    assert "stream_capi.helpers" in said.replace("\n", " ")
