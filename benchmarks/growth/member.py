"""A member that is observed: by what the kernel counts for it, by its log and by its admin pages."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import tomli_w

from benchmarks.growth.events import pixel_name
from benchmarks.measure import Plan, Watched, watching
from benchmarks.settings import DEAD_LETTERS
from benchmarks.stack import KEY, Stack
from tests.stack.process import free_ports
from tests.stack.waiting import until

_PATIENCE = 300.0
_CLIENT_THREADS = "rdk:"  # the prefix of the names that librdkafka gives its threads
_serial = itertools.count()


def new_group() -> str:
    """The name of a group that no member has been in."""
    return f"growth-{os.getpid()}-{next(_serial)}"


def settings_of(stack: Stack, group: str, topics: Mapping[str, int], pixels: int, port: int) -> dict[str, Any]:
    """The program's defaults, with the addresses of this stack. With several pixels, each record names its own."""
    names = [pixel_name(number) for number in range(pixels)]
    to = {"pixel_field": "user_id"} if pixels > 1 else {"pixel": names[0]}
    return {
        "kafka": {"bootstrap_servers": stack.broker.bootstrap, "group_id": group},
        "schema_registry": {"url": stack.registry.url},
        "endpoint": {"url": stack.endpoint.url},
        "pixels": [{"name": name, "pixel_id": name, "api_key_env": "BENCH_KEY"} for name in names],
        "sources": [{"topic": topic, "event": "page_view", **to} for topic in topics],
        "dead_letter": {"topic": DEAD_LETTERS},
        "admin": {"port": port},
    }


class Member:
    """A running member."""

    def __init__(self, watched: Watched, port: int, log: Path) -> None:
        self.begun = watched.begun
        self.cpu = watched.cpu
        self.resident = watched.resident
        self.peak = watched.peak
        self.end = watched.end
        self._check = watched.check
        self._process = psutil.Process(watched.pid)
        self._port = port
        self._log = log

    def client_cpu(self) -> float:
        """The processor seconds of the client library's own threads."""
        seconds = 0.0
        for thread in self._process.threads():
            name = Path(f"/proc/{self._process.pid}/task/{thread.id}/comm").read_text()
            if name.startswith(_CLIENT_THREADS):
                seconds += thread.user_time + thread.system_time
        return seconds

    @property
    def partitions(self) -> int | None:
        """How many partitions it has, by its log: a request would cost it time. None before the first assignment."""
        has = None
        for line in self._log.read_text().splitlines():
            entry = json.loads(line)
            if entry.get("event") == "assigned":
                has = (has or 0) + entry["count"]
            elif entry.get("event") in ("revoked", "lost"):
                has = (has or 0) - entry["count"]
        return has

    @property
    def idles(self) -> bool:
        """Whether the member says that the group has no partition for it."""
        try:
            self.get("/readyz")
        except urllib.error.HTTPError as error:
            with error:
                return b"idle: " in error.read()
        except OSError:
            pass
        return False

    def get(self, path: str) -> bytes:
        """The body of an admin page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for a condition; returns how many seconds that took."""
        begun = time.monotonic()

        def holds() -> bool:
            self._check()
            return condition()

        until(holds, _PATIENCE, what)
        return time.monotonic() - begun


@contextmanager
def running(
    stack: Stack, group: str, topics: Mapping[str, int], pixels: int, folder: Path, name: str
) -> Iterator[Member]:
    """A running member of the group, which is stopped at the end."""
    (port,) = free_ports(1)
    file, log = folder / f"{name}.toml", folder / f"{name}.log"
    file.write_text(tomli_w.dumps(settings_of(stack, group, topics, pixels, port)))
    command = [sys.executable, "-m", "stream_capi", "run", "--config", str(file)]
    with watching(Plan(name, command, 0, 0, {"BENCH_KEY": KEY}), log) as watched:
        yield Member(watched, port, log)
