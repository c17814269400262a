"""``stream-capi`` with a part that never ends on the way out, and holds the interpreter's lock meanwhile.

``LOCKED_WAY`` names the way out that is taken. No broker is asked for anything.
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
    """Sleep as a C function does that was called with the lock held: no other thread runs, and no deadline passes."""
    with_the_lock = ctypes.PyDLL(None)
    with_the_lock.write(1, b"lock held\n", 10)
    with_the_lock.sleep(300)


class LockedClient:
    """A Kafka client whose close never ends, and that fails a second after its start if ``error`` is given."""

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
    """A job that is at its end as it begins."""

    def progress(self, app: App) -> range_job.Progress:
        return range_job.Progress(0, 0, 0, 0, (), False)


async def run_job(environ: Mapping[str, str]) -> None:
    """The end of ``replay`` and ``redrive``."""
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
    await asyncio.sleep(2)  # the consumer's thread comes to its close meanwhile


def run() -> None:
    """Take the way out."""
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
