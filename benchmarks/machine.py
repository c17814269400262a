"""The machine of a measurement, and its other load."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

_PACKAGES = ("confluent-kafka", "aiohttp", "orjson", "fastavro")


def described() -> str:
    """The machine in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown processor",
    )
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    system = f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB; {system}; {packages}"


class Load:
    """The machine's load besides this process and its children, since this object was created."""

    def __init__(self) -> None:
        self._before, self._cpu, self._own = os.getloadavg()[0], _spent(), _own()

    def summary(self) -> str:
        """The load in one line. Call it after all children have ended: only then does the kernel count their time as ours."""
        total, busy, stolen = (now - then for now, then in zip(_spent(), self._cpu, strict=True))
        others = max(0.0, busy - (_own() - self._own))
        return (
            f"load average of the minute before {self._before:.1f}; while it ran, other processes took {others / total:.0%} "
            f"of the processors' time, and the host {stolen / total:.0%}"
        )


def busy_seconds() -> float:
    """Seconds that the machine's processors have been busy, together, since it started."""
    return _spent()[1]


def _spent() -> tuple[float, float, float]:
    """Seconds of all processors: total, busy, and stolen by the host."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq
    return busy + times.idle + times.iowait + times.steal, busy, times.steal


def _own() -> float:
    return sum(os.times()[:4])


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
