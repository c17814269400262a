"""Lock files: every requirement is pinned and hashed, and none names an index. The bill of materials and the audit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_LOCKS = sorted((_ROOT / "requirements").glob("*.lock"))
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def _pins(lock: Path) -> dict[str, str]:
    return {_canonical(name): version for name, version in _PIN.findall(lock.read_text())}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _wanted(extra: str | None = None) -> set[str]:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    stated = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {_canonical(re.split(r"[\[<>=! ]", line, maxsplit=1)[0]) for line in stated}


def test_there_are_locks() -> None:
    assert {lock.name for lock in _LOCKS} >= {"runtime.lock", "aws.lock", "dev.lock"}


@pytest.mark.parametrize("lock", _LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_pinned_with_hashes_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text()
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z0-9])", text) if not entry.startswith("#")]
    assert len(entries) > 1
    for entry in entries:
        assert _PIN.match(entry), f"not pinned: {entry.splitlines()[0]}"
        assert "--hash=sha256:" in entry, f"no hash: {entry.splitlines()[0]}"
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    assert _wanted() <= set(_pins(_ROOT / "requirements" / "runtime.lock"))
    assert _wanted() | _wanted("aws") <= set(_pins(_ROOT / "requirements" / "aws.lock"))
    assert _wanted() | _wanted("dev") <= set(_pins(_ROOT / "requirements" / "dev.lock"))


def test_runtime_and_development_run_the_same_versions() -> None:
    runtime, aws, dev = (_pins(_ROOT / "requirements" / f"{name}.lock") for name in ("runtime", "aws", "dev"))
    assert {name: dev.get(name) for name in runtime} == runtime
    assert {name: aws.get(name) for name in runtime} == runtime
    assert {name: dev.get(name) for name in aws} == aws


@pytest.mark.repeat(of="test_every_requirement_is_pinned_with_hashes_and_no_index_is_named")
@pytest.mark.slow
def test_the_bill_of_materials_lists_every_pin_with_its_hashes() -> None:
    lock = _ROOT / "requirements" / "runtime.lock"
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", str(lock)],
        capture_output=True,
        text=True,
        check=True,
    )
    bill = json.loads(made.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    found = {_canonical(component["name"]): component for component in bill["components"]}
    assert {name: component["version"] for name, component in found.items()} == _pins(lock)
    assert all("hashes" in json.dumps(component) for component in found.values())


@pytest.mark.slow
def test_an_audit_that_had_to_skip_a_package_fails(tmp_path: Path) -> None:
    """Without ``--strict`` pip-audit skips a package that it can't look up, finds no vulnerability and exits with 0."""
    unknown = tmp_path / "unknown.txt"
    unknown.write_text("a-package-that-nobody-has-published==1.0 --hash=sha256:" + "0" * 64 + "\n")
    words = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(unknown)]
    done = subprocess.run([*words, "--strict"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    recipe = (_ROOT / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    assert "--strict" in recipe, "the project's own audit is the strict one"
