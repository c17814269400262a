"""Distributions: the same sources give the same files, and the wheel works where nothing else is installed."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from release import builds, environments
from stream_capi import __version__

_ROOT = Path(__file__).parents[2]
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements", "schemas", "docs", "stream_capi")
_TIME = "1700000000"


def _sources(folder: Path) -> Path:
    """A copy of the sources as they are now, committed or not, with new file times."""
    folder.mkdir(parents=True)
    for name in _SOURCES:
        place = _ROOT / name
        if place.is_dir():
            shutil.copytree(
                place, folder / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
            )
        else:
            shutil.copy(place, folder / name)
    return folder


def _built(folder: Path) -> tuple[Path, Path]:
    """The source distribution and the wheel."""
    sdist, wheel = sorted(
        builds.distributions(_sources(folder / "sources"), folder / "dist", _TIME),
        key=lambda file: file.suffix == ".whl",
    )
    return sdist, wheel


@pytest.mark.repeat(of="test_the_wheel_holds_what_the_program_needs_and_nothing_else")
@pytest.mark.slow
def test_two_builds_of_the_same_sources_and_one_of_the_sdist_are_the_same(tmp_path: Path) -> None:
    sdist, wheel = _built(tmp_path / "one")
    builds.same([sdist, wheel], _built(tmp_path / "two"))
    builds.same([wheel], [builds.wheel_of_sdist(sdist, tmp_path / "three", _TIME)])


@pytest.mark.slow
def test_the_wheel_holds_what_the_program_needs_and_nothing_else(tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(_built(tmp_path)[1]).namelist())
    for name in ("_schemas/lead.avsc", "_schemas/page_view.avsc", "_schemas/applovin-conversion-api-lead-gen.yaml",
                 "_docs/operations.md", "observe/page.html", "py.typed"):  # fmt: skip
        assert f"stream_capi/{name}" in names
    assert {name.partition("/")[0] for name in names} <= {"stream_capi", f"stream_capi-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_wheel_alone_in_an_empty_environment_runs_the_demo(tmp_path: Path) -> None:
    lock = _ROOT / "requirements" / "runtime.lock"
    ran = environments.try_wheel(Path(sys.executable), _built(tmp_path)[1], lock, tmp_path / "environment")
    assert ran == "{}.{}.{}".format(*sys.version_info)
