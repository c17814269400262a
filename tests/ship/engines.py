"""The programs that deploy: built once from the Go modules that go.mod and go.sum pin, and kept in the tests' cache.

``python -m tests.ship.engines`` builds what is not there yet. Tests build nothing: an engine that is missing fails them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.stack.artefacts import cache_folder, locked

MODULES = Path(__file__).parent
ENGINES = MODULES / "engines"
DEFINITIONS = MODULES / "definitions"
# The module of each program, and its package.
PROGRAMS = {
    "helm": (ENGINES, "helm.sh/helm/v3/cmd/helm"),
    "etcd": (ENGINES, "go.etcd.io/etcd/server/v3"),
    "kubectl": (ENGINES, "k8s.io/kubernetes/cmd/kubectl"),
    "kube-apiserver": (ENGINES, "k8s.io/kubernetes/cmd/kube-apiserver"),
    "controller-gen": (DEFINITIONS, "sigs.k8s.io/controller-tools/cmd/controller-gen"),
}
# KEDA's definitions are files of its module. It is fetched and not built, so that its sum is pinned here.
KEDA = "github.com/kedacore/keda/v2@v2.18.1"
KEDA_SUM = "h1:h6bRt/IOxxtZpJlHSqhdH/lcInH7Z9obxg/JvWOmGAw="
OPERATOR = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"


class EngineError(Exception):
    """An engine can't be had."""


def kubernetes_version() -> str:
    """The version of the API server, as 1.2.3."""
    (version,) = re.findall(r"k8s\.io/kubernetes v(\S+)", (ENGINES / "go.mod").read_text())
    return str(version)


def engine(name: str) -> Path:
    """A program that was built."""
    return _built(_place(name))


def definitions() -> Path:
    """The folder of the custom resources' definitions that the manifests use: KEDA's and the Prometheus operator's."""
    return _built(_place("custom-resources"))


def build(say: Callable[[str], object]) -> None:
    """Build what is not there yet."""
    with locked(_folder()):
        for name in PROGRAMS:
            _make(_place(name), lambda path, name=name: _build(name, path), say)  # type: ignore[misc]  # called in this turn
        _make(_place("custom-resources"), _define, say)


def _folder() -> Path:
    """A lock of its own: who starts a broker meanwhile doesn't wait for a build."""
    folder = cache_folder() / "engines"
    folder.mkdir(exist_ok=True)
    return folder


def _place(name: str) -> Path:
    """Where it is kept, under a name that changes with what it is made of."""
    module, _ = PROGRAMS.get(name, (DEFINITIONS, ""))
    made_of = b"".join((module / file).read_bytes() for file in ("go.mod", "go.sum")) + KEDA.encode()
    return _folder() / hashlib.sha256(made_of).hexdigest()[:16] / name


def _built(path: Path) -> Path:
    if not path.exists():
        raise EngineError(f"{path.name} is not built: `make test-deploy` does it, or python -m tests.ship.engines")
    return path


def _make(path: Path, make: Callable[[Path], object], say: Callable[[str], object]) -> None:
    """Make it beside its place and move it there: a build that dies half-way leaves nothing that looks whole."""
    if path.exists():
        return
    say(f"building {path.name}")
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as beside:
        make(Path(beside, path.name))
        Path(beside, path.name).rename(path)


def _build(name: str, path: Path) -> None:
    module, package = PROGRAMS[name]
    major, minor, _ = kubernetes_version().split(".")
    values = {
        "k8s.io/component-base/version.gitVersion": f"v{kubernetes_version()}",
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": minor,
    }
    linked = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])
    _run(["go", "build", "-trimpath", "-buildvcs=false", f"-ldflags={linked}", "-o", str(path), package], module)


def _define(folder: Path) -> None:
    """KEDA's definitions as its module has them; the operator's made of its types, as its own build makes them."""
    folder.mkdir()
    fetched = json.loads(_run(["go", "mod", "download", "-json", KEDA], DEFINITIONS))
    if fetched["Sum"] != KEDA_SUM:
        raise EngineError(f"{KEDA} has the sum {fetched['Sum']}, pinned is {KEDA_SUM}")
    for file in Path(fetched["Dir"], "config/crd/bases").glob("keda.sh_*.yaml"):
        shutil.copyfile(file, folder / file.name)
    generate = [str(engine("controller-gen")), "crd:maxDescLen=0", f"paths={OPERATOR}", f"output:crd:dir={folder}"]
    _run(generate, DEFINITIONS)


def _run(command: list[str], module: Path) -> str:
    """What a command prints that runs in the folder of a module. Raises EngineError with what it says of its failure."""
    environ = os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    try:
        ran = subprocess.run(command, cwd=module, env=environ, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EngineError(f"{command[0]} is not installed") from None
    if ran.returncode != 0:
        raise EngineError(f"{' '.join(command[:3])} failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.stdout


if __name__ == "__main__":
    build(lambda line: sys.stdout.write(f"{line}\n"))
