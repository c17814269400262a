"""The image, built by buildah and run by podman, in separate storage."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.deploy.dockerfile import stages
from tests.deploy.program import ROOT
from tests.ship.engines import EngineError, base_image

IMAGE = "localhost/stream-capi:test"
STAND_IN = "localhost/base:test"
# This machine's configuration for reaching package registries.
_OF_THE_MACHINE = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
# The manifests' restrictions on pods. The network is the machine's, since the tests' brokers listen there.
_CONFINED = [
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
    *("--network=host", "--log-driver=k8s-file", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"),
]


class Containers:
    """A storage with the image and its base, and the containers that run the image."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stream-capi-containers-")
        self._storage = [f"--root={self._folder.name}/storage", f"--runroot={self._folder.name}/run"]
        (self._named,) = {stage.image for stage in stages(ROOT / "Dockerfile")}
        self.base = self._named
        self.why_stand_in = ""

    def start(self) -> Self:
        """Build the image on the base that the Dockerfile names, or on a stand-in if that can't be pulled."""
        try:
            self.buildah("pull", self._named)
        except EngineError as error:
            self.why_stand_in = str(error).splitlines()[-1]
            self.base = STAND_IN
            self._load_stand_in()
        mounts = [f"--volume={file}:{file}:ro" for file in _OF_THE_MACHINE if Path(file).exists()]
        options = ["--format=docker", "--isolation=chroot", "--network=host", "--pull-never", *mounts]
        self.buildah("build", *options, f"--build-arg=PYTHON={self.base}", f"--tag={IMAGE}", str(ROOT))
        return self

    def stop(self) -> None:
        """Stop what still runs and delete the storage."""
        self.podman("rm", "--all", "--force", "--time=0")
        self.podman("rmi", "--all", "--force")
        self._folder.cleanup()

    def buildah(self, *arguments: str) -> str:
        """Run buildah; return its output. Raises EngineError if it fails."""
        return _said(["buildah", *self._storage, *arguments])

    def podman(self, *arguments: str) -> str:
        """Run podman; return its and the container's output. Raises EngineError if either fails."""
        return _said(["podman", *self._storage, "--runtime=runc", "--cgroup-manager=cgroupfs", *arguments])

    def run(self, *arguments: str, options: Sequence[str] = ()) -> str:
        """Run a container with the manifests' restrictions; return its output."""
        return self.podman("run", "--rm", *_CONFINED, *options, IMAGE, *arguments)

    def begin(self, name: str, *arguments: str, options: Sequence[str] = ()) -> None:
        """Start a container with the manifests' restrictions, and leave it running."""
        self.podman("run", "--detach", f"--name={name}", *_CONFINED, *options, IMAGE, *arguments)

    def inspect(self, image: str, field: str) -> Any:
        """A field of an image, as text."""
        return self.podman("image", "inspect", image, "--format", f"{{{{{field}}}}}").strip()

    def _load_stand_in(self) -> None:
        container = self.buildah("from", "scratch").strip()
        self.buildah("add", "--quiet", container, str(base_image()), "/")
        path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.buildah("config", f"--env=PATH={path}", container)
        self.buildah("commit", "--quiet", "--rm", container, STAND_IN)
        self.buildah("tag", STAND_IN, f"docker.io/library/{self._named}")


def _said(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EngineError(f"{command[0]} is not installed") from None
    if ran.returncode != 0:
        words = " ".join(word for word in command if not word.startswith("--"))
        raise EngineError(f"{words} ended with {ran.returncode}:\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
    return ran.stdout
