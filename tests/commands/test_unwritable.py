"""If no file can be written, the error is one line that names the file or what needs one, without a traceback."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

_PROGRAM = [sys.executable, "-m", "stream_capi"]


def without_files(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a file-size limit of 0 bytes: for every user each write to a file fails, as on a full disk."""
    return subprocess.run(
        [*_PROGRAM, *words],
        # Without byte code: to write it for newly imported modules would exceed the limit, and a signal end Python.
        env={"PATH": os.defpath, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1", **environ},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_names_the_folder_that_it_needs() -> None:
    done = without_files("demo", "--events", "10")
    (line,) = done.stderr.splitlines()
    assert line.startswith("stream-capi: demo needs a temporary folder that can be written: set TMPDIR to one, or give")
    assert done.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_file_that_it_would_install(shell: str) -> None:
    # Otherwise Typer searches the parent processes for a shell, and there may be none.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = without_files("--install-completion", shell, HOME="/dev/null", **named)
    (line,) = done.stderr.splitlines()
    assert line.startswith("stream-capi: /dev/null")
    assert done.returncode == 2
