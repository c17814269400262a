"""The Java artefacts of the broker and the registry: fetched once, kept in a cache, checked at each start.

``artefacts.sha256`` names every artefact (dependencies too) with its digest. So nothing is resolved when tests run, and
nothing that is not pinned is used. ``python -m tests.stack.artefacts`` writes that file again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from jgo.maven import Artifact, MavenContext

KAFKA = "org.apache.kafka:kafka_2.13:jar::4.4.0"
LOGGING = "org.slf4j:slf4j-simple:jar::1.7.36"  # the broker has no logging backend of its own
REGISTRY = "io.apicurio:apicurio-registry-app:tar.gz:all:3.3.3"
PINS = Path(__file__).with_name("artefacts.sha256")


class ArtefactError(Exception):
    """An artefact is not the one that was pinned."""


class Pin(NamedTuple):
    """One artefact by its coordinate ``group:artifact:packaging:classifier:version`` and the SHA-256 of its bytes."""

    sha256: str
    coordinate: str

    def artifact(self, context: MavenContext) -> Artifact:
        group, name, packaging, classifier, version = self.coordinate.split(":")
        return context.project(group, name).at_version(version).artifact(classifier=classifier, packaging=packaging)


def cache_folder() -> Path:
    """Where artefacts are kept: ``STREAM_CAPI_TEST_CACHE``, else ``~/.cache/stream-capi-tests``."""
    folder = Path(os.environ.get("STREAM_CAPI_TEST_CACHE") or Path.home() / ".cache" / "stream-capi-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kafka_jars() -> list[Path]:
    """The jars of the broker, each one verified."""
    with locked(cache_folder()) as cache:
        return [_obtain(pin, cache) for pin in pins() if pin.coordinate != REGISTRY]


def registry_folder() -> Path:
    """The folder of the registry, unpacked from a verified archive."""
    with locked(cache_folder()) as cache:
        pin = next(pin for pin in pins() if pin.coordinate == REGISTRY)
        archive = _obtain(pin, cache)
        folder = cache / f"registry-{pin.sha256[:16]}"
        if not folder.exists():
            # Unpacked in a temporary folder and renamed, so that an interrupted run leaves no incomplete folder.
            with tempfile.TemporaryDirectory(dir=cache, prefix="unpacking-") as beside:
                with tarfile.open(archive) as tar:
                    tar.extractall(Path(beside, "registry"), filter="data")
                Path(beside, "registry").rename(folder)
        return folder


def pins() -> list[Pin]:
    """The entries of ``artefacts.sha256``."""
    return [Pin(*line.split()) for line in PINS.read_text().splitlines() if line and not line.startswith("#")]


@contextmanager
def locked(cache: Path) -> Iterator[Path]:
    """Let only one test run at a time fill the cache; the lock is released when the process that holds it ends."""
    with (cache / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield cache


def _obtain(pin: Pin, cache: Path) -> Path:
    """Return the artefact's path in the cache. It is fetched if it isn't there, and verified in either case."""
    path = cache / "artefacts" / pin.artifact(MavenContext(repo_cache=cache)).filename
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as beside:
            fetched = pin.artifact(MavenContext(repo_cache=Path(beside), timeout=60)).resolve()
            _verify(pin, fetched)
            fetched.replace(path)
    _verify(pin, path)
    return path


def _verify(pin: Pin, path: Path) -> None:
    found = _digest(path)
    if found != pin.sha256:
        raise ArtefactError(
            f"{path}: SHA-256 of {pin.coordinate} is {found}, pinned is {pin.sha256}; "
            f"delete the file to fetch it again, and don't pin it anew before you know why it differs"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _pin_anew() -> None:
    """Resolve the roots with their dependencies at run time, and write the pins."""
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="pinning-") as beside:
        context = MavenContext(repo_cache=Path(beside), timeout=60)
        roots = [Pin("", root).artifact(context) for root in (KAFKA, LOGGING, REGISTRY)]
        needs = context.create_dependency(KAFKA.replace(":jar::", ":"))
        _, needed = context.resolver.resolve([needs])
        artifacts = [*roots, *(dependency.artifact for dependency in needed)]
        lines = sorted(
            f"{_digest(a.resolve())}  {a.groupId}:{a.artifactId}:{a.packaging}:{a.classifier}:{a.version}"
            for a in artifacts
        )
    PINS.write_text("\n".join(sorted(lines, key=lambda line: line.split()[1])) + "\n")
    sys.stdout.write(f"{len(lines)} artefacts pinned in {PINS}\n")


if __name__ == "__main__":
    _pin_anew()
