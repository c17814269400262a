"""Builds the wheel, the source distribution and the bill of materials from a copy of the sources."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from release.commands import output
from release.sources import Unreleasable


def distributions(sources: Path, into: Path, at: str) -> list[Path]:
    """Build the wheel and the source distribution. ``at``: the time of all files in them, in seconds since 1970."""
    _build(["--sdist", "--wheel"], sources, into, at)
    return sorted(into.iterdir())


def wheel_of_sdist(sdist: Path, folder: Path, at: str) -> Path:
    """Build the wheel from the source distribution alone, as a packager would."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = folder.iterdir()
    _build(["--wheel"], sources, folder / "dist", at)
    (wheel,) = (folder / "dist").iterdir()
    return wheel


def bill_of_materials(sources: Path, file: Path) -> Path:
    """Write the locked packages that the program runs with, as CycloneDX."""
    lock = sources / "requirements" / "runtime.lock"
    options: list[str | Path] = ["--output-reproducible", "--output-file", file]
    output("the bill of materials", [sys.executable, "-m", "cyclonedx_py", "requirements", *options, lock])
    return file


def same(one: Sequence[Path], other: Sequence[Path]) -> None:
    """Raise Unreleasable if two builds differ in a name or a byte."""
    for first, second in zip(one, other, strict=True):
        if first.name != second.name or digest(first) != digest(second):
            raise Unreleasable(f"two builds of {first.name} differ: {first} and {second}; compare what they hold")


def checksums(files: Sequence[Path], file: Path) -> Path:
    """Write the files' SHA-256 sums, as ``sha256sum --check`` reads them."""
    file.write_text("".join(f"{digest(each)}  {each.name}\n" for each in files))
    return file


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _build(kinds: Sequence[str], sources: Path, into: Path, at: str) -> None:
    command: list[str | Path] = [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", into, sources]
    output(f"build {kinds[0]}", command, env={**os.environ, "SOURCE_DATE_EPOCH": at})
