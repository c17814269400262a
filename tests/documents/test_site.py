"""The site: every page is in the navigation, every link works, and no page loads anything from another host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).parents[2]
_ASKS = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(https?:)?//")


def _built(root: Path, into: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(root / "mkdocs.yml"), "--site-dir", str(into)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


def _copy(into: Path) -> Path:
    """The project's files that the site is built from."""
    shutil.copytree(_ROOT / "docs", into / "docs")
    shutil.copy(_ROOT / "mkdocs.yml", into)
    for place in _ROOT.iterdir():  # files outside docs/ that pages link to
        if place.name not in ("docs", "mkdocs.yml", ".git"):
            (into / place.name).symlink_to(place)
    return into


def test_the_site_is_built_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    built = _built(_ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {page.stem for page in pages} > {"index", "glossary", "operations", "contract", "dry-run"}
    for page in pages:
        assert not _ASKS.search(page.read_text().replace('<link rel="canonical"', "")), page
    assert (tmp_path / "files/deploy/prometheus/rules.yml").read_bytes() == (
        _ROOT / "deploy/prometheus/rules.yml"
    ).read_bytes()


@pytest.mark.repeat(of="test_the_site_is_built_without_a_warning_and_asks_no_other_host")
@pytest.mark.parametrize(
    "line", ["[a](operations.md#no-such-part)", "[a](nopage.md)", "[a](../nofile.yml)", "![a](pictures/none.svg)"]
)
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path, line: str) -> None:
    root = _copy(tmp_path / "project")
    assert _built(root, tmp_path / "before").returncode == 0
    with (root / "docs" / "glossary.md").open("a") as page:
        page.write(f"\n{line}\n")
    built = _built(root, tmp_path / "after")
    assert built.returncode == 1
    assert "glossary.md" in built.stderr


@pytest.mark.repeat(of="test_the_site_is_built_without_a_warning_and_asks_no_other_host")
def test_a_page_that_no_reader_would_find_stops_the_build(tmp_path: Path) -> None:
    root = _copy(tmp_path / "project")
    (root / "docs" / "forgotten.md").write_text("# Forgotten\n")
    built = _built(root, tmp_path / "site")
    assert built.returncode == 1
    assert "forgotten.md" in built.stderr
