"""NOTICE and the bill of materials that the image's build writes, here for the environment that the tests run in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.deploy.dockerfile import stages
from tests.deploy.program import ROOT

LOCKED = dict(
    re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (ROOT / "requirements/runtime.lock").read_text(), re.MULTILINE)
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "doc"
    script = ROOT / "deploy/image/notices.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, timeout=120, cwd=folder.parent)
    return folder


def bill(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "sbom.cdx.json").read_text())
    return found


@pytest.mark.slow
def test_the_bill_is_one_by_its_schema(written: Path) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str((written / "sbom.cdx.json").read_text()) is None


def test_the_bill_has_the_program_and_each_locked_library_with_its_version(written: Path) -> None:
    made = bill(written)
    assert made["metadata"]["component"]["name"] == "stream-capi"
    versions = {part["name"].lower().replace("_", "-"): part["version"] for part in made["components"]}
    assert versions.items() >= LOCKED.items()


def test_no_library_of_the_image_is_under_a_gpl(written: Path) -> None:
    """Nor under the LGPL: the image contains the locked libraries, and must be redistributable as it is."""
    licences = {
        part["name"].lower().replace("_", "-"): json.dumps(part["licenses"]) for part in bill(written)["components"]
    }
    assert [name for name in LOCKED if re.search(r"GPL|GNU", licences[name])] == []


@pytest.mark.parametrize("name", ["certifi", "orjson"])
def test_the_notice_says_where_the_source_of_what_is_under_the_mpl_is(written: Path, name: str) -> None:
    text = (written / "NOTICE").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} {LOCKED[name]}: "))
    assert re.search(r"(MPL-2\.0|Mozilla Public License 2\.0).*  https://\S+$", line)


def test_the_notice_names_a_licence_for_each_library_and_files_that_are_there(written: Path) -> None:
    lines = (written / "NOTICE").read_text().splitlines()
    for name, version in LOCKED.items():
        (at,) = (
            at for at, line in enumerate(lines) if line.lower().replace("_", "-").startswith(f"{name} {version}: ")
        )
        assert "not said" not in lines[at]
        assert Path(lines[at + 1].strip()).is_file(), lines[at]


def test_the_image_has_them_of_what_is_left_in_it() -> None:
    (last,) = (run.text for run in stages(ROOT / "Dockerfile")[0].all("RUN") if "notices.py" in run.text)
    assert re.search(r"pip uninstall --yes pip *&& /venv/bin/python deploy/image/notices\.py /venv/share/\S+$", last)
