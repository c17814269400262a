"""The manifests as kustomize renders them, and the chart as helm does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.program import ROOT
from tests.ship.engines import engine, kubernetes_version

BASE = ROOT / "deploy/kubernetes"
CHART = ROOT / "deploy/helm"
# In the order in which they are combined: openshift, which changes the toolbox too, comes after it.
COMPONENTS = sorted(
    (file.parent.name for file in BASE.glob("*/kustomization.yaml")), key=lambda name: (name == "openshift", name)
)
Objects = dict[tuple[str, str], dict[str, Any]]  # by kind and name


class ChartRefused(Exception):
    """Rendering failed; the text is the standard error of helm or kubectl."""


def overlay(folder: Path, components: Iterable[str] = ()) -> Path:
    """Write a kustomization over the base, as a company would. Its paths must be relative to its folder."""
    base = os.path.relpath(BASE, folder.resolve())
    kustomization = {"resources": [base], "components": [f"{base}/{component}" for component in components]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def kustomized(folder: Path) -> Objects:
    """The objects that a kustomization renders."""
    return _objects(_printed([str(engine("kubectl")), "kustomize", str(folder)]))


def charted(*arguments: str, release: str = "stream-capi") -> Objects:
    """The objects that the chart renders with these arguments of helm. Raises ChartRefused."""
    command = [str(engine("helm")), "template", release, str(CHART), "--kube-version", kubernetes_version()]
    return _objects(_printed([*command, *arguments]))


def _printed(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ran.returncode != 0:
        raise ChartRefused(ran.stderr)
    return ran.stdout


def _objects(text: str) -> Objects:
    documents = [document for document in yaml.safe_load_all(text) if document]
    objects = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(objects) == len(documents), "two objects of one name"
    return objects
