"""How long ``run --workers`` takes to stop: shortly after the start, and in the middle of deliveries."""

from __future__ import annotations

import asyncio
import random
import time
from asyncio.subprocess import Process
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stream_capi import config
from stream_capi.sandbox.fault_script import Action
from stream_capi.workers import supervisor
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.process import free_ports
from tests.stack.waiting import until

NOWHERE = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
[endpoint]
url = "http://127.0.0.1:1/"
[[pixels]]
name = "main"
pixel_id = "p"
api_key_env = "KEY"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
framing = "raw"
schema_file = "{schema}"
[admin]
port = {port}
"""
STOPS = 20


async def test_a_stop_that_is_asked_for_while_a_worker_starts_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k")
    file = tmp_path / "settings.toml"
    (port,), schema = free_ports(1), Path(__file__).parents[2] / "schemas" / "lead.avsc"
    file.write_text(NOWHERE.format(schema=schema, port=port))
    watcher = supervisor.Workers(config.load(file, workers=2), file, 2)
    make, started = asyncio.create_subprocess_exec, count(1)

    async def slow(*command: Any, **options: Any) -> Process:
        if next(started) == 2:  # the first worker runs, and the watcher is now told to stop
            watcher.stop_asked.set()
            await asyncio.sleep(0.2)
        return await make(*command, **options)

    monkeypatch.setattr("asyncio.create_subprocess_exec", slow)
    begun = time.monotonic()
    assert await watcher.run() == 0, "nothing was in flight that could be cut off"
    assert time.monotonic() - begun < 15, "it was left to the end of the grace"


@pytest.mark.real
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_every_stop_of_two_workers_under_lag_is_short(
    tmp_path: Path, broker: Broker, registry: Registry, protocol: str
) -> None:
    """Every other stop comes within two seconds of the start, while the workers join; the rest during deliveries."""
    chance, took = random.Random(9), []
    sections: dict[str, dict[str, Any]] = {
        "shutdown": {"drain_seconds": 25},
        "batch": {"max_events": 10},
        "kafka": {"properties": {"group.protocol": protocol}},
    }
    with Scene(tmp_path, broker, registry, 4, lambda request: Action(delay_seconds=0.5), sections=sections) as scene:
        scene.produce(40_000)
        for turn in range(STOPS):
            before = sum(scene.endpoint.answered().values())
            with Program(scene.folder, scene.settings, name=f"watcher-{turn}") as watcher:
                watcher.start("--workers", "2")
                if turn % 2:
                    until(lambda b=before: sum(scene.endpoint.answered().values()) > b + 100, 60, "deliveries")  # type: ignore[misc]
                time.sleep(chance.uniform(0, 2))
                begun = time.monotonic()
                code = watcher.terminate(40)
                took.append(round(time.monotonic() - begun, 1))
                assert code == 0, watcher.output
                assert took[-1] < 5, watcher.output
    print(f"{protocol}: early {took[::2]}, under way {took[1::2]}")  # noqa: T201 -- for docs/reliability.md
