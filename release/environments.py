"""Runs the wheel alone, in an empty environment of each Python that the project supports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from release.commands import output
from release.sources import Unreleasable

SUPPORTED = ("3.11", "3.12", "3.13")
NEXT = "3.14"  # tried if it is installed
_EVENTS = 1000


def interpreter(wanted: str) -> Path | None:
    """A Python of this minor version: the one on the path, otherwise the newest of pyenv's."""
    found = sorted((_pyenv() / "versions").glob(f"{wanted}.*/bin/python"), key=_patch)
    on_path = shutil.which(f"python{wanted}")
    for place in [*([Path(on_path)] if on_path else []), *reversed(found)]:
        if _says(place, "import sys; print('{}.{}'.format(*sys.version_info))") == wanted:
            return place
    return None


def try_wheel(python: Path, wheel: Path, lock: Path, folder: Path) -> str:
    """Install the locked packages and the wheel, run the demo, and return the Python's version. Raises Unreleasable."""
    folder.mkdir(parents=True)
    _run([python, "-m", "venv", folder / "venv"], folder)
    inside = folder / "venv" / "bin"
    wanted: list[list[str | Path]] = [["--require-hashes", "--requirement", lock], ["--no-deps", wheel]]
    for words in wanted:
        _run([inside / "python", "-m", "pip", "install", "--quiet", *words], folder)
    _run([inside / "python", "-m", "pip", "check"], folder)
    done = _run([inside / "stream-capi", "demo", "--events", str(_EVENTS), "--json"], folder)
    if json.loads(done).get("holds") is not True:
        raise Unreleasable(f"the demo's ledger doesn't hold under {python}: {done}")
    return _says(inside / "python", "import platform; print(platform.python_version())")


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def _patch(python: Path) -> int:
    digits = python.parts[-3].rpartition(".")[2]
    return int(digits) if digits.isdigit() else -1


def _says(python: Path, program: str) -> str:
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _run(command: Sequence[str | Path], folder: Path) -> str:
    # Without the caller's variables that could make packages visible that the new environment doesn't have.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env |= {"PATH": os.defpath, "HOME": str(folder)}
    return output(" ".join(map(str, command)), command, folder, env, seconds=600)
