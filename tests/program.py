"""The program as users run it: a process with a configuration file, observed from outside."""

from __future__ import annotations

import json
import os
import signal
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import tomli_w

from stream_capi.model import TopicPartition
from tests.config.json_schema import refused
from tests.peak_memory import peak_memory
from tests.stack.process import Server, free_ports
from tests.stack.waiting import until

KEY = "canary-key-5f1d7c0a9b"
PIXEL_ID = "pixel-1"
DEAD_LETTERS = "dead-letters"


def configuration(
    bootstrap: str,
    registry: str | None,
    endpoint_url: str,
    group: str,
    sources: Sequence[Mapping[str, Any]],
    dead_letters: str,
    **sections: Any,
) -> dict[str, Any]:
    """The settings of a test, with shorter times than the defaults.

    The time-out of a request is longer than the default: the endpoint shares its process with the test, and on a busy
    machine an answer that takes a fraction of a second may take several. A test whose endpoint hangs sets its own.
    """
    settings: dict[str, Any] = {
        "kafka": {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "commit_interval_ms": 100,
            "properties": {"reconnect.backoff.max.ms": 1000},
        },
        "endpoint": {"url": endpoint_url, "timeout_seconds": 30},
        "pixels": [{"name": "main", "pixel_id": PIXEL_ID, "api_key_env": "CAPI_TEST_KEY"}],
        "sources": [{"pixel": "main", **source} for source in sources],
        "batch": {"window_ms": 100},
        "delivery": {"backoff_initial_ms": 50, "backoff_max_ms": 1000, "probe_seconds": 1},
        "dead_letter": {"topic": dead_letters},
        "shutdown": {"drain_seconds": 10},
        "log": {"level": "debug", "format": "json"},
    }
    if registry is not None:
        settings["schema_registry"] = {"url": registry}
    for section, keys in sections.items():
        if isinstance(keys, Mapping):
            settings[section] = _merged(settings.get(section, {}), keys)
        else:
            settings[section] = keys
    return settings


def _merged(into: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(into)
    for key, value in new.items():
        merged[key] = _merged(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


class Program:
    """One ``stream-capi run`` with its own admin port and log. ``module`` is run instead of the program.

    ``python`` is the interpreter of another environment with another release of the program.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        key: str = KEY,
        name: str = "member",
        module: str = "stream_capi",
        env: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        self.name = name
        (self.port,) = free_ports(1)
        self._server = Server(f"capi-{name}")
        self._file = folder / f"{name}.toml"
        text = tomli_w.dumps(_merged(settings, {"admin": {"port": self.port}}))
        assert refused(tomllib.loads(text)) == [], "the JSON Schema takes what is run"
        self._file.write_text(text)
        self._module = module
        self._python = python
        self._kept: str | None = None
        self._env = {"CAPI_TEST_KEY": key, "PYTHONUNBUFFERED": "1", "TZ": "UTC", **(env or {})}

    def start(self, *options: str, ready: bool = False) -> Self:
        """Start, and wait until it answers at ``/healthz``; with ``ready``, until it is ready."""
        self.spawn(*options)
        self._server.await_ready(self.is_ready if ready else self.is_alive, 60)
        return self

    def spawn(self, *options: str) -> None:
        """Start without waiting for anything."""
        python = str(self._python or sys.executable)
        env = self._env if self._python else {**self._env, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._server.spawn([python, "-m", self._module, "run", "--config", str(self._file), *options], env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._kept = self.output
        self._server.remove()

    @property
    def process(self) -> psutil.Process:
        """The process, for its memory and its open files."""
        return psutil.Process(self._server.pid)

    def peak_memory(self) -> int:
        """The peak of the resident memory since the start, bytes."""
        return peak_memory(self._server.pid)

    @property
    def running(self) -> bool:
        return self._server.running

    @property
    def output(self) -> str:
        """Everything that it has printed; kept after its context has ended."""
        if self._kept is not None:
            return self._kept
        return self._server.log.read_text(errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an admin page; the status is 0 if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_alive(self) -> bool:
        return self.get("/healthz")[0] == 200

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def status(self) -> dict[str, Any]:
        """The document at ``/status``."""
        code, text = self.get("/status")
        assert code == 200, f"/status answered {code}"
        found: dict[str, Any] = json.loads(text)
        return found

    def owned(self) -> set[TopicPartition]:
        """The partitions that it owns, from ``/status``."""
        return {TopicPartition(entry["topic"], entry["partition"]) for entry in self.status()["partitions"]}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            given, _, value = line.rpartition(" ")
            if given.partition("{")[0] == name and all(f'{key}="{text}"' in given for key, text in labels.items()):
                total += float(value)
        return total

    def terminate(self, seconds: float = 30) -> int:
        """Send SIGTERM and return the exit code. Raises AssertionError if it takes longer."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait for its end, and return the exit code. Raises AssertionError if it takes longer."""
        until(lambda: not self.running, seconds, "the program's end")
        code = self._server.exit_code
        assert code is not None
        return code

    def kill(self) -> None:
        self._server.kill()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._server.pid, number)
