"""The Helm chart: rendered as its users' helm renders it, and packed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from release.sources import Unreleasable
from tests.ship.engines import EngineError, engine

_CHART = Path("deploy", "helm")


def helm() -> Path:
    """The one on the path, else the one that `make test-deploy` has built. Raises Unreleasable where there is neither."""
    if found := shutil.which("helm"):
        return Path(found)
    try:
        return engine("helm")
    except EngineError as error:
        raise Unreleasable(f"no helm on the path, and {error}") from None


def rendered(program: Path, sources: Path, file: Path) -> Path:
    """Write what the chart's own values make, once helm finds no fault in it."""
    _run(program, ["lint", "--strict", str(sources / _CHART)])
    file.write_text(_run(program, ["template", "stream-capi", str(sources / _CHART)]))
    return file


def packed(program: Path, sources: Path, version: str, folder: Path) -> Path:
    """The chart as a package. Helm writes the present time into it: no two are the same file."""
    _run(
        program,
        [
            "package",
            str(sources / _CHART),
            "--version",
            version,
            "--app-version",
            version,
            "--destination",
            str(folder),
        ],
    )
    return folder / f"stream-capi-{version}.tgz"


def _run(program: Path, words: Sequence[str]) -> str:
    done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unreleasable(f"helm {words[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
