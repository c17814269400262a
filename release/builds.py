"""Builds of a copy of the sources: the wheel, the source distribution and the bill of materials."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from release.sources import Unreleasable


def distributions(sources: Path, into: Path, at: str) -> list[Path]:
    """Build the wheel and the source distribution. ``at``: the time of all files in them, in seconds since 1970."""
    _build(["--sdist", "--wheel"], sources, into, at)
    return sorted(into.iterdir())


def wheel_of_sdist(sdist: Path, folder: Path, at: str) -> Path:
    """What somebody builds who has the source distribution alone."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = folder.iterdir()
    _build(["--wheel"], sources, folder / "dist", at)
    (wheel,) = (folder / "dist").iterdir()
    return wheel


def bill_of_materials(sources: Path, file: Path) -> Path:
    """Write the locked packages that the program runs with, as CycloneDX."""
    lock = str(sources / "requirements" / "runtime.lock")
    options = ["--output-reproducible", "--output-file", str(file)]
    _run([sys.executable, "-m", "cyclonedx_py", "requirements", *options, lock])
    return file


def same(one: Sequence[Path], other: Sequence[Path]) -> None:
    """Raise Unreleasable where two builds differ by a byte."""
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
    command = [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", str(into), str(sources)]
    _run(command, {"SOURCE_DATE_EPOCH": at})


def _run(command: Sequence[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    if done.returncode:
        raise Unreleasable(f"{' '.join(command[2:4])} failed:\n{done.stdout}{done.stderr}")
