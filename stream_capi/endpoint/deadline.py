"""A deadline before which everything that has arrived is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A timer may fire in a pass of the loop that looked at the sockets before the program was stopped. The next pass reads them,
# and the one after it wakes the task that awaits the answer.
_PASSES = 2


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """As ``asyncio.timeout``, but the loop reads the sockets once more before the time counts as over.

    A loop that stood still for longer than the time-out (a stopped process, a paused machine) finds the answer and the
    timer at once, and ``asyncio.timeout`` lets the timer win.
    """
    loop = asyncio.get_running_loop()

    timer: asyncio.Handle

    def due(passes: int) -> None:
        nonlocal timer
        if passes:
            timer = loop.call_soon(due, passes - 1)
        else:
            scope.reschedule(loop.time())

    async with asyncio.timeout(None) as scope:
        timer = loop.call_later(seconds, due, _PASSES)
        try:
            yield
        finally:
            timer.cancel()
