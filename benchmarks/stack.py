"""The services that contenders use: a broker whose data is kept between runs, a registry, and the endpoint's process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import Broker, Registry
from tests.stack.process import Server, free_ports

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
PIXEL_ID, KEY = "bench-pixel", "bench-key"

_BROKER = {
    "log.retention.ms": "-1",  # the backlog is kept as long as the folder
    "broker.session.timeout.ms": "9000",  # a killed run leaves a session, and the next run waits until it times out
    "group.max.session.timeout.ms": "1800000",
}


class KeptBroker(Broker):
    """A broker whose data is kept when it stops."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_BROKER)
        folder.mkdir(parents=True, exist_ok=True)
        self._own().folder = folder
        self._own().log = folder / "server.log"

    def stop(self) -> None:
        """Shut down in order; keep the data."""
        self._own().terminate()
        self._admin = None


class EndpointProcess:
    """The endpoint's process (``benchmarks.endpoint``), and requests for its counts."""

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self._server = Server("bench-endpoint")
        self.url = f"http://127.0.0.1:{self._port}/v1/event"

    def start(self) -> EndpointProcess:
        command = [sys.executable, "-m", "benchmarks.endpoint", "--port", str(self._port)]
        self._server.launch(command, {"PYTHONPATH": str(ROOT)}, self._answers)
        return self

    def stop(self) -> None:
        self._server.kill()
        self._server.remove()

    def reset(self, latency: float = 0.0, record: str = "") -> None:
        """Forget what was counted. ``latency`` in seconds; ``record`` is ``hashes`` or ``ages`` of each event, or nothing."""
        self._ask(f"/reset?latency={latency}&record={record}")

    def events(self) -> int:
        """Events answered with a 200 since the reset."""
        return int(self._ask("/counts")["events"])

    def digest(self) -> dict[str, Any]:
        """How many events there were, how many different ones, and one digest of all different ones."""
        return self._ask("/digest")

    def ages(self) -> list[float]:
        """The milliseconds of each event from its own time to its 200."""
        found: list[float] = self._ask("/ages")["ages"]
        return found

    def _ask(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def _answers(self) -> bool:
        try:
            self._ask("/counts")
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Stack:
    """All services that contenders use."""

    broker: Broker
    registry: Registry
    endpoint: EndpointProcess


@contextmanager
def running(data: Path = CACHE / "broker") -> Iterator[Stack]:
    """The services, started and stopped. A lock allows one benchmark at a time: two would disturb each other.

    :param data: the folder of the broker's data.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack, (CACHE / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        broker, registry, endpoint = KeptBroker(data), Registry(), EndpointProcess()
        stack.callback(broker.stop)
        broker.start()
        stack.callback(registry.stop)
        registry.start()
        stack.callback(endpoint.stop)
        yield Stack(broker, registry, endpoint.start())


def forget() -> None:
    """Delete the broker's data. Only before the services are started."""
    shutil.rmtree(CACHE / "broker", ignore_errors=True)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a contender's process: nothing of ours that it doesn't need, so that runs are alike."""
    return {"PATH": os.defpath, "HOME": str(CACHE), "PYTHONPATH": str(ROOT), "TZ": "UTC", **extra}
