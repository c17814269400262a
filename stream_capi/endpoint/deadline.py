"""A deadline that reads everything that has arrived before it counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A timer may fire in a pass of the loop that looked at the sockets before the program was stopped. The next pass reads them,
# and the one after it wakes the task that awaits the answer.
_PASSES = 2
_STOOD_STILL_SECONDS = 0.1  # a timer this late shows that the loop did not run


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """As ``asyncio.timeout``, but the loop reads the sockets once more before the time counts as over.

    After the loop stood still for longer than the time-out (a stopped process, a paused machine), the answer and the timer
    are due at the same time, and ``asyncio.timeout`` lets the timer win. A request that was not fully sent can't have an
    answer by then: it gets as many seconds more as the timer was late, at most ``seconds``.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.Handle
    spare = seconds

    def due(at: float, passes: int) -> None:
        nonlocal timer, spare
        late = min(loop.time() - at, spare)
        if late > _STOOD_STILL_SECONDS:
            spare -= late
            begin(late)
        elif passes:
            timer = loop.call_soon(due, loop.time(), passes - 1)
        else:
            scope.reschedule(loop.time())

    def begin(after: float) -> None:
        nonlocal timer
        at = loop.time() + after
        timer = loop.call_at(at, due, at, _PASSES)

    async with asyncio.timeout(None) as scope:
        begin(seconds)
        try:
            yield
        finally:
            timer.cancel()
