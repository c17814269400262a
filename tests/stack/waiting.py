"""Waiting for something that happens concurrently, in another process or on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """Poll until the condition holds. Raises AssertionError, naming ``what`` was awaited, if it doesn't within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


async def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """The same, while the event loop runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(0.01)
