"""The engines for these tests: built once, from Go modules pinned by go.mod and go.sum, and kept in the tests' cache.

``python -m tests.ship.engines`` builds what is missing. Tests build nothing: they fail if an engine is missing.
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
# The module and package of each program.
PROGRAMS = {
    "helm": (ENGINES, "helm.sh/helm/v3/cmd/helm"),
    "etcd": (ENGINES, "go.etcd.io/etcd/server/v3"),
    "kubectl": (ENGINES, "k8s.io/kubernetes/cmd/kubectl"),
    "kube-apiserver": (ENGINES, "k8s.io/kubernetes/cmd/kube-apiserver"),
    "controller-gen": (DEFINITIONS, "sigs.k8s.io/controller-tools/cmd/controller-gen"),
}
# The oldest version for the ScaledObject. Its definitions are files in its module, which is downloaded but not
# built, so its checksum is pinned here.
KEDA = "github.com/kedacore/keda/v2@v2.17.2"
KEDA_SUM = "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk="
OPERATOR = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
# The Debian suite of the base that the Dockerfile names; the suite's own CPython has the same version.
SUITE = "trixie"
PACKAGES = "python3,python3-venv,ca-certificates"


class EngineError(Exception):
    """An engine is missing or fails."""


def kubernetes_version() -> str:
    """The version of the API server, in the form 1.2.3."""
    (version,) = re.findall(r"k8s\.io/kubernetes v(\S+)", (ENGINES / "go.mod").read_text())
    return str(version)


def engine(name: str) -> Path:
    """The path of a built program. Raises EngineError if it isn't built."""
    return _built(name)


def definitions() -> Path:
    """The folder with the definitions of the manifests' custom resources: KEDA's and the Prometheus operator's."""
    return _built(_DEFINED)


def base_image() -> Path:
    """The root file system, as a tar file, for building the image if no image registry can be reached."""
    return _built(_BASE)


def build(say: Callable[[str], object]) -> None:
    """Build what is missing, in a temporary folder first, so that a failed build leaves nothing that looks complete."""
    with locked(_folder()):
        for name, make in _MAKE.items():
            path = _place(name)
            if not path.exists():
                say(f"building {name}")
                with tempfile.TemporaryDirectory(dir=_folder(), prefix="building-") as beside:
                    make(Path(beside, name))
                    path.parent.mkdir(exist_ok=True)
                    Path(beside, name).rename(path)


def _folder() -> Path:
    """A folder of the cache with its own lock, so that starting a broker doesn't wait for a build."""
    folder = cache_folder() / "engines"
    folder.mkdir(exist_ok=True)
    return folder


def _place(name: str) -> Path:
    """Its path in the cache, which contains a hash of the pinned inputs."""
    module, _ = PROGRAMS.get(name, (DEFINITIONS, ""))
    pinned = "".join((module / file).read_text() for file in ("go.mod", "go.sum"))
    made_of = {_BASE: f"{SUITE} {PACKAGES}", _DEFINED: f"{pinned} {KEDA}"}.get(name, pinned)
    return _folder() / hashlib.sha256(made_of.encode()).hexdigest()[:16] / name


def _built(name: str) -> Path:
    if not (path := _place(name)).exists():
        raise EngineError(f"{name} is not built: `make test-deploy` does it, or python -m tests.ship.engines")
    return path


def _program(path: Path) -> None:
    module, package = PROGRAMS[path.name]
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
    """KEDA's definitions from its module; the operator's generated from its types, as its own build does it."""
    folder.mkdir()
    fetched = json.loads(_run(["go", "mod", "download", "-json", KEDA], DEFINITIONS))
    if fetched["Sum"] != KEDA_SUM:
        raise EngineError(f"{KEDA} has the sum {fetched['Sum']}, pinned is {KEDA_SUM}")
    for file in Path(fetched["Dir"], "config/crd/bases").glob("keda.sh_*.yaml"):
        shutil.copyfile(file, folder / file.name)
    generate = [str(engine("controller-gen")), "crd:maxDescLen=0", f"paths={OPERATOR}", f"output:crd:dir={folder}"]
    _run(generate, DEFINITIONS)


def _bootstrap(tar: Path) -> None:
    """Debian with a virtual environment of its CPython at /usr/local, where the base has CPython and a working pip."""
    root = tar.with_name("root")
    _run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)], tar.parent)
    _run(["chroot", str(root), "python3", "-m", "venv", "/usr/local"], tar.parent)
    for unneeded in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / unneeded)
    _run(["tar", "--directory", str(root), "--create", "--file", str(tar), "."], tar.parent)


def _run(command: list[str], folder: Path) -> str:
    """Run a command in a folder; return its output. Raises EngineError with the output if it fails."""
    environ = os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    try:
        ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EngineError(f"{command[0]} is not installed") from None
    if ran.returncode != 0:
        raise EngineError(f"{' '.join(command[:3])} failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.stdout


_DEFINED, _BASE = "custom-resources", "base-image.tar"
_MAKE: dict[str, Callable[[Path], None]] = dict.fromkeys(PROGRAMS, _program) | {_DEFINED: _define, _BASE: _bootstrap}

if __name__ == "__main__":
    build(lambda line: sys.stdout.write(f"{line}\n"))
