"""The previous release, built from this repository's history and installed into a separate environment."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from benchmarks.before import archive

COMMIT = "d4872d5ce1d620fe375f0dc6b67e7d3097e69d49"  # 0.1.0, which has no tag
_ROOT = Path(__file__).parents[2]


def installed(folder: Path, repository: Path = _ROOT) -> Path:
    """Create an environment in ``folder`` with the wheel of 0.1.0, and return its interpreter. Raises NoHistory.

    Only the program is the previous release: its dependencies are those of this environment, which satisfy its requirements.
    """
    venv.create(folder)
    python = folder / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    with zipfile.ZipFile(_wheel(repository, folder)) as wheel:
        wheel.extractall(packages)  # noqa: S202 -- of our own history
    # Python doesn't read .pth files in a folder that a .pth file names. So this environment's editable install is not found.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _wheel(repository: Path, folder: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as source:
        with tarfile.open(fileobj=io.BytesIO(archive(repository, COMMIT))) as tar:
            tar.extractall(source, filter="data")
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), source]
        done = subprocess.run(build, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"the wheel of {COMMIT[:12]} can't be built:\n{done.stdout}{done.stderr}"
    (wheel,) = folder.glob("*.whl")
    return wheel
