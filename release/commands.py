"""Runs the build tools and the programs under test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.sources import Unreleasable


def output(
    what: str,
    command: Sequence[str | Path],
    folder: Path | None = None,
    env: Mapping[str, str] = os.environ,
    seconds: float | None = None,
) -> str:
    """Run a command and return its output. If it fails, raises Unreleasable with ``what`` it was to do and all its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=env, timeout=seconds)
    if done.returncode:
        raise Unreleasable(f"{what} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
