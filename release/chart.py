"""The Helm chart: rendered as its users' helm renders it, and packed."""

from __future__ import annotations

import shutil
from pathlib import Path

from release.commands import output
from release.sources import Unreleasable
from tests.ship.engines import EngineError, engine

_CHART = Path("deploy", "helm")


def helm() -> Path:
    """Helm from the path, otherwise the one that `make test-deploy` has built. Raises Unreleasable if there is neither."""
    if found := shutil.which("helm"):
        return Path(found)
    try:
        return engine("helm")
    except EngineError as error:
        raise Unreleasable(f"no helm on the path, and {error}") from None


def rendered(program: Path, sources: Path, file: Path) -> Path:
    """Check the chart with ``helm lint``, and write the objects that it makes with its default values."""
    output("helm lint", [program, "lint", "--strict", sources / _CHART])
    file.write_text(output("helm template", [program, "template", "stream-capi", sources / _CHART]))
    return file


def packed(program: Path, sources: Path, version: str, folder: Path) -> Path:
    """The chart as a package. Helm writes the current time into it, so two packages are never equal."""
    of = ["--version", version, "--app-version", version]
    output("helm package", [program, "package", sources / _CHART, *of, "--destination", folder])
    return folder / f"stream-capi-{version}.tgz"
