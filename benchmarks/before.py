"""The program before it mapped by columns, taken from this repository's history, for comparison in the same run."""

from __future__ import annotations

import compileall
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.stack import ROOT, environment

COMMIT = "897717c8bfeaafbb3669583463bc5d81f39dbc39"  # the last one that decoded and mapped record by record
WORKER = "benchmarks.contenders.chunks"  # the module that is run with a commit's program
_FOLDERS = {"stream_capi", "schemas"}


class NoHistory(Exception):
    """The commit is not in this repository."""


@contextmanager
def tree(repository: Path = ROOT, commit: str = COMMIT) -> Iterator[Path]:
    """A temporary folder with the program of that commit, to be run in the current environment. Raises NoHistory."""
    with tempfile.TemporaryDirectory(prefix="stream-capi-before-") as folder:
        _extract(archive(repository, commit), Path(folder))
        # Both are compiled beforehand: otherwise the first run would compile, and the start's time would be too high.
        for at in (Path(folder), ROOT):
            compileall.compile_dir(at / "stream_capi", quiet=2)
        yield Path(folder)


def _extract(archived: bytes, folder: Path) -> None:
    """Extract the program; with the commit's own worker, if it has one. Otherwise the current worker runs it."""
    with tarfile.open(fileobj=io.BytesIO(archived)) as archive:
        has_worker = WORKER.replace(".", "/") + ".py" in archive.getnames()
        wanted = _FOLDERS | {"benchmarks"} if has_worker else _FOLDERS
        archive.extractall(folder, [file for file in archive if file.name.split("/")[0] in wanted], filter="data")


def search_path(at: Path) -> dict[str, str]:
    """The environment in which ``stream_capi`` is imported from the folder, not from the installation."""
    return {"PYTHONPATH": str(at) if at == ROOT else f"{at}:{ROOT}"}


def found_in(at: Path, module: str) -> Path:
    """The file from which a process that is started for the folder imports this module."""
    command = [sys.executable, "-c", f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"]
    done = subprocess.run(command, cwd=at, env=environment(search_path(at)), check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def archive(repository: Path, commit: str) -> bytes:
    """All files of a commit as a tar. Raises NoHistory."""
    command = ["git", "-C", str(repository), "archive", "--format=tar", commit]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError as error:
        raise NoHistory(_message(repository, commit, "git is not installed")) from error
    if done.returncode:
        raise NoHistory(_message(repository, commit, done.stderr.decode(errors="replace").strip()))
    return done.stdout


def _message(repository: Path, commit: str, cause: str) -> str:
    return (
        f"the commit {commit[:12]} can't be read from {repository}: {cause}\n"
        "It takes a clone with its history: in a shallow one, `git fetch --unshallow` brings it."
    )
