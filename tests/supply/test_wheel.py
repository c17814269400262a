"""What is shipped: the same wheel from the same sources, and one that works where nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements", "schemas", "docs", "stream_capi")


def _build(folder: Path) -> Path:
    """A wheel from a copy of the sources, whose times are of now."""
    sources = folder / "sources"
    for name in _SOURCES:
        place = _ROOT / name
        if place.is_dir():
            shutil.copytree(
                place, sources / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
            )
        else:
            sources.mkdir(parents=True, exist_ok=True)
            shutil.copy(place, sources / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(sources)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.mark.slow
def test_two_builds_of_the_same_sources_are_the_same_wheel(tmp_path: Path) -> None:
    wheels = [_build(tmp_path / name) for name in ("one", "two")]
    digests = {hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}
    assert len(digests) == 1


def test_the_wheel_holds_what_the_program_needs_and_nothing_else(tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(_build(tmp_path)).namelist())
    for name in ("_schemas/lead.avsc", "_schemas/page_view.avsc", "_schemas/applovin-conversion-api-lead-gen.yaml",
                 "_docs/operations.md", "observe/page.html", "py.typed"):  # fmt: skip
        assert f"stream_capi/{name}" in names
    assert {name.partition("/")[0] for name in names} <= {"stream_capi", "stream_capi-0.1.0.dist-info"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_wheel_alone_in_an_empty_environment_runs_the_demo(tmp_path: Path) -> None:
    wheel = _build(tmp_path / "build")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    lock = str(_ROOT / "requirements" / "runtime.lock")
    for words in (["--require-hashes", "--requirement", lock], ["--no-deps", str(wheel)]):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *words], check=True, cwd=tmp_path)
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "stream-capi"), "demo", "--events", "1000", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["holds"] is True
