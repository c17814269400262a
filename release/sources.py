"""The committed sources. Each build gets its own copy, so that it depends on no uncommitted change and no file's time."""

from __future__ import annotations

import re
import subprocess
import tarfile
from datetime import date
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
_VERSION = re.compile(r'^__version__ = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
_UNRELEASED = "## [Unreleased]"


class Unreleasable(Exception):
    """The sources can't be released; the text says what is wrong, where, and what to do."""


def export(into: Path, root: Path = ROOT) -> Path:
    """Copy the last commit of ``root`` to a folder. Raises Unreleasable if something is not committed."""
    if changed := _git(root, "status", "--porcelain").decode():
        raise Unreleasable(
            f"not committed: {', '.join(line[3:] for line in changed.splitlines())}; commit, and release again"
        )
    into.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(_git(root, "archive", "--format=tar", "HEAD"))) as archive:
        archive.extractall(into, filter="data")
    return into


def committed_at(root: Path = ROOT) -> str:
    """The time of the last commit, in seconds since 1970, which builds use as the time of all files."""
    return _git(root, "log", "-1", "--format=%ct").decode().strip()


def version(sources: Path) -> str:
    """The version. Raises Unreleasable unless the changelog has a dated section for it, and no unreleased entries."""
    found = _VERSION.search((sources / "stream_capi" / "__init__.py").read_text())
    if found is None:
        raise Unreleasable("stream_capi/__init__.py has no __version__ of three numbers; set it")
    changelog = (sources / "CHANGELOG.md").read_text()
    _, unreleased, rest = changelog.partition(_UNRELEASED)
    if unreleased and not rest.lstrip().startswith("## ["):
        raise Unreleasable(f"CHANGELOG.md has entries under {_UNRELEASED[3:]}; give them a version and a date")
    dated = re.search(rf"^## \[{re.escape(found[1])}\] - (\S+)$", changelog, re.MULTILINE)
    if dated is None:
        raise Unreleasable(f"CHANGELOG.md has no section '## [{found[1]}] - DATE'; write it, or correct __version__")
    try:
        date.fromisoformat(dated[1])
    except ValueError:
        raise Unreleasable(
            f"CHANGELOG.md dates {found[1]} as {dated[1]}, which is no day; write it as 2026-01-31"
        ) from None
    return found[1]


def _git(root: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True).stdout
