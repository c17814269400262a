"""``stream-capi`` with a part that blocks while the program ends, holding the interpreter's lock.

``LOCKED_WAY`` names the way in which the program ends. No broker is needed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from stream_capi import config
from stream_capi.app import App
from stream_capi.cli import main, process
from stream_capi.endpoint.client import EndpointClient
from stream_capi.kafka import consumer
from stream_capi.observe import logs
from stream_capi.operations import range_job

WAY = "LOCKED_WAY"


def hold_the_lock() -> None:
    """Sleep like a C function that doesn't release the lock: no other thread runs, and no time-out in Python fires."""
    with_the_lock = ctypes.PyDLL(None)
    with_the_lock.write(1, b"lock held\n", 10)
    with_the_lock.sleep(300)


class LockedClient:
    """A Kafka client whose ``close`` never returns; with ``error`` it raises that a second after its start."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error
        self._begun = time.monotonic()

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        pass

    def unsubscribe(self) -> None:
        pass

    def assignment(self) -> list[Any]:
        return []

    def memberid(self) -> str:
        return ""

    def consume(self, count: int, seconds: float) -> list[Any]:
        if self._error is not None and time.monotonic() - self._begun > 1:
            error, self._error = self._error, None
            raise error
        time.sleep(seconds)
        return []

    def list_topics(self, topic: str, timeout: float) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def close(self) -> None:
        hold_the_lock()


class NothingLeft(range_job.RangeJob):
    """A job with nothing left to do."""

    def progress(self, app: App) -> range_job.Progress:
        return range_job.Progress(0, 0, 0, 0, (), False)


async def run_job(environ: Mapping[str, str]) -> None:
    """Run a job and end as ``replay`` and ``redrive`` do."""
    logs.configure("info", "json")
    code, _ = await range_job.run(
        NothingLeft({}, 0, lambda _: None), config.load(Path(environ["LOCKED_CONFIG"])), environ
    )
    process.at_once(code)


async def _fail(_: App) -> None:
    await asyncio.sleep(1)
    raise ZeroDivisionError


async def _close_never(_: EndpointClient) -> None:
    hold_the_lock()


async def _close_late(_: EndpointClient) -> None:
    await asyncio.sleep(2)  # meanwhile the consumer's thread reaches its close


def run() -> None:
    """Run the program until it ends in the given way."""
    way = os.environ[WAY]
    errors = {"lost": KafkaException(KafkaError(KafkaError._FATAL)), "thread_bug": ZeroDivisionError()}
    setattr(consumer, "Consumer", lambda _: LockedClient(errors.get(way)))  # noqa: B010
    setattr(EndpointClient, "close", _close_never if way == "loop_bug" else _close_late)  # noqa: B010
    if way == "loop_bug":
        setattr(App, "_summarise", _fail)  # noqa: B010
    if way == "job":
        asyncio.run(run_job(os.environ))
    else:
        main()


if __name__ == "__main__":
    run()
