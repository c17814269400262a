"""Following docs/tools/test.md: its files are written, and its CI job is run as CI would run it.

tests/documents/test_executed.py types its commands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from stream_capi.operations.cases import CASE_KEYS, SKIP_REASONS
from tests.deploy.pages import blocks, rows, section, spans
from tests.deploy.program import ROOT
from tests.events.sources_and_records import SCHEMAS

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs/tools/test.md").read_text()
BIN = Path(sys.executable).parent


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The user's files, as the page shows them."""
    (tmp_path / "lead.avsc").write_bytes((SCHEMAS / "lead.avsc").read_bytes())
    for block in blocks(TEXT):
        if block.language == "toml":
            file = tmp_path / block.text.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
    return tmp_path


def run(words: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    found = {"PATH": f"{BIN}{os.pathsep}{os.defpath}", "HOME": str(folder), "COLUMNS": "160"} | env
    return subprocess.run(words, shell=True, cwd=folder, env=found, capture_output=True, text=True, check=False)  # noqa: S602


def steps() -> list[dict[str, Any]]:
    (text,) = (block.text for block in blocks(TEXT) if block.language == "yaml")
    assert len(text.splitlines()) <= 10
    (job,) = yaml.safe_load(text)["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


@pytest.mark.repeat(of="tests/commands/test_mapping_cases.py::test_another_outcome_differs")
def test_the_job_of_ci_is_red_for_a_difference_and_green_without_one(repository: Path) -> None:
    """The job's own line installs the wheel, without dependencies: those of the tests are used."""
    target = repository / "installed"
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(repository / "wheels"),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    env = {
        "PATH": f"{target / 'bin'}{os.pathsep}{BIN}{os.pathsep}{os.defpath}",
        "PYTHONPATH": str(target),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_TARGET": str(target),
    }
    lines = [step["run"] for step in steps() if "run" in step]
    assert [line.split()[0] for line in lines] == ["pip", "stream-capi"]
    installed = run(lines[0], repository, **env)
    assert installed.returncode == 0, installed.stderr
    where = run("python -c 'import stream_capi; print(stream_capi.__file__)'", repository, **env).stdout
    assert where.startswith(str(target))
    assert run(f"{lines[1]} --update", repository, **env).returncode == 0
    green = run(lines[1], repository, **env)
    assert green.returncode == 0, green.stdout + green.stderr
    assert ElementTree.parse(repository / "results.xml").getroot().get("failures") == "0"  # noqa: S314 -- written just now
    cases = repository / "cases/leads.toml"
    cases.write_text(cases.read_text().replace('currency = "usd"', 'currency = "EUR"'))
    assert run(lines[1], repository, **env).returncode == 1
    assert ElementTree.parse(repository / "results.xml").getroot().get("failures") == "1"  # noqa: S314


def test_each_key_and_each_reason_is_named() -> None:
    table = section(TEXT, "Files of cases")
    named = {span for first, *_ in rows(table) for span in spans(first)}
    assert named == CASE_KEYS
    (line,) = re.findall(r"^- `skipped` is (.*)\.$", table, re.MULTILINE)
    assert set(spans(line)) == set(SKIP_REASONS)
