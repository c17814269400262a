"""CI workflows and commit hooks run the same make targets as a contributor; issue forms are well-formed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_WORKFLOWS = sorted((_ROOT / ".github" / "workflows").glob("*.yml"))
_TARGETS = set(re.findall(r"^([a-z-]+):.* ##", (_ROOT / "Makefile").read_text(), re.MULTILINE))


def _steps(workflow: Path) -> list[dict[str, Any]]:
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", _WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_runs_targets_that_are_there(workflow: Path) -> None:
    commands = [step["run"] for step in _steps(workflow) if "run" in step]
    assert ".ci/run" in commands or any(command.startswith("make ") for command in commands)
    for command in commands:
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert target in _TARGETS


@pytest.mark.parametrize("workflow", _WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_trusts_nothing_that_can_change_unseen(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    for step in _steps(workflow):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", f"x@{'0' * 40}")), step


def test_the_hooks_run_what_make_lint_runs() -> None:
    (repo,) = yaml.safe_load((_ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local", "a hook of its own version would differ from make lint"
    linting = subprocess.run(
        ["make", "--dry-run", "lint"], cwd=_ROOT, check=True, capture_output=True, text=True
    ).stdout
    for hook in repo["hooks"]:
        command = hook["entry"].removesuffix(" --force-exclude")
        assert command == "make lint" or f"{command} ." in linting


@pytest.mark.parametrize(
    "form", sorted((_ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda file: file.name
)
def test_a_form_asks_for_something_and_each_question_has_a_name(form: Path) -> None:
    asked = yaml.safe_load(form.read_text())
    questions = [part for part in asked["body"] if part["type"] != "markdown"]
    assert asked["name"]
    assert asked["description"]
    assert len({part["id"] for part in questions}) == len(questions) > 1
    assert all(part["attributes"]["label"] for part in questions)
    assert any(part.get("validations", {}).get("required") for part in questions)
