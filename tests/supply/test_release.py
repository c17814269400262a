"""If anything is wrong, a release says so in one line and publishes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from release import builds, chart, environments, sources
from release.sources import Unreleasable

_WORKFLOW = Path(__file__).parents[2] / ".github" / "workflows" / "release.yml"
_NAMED = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def _project(
    folder: Path, version: str = "1.2.3", changelog: str = "## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n\nText.\n"
) -> Path:
    (folder / "stream_capi").mkdir(parents=True)
    (folder / "stream_capi" / "__init__.py").write_text(f'"""Text."""\n\n__version__ = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}")
    return folder


def _committed(folder: Path) -> Path:
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True, env=_NAMED)
    return folder


def test_the_last_commit_is_what_is_copied(tmp_path: Path) -> None:
    project = _committed(_project(tmp_path / "project"))
    copy = sources.export(tmp_path / "copy", project)
    assert {file.name for file in copy.rglob("*") if file.is_file()} == {"__init__.py", "CHANGELOG.md"}
    assert sources.version(copy) == "1.2.3"
    assert int(sources.committed_at(project)) > 1_700_000_000


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new.txt"])
def test_what_is_not_committed_is_named(tmp_path: Path, name: str) -> None:
    project = _committed(_project(tmp_path / "project"))
    (project / name).write_text("changed")
    with pytest.raises(Unreleasable, match=f"not committed: {name}; commit, and release again"):
        sources.export(tmp_path / "copy", project)


@pytest.mark.parametrize(
    ("version", "changelog", "says"),
    [
        ("1.2.3", "## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [1.2.3] - 2026-01-31\n", "entries under [Unreleased]"),
        ("1.2.3", "## [Unreleased]\n\n- A thing.\n", "entries under [Unreleased]"),
        ("1.2.4", "## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n", "has no section '## [1.2.4] - DATE'"),
        ("1.2.3", "## [1.2.3] - 2026-02-31\n", "dates 1.2.3 as 2026-02-31, which is no day"),
        ("1.2", "## [1.2] - 2026-01-31\n", "no __version__ of three numbers"),
    ],
)  # fmt: skip
def test_a_version_without_its_changes_is_refused(tmp_path: Path, version: str, changelog: str, says: str) -> None:
    with pytest.raises(Unreleasable, match=re.escape(says)):
        sources.version(_project(tmp_path, version, changelog))


def test_builds_that_differ_are_named(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "a.whl").write_bytes(b"same")
        (folder / "b.tar.gz").write_bytes(folder.name.encode())
    builds.same([one / "a.whl"], [other / "a.whl"])
    with pytest.raises(Unreleasable, match=r"two builds of b\.tar\.gz differ"):
        builds.same(sorted(one.iterdir()), sorted(other.iterdir()))


def test_checksums_are_read_by_the_tool_for_them(tmp_path: Path) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"content")
    check = ["sha256sum", "--check", builds.checksums([file], tmp_path / "SHA256SUMS").name]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    file.write_bytes(b"changed")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_a_build_that_fails_tells_what_the_builder_said(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("no toml")
    with pytest.raises(Unreleasable, match=r"build --sdist failed:\n.*pyproject\.toml"):
        builds.distributions(tmp_path, tmp_path / "dist", "1700000000")


def test_the_newest_python_of_a_version_is_taken_and_none_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = "{}.{}".format(*sys.version_info)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    for patch in ("9", "10"):
        place = tmp_path / "versions" / f"{mine}.{patch}" / "bin"
        place.mkdir(parents=True)
        (place / "python").symlink_to(sys.executable)
    assert environments.interpreter(mine) == tmp_path / "versions" / f"{mine}.10" / "bin" / "python"
    assert environments.interpreter("3.99") is None


def test_what_helm_says_of_a_chart_is_told(tmp_path: Path) -> None:
    program = tmp_path / "stub"
    program.write_text('#!/bin/sh\necho "$1: $2" >&2\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(Unreleasable, match="helm lint failed:\nlint: --strict"):
        chart.rendered(program, tmp_path, tmp_path / "stream-capi.yaml")
    with pytest.raises(Unreleasable, match="helm package failed:\n"):
        chart.packed(program, tmp_path, "1.2.3", tmp_path)


def test_the_helm_on_the_path_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STREAM_CAPI_TEST_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Unreleasable, match="no helm on the path, and helm is not built"):
        chart.helm()
    (tmp_path / "helm").write_text("#!/bin/sh\n")
    (tmp_path / "helm").chmod(0o755)
    assert chart.helm() == tmp_path / "helm"


def _steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(job["steps"])


def test_the_workflow_publishes_what_make_release_built_and_only_where_it_is_switched_on() -> None:
    jobs = yaml.safe_load(_WORKFLOW.read_text())["jobs"]
    assert {"run": "make release"} in _steps(jobs["build"])
    assert (jobs["publish"]["if"], jobs["publish"]["needs"]) == ("vars.PUBLISH == 'true'", "build")
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    wanted = {word for step in _steps(jobs["build"]) for word in step.get("with", {}).get("python-version", "").split()}
    assert wanted == {*environments.SUPPORTED, environments.NEXT}
