"""Waiting on the event loop for something that happens concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll until the condition holds. Raises AssertionError, naming ``what`` was awaited, if it doesn't within the time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(0.01)
