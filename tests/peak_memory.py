"""How much memory a process has had at most."""

from __future__ import annotations

import re
from pathlib import Path


def peak_memory(process: int | str = "self") -> int:
    """The peak of a process's resident memory since it began, bytes. Raises ProcessLookupError once it has ended.

    From /proc, since the usage that ``wait4`` returns includes the memory of the forking process.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    if found is None:  # it has ended, and nobody has waited for it yet
        raise ProcessLookupError(process)
    return int(found[1]) * 1024
