"""Statuses as the program itself tells them, of lines in several states; for the server and the page."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stream_capi.model import Answer, TopicPartition
from tests.observe.watched import P0, V0, Watched
from tests.simulation import always, simulate


def of(arrange: Callable[[Watched], None], seconds: float, answer: Any = None) -> dict[str, Any]:
    """The status of a line that was arranged so and has run for some seconds."""

    async def run() -> dict[str, Any]:
        line = Watched(answer or (lambda pixel, ids, now: (0.08, Answer(200, seconds=0.08))))
        arrange(line)
        await line.run_for(seconds)
        line.report_ends()
        status: dict[str, Any] = line.status
        return status

    with ThreadPoolExecutor(1) as thread:  # whoever asks may be in an event loop already
        return thread.submit(lambda: simulate(run())).result()


def empty() -> dict[str, Any]:
    """A member that has just begun."""
    return of(lambda line: None, 0.1)


def _busy(line: Watched) -> None:
    line.chunk = 7
    for partition in range(3):
        line.produce("leads", partition, *(f"a{partition}-{i}" for i in range(200 + 400 * partition)), "bad", "bad")
        line.produce("views", partition, *(f"v{partition}-{i}" for i in range(500)))
    line.assign(*(TopicPartition(topic, partition) for topic in ("leads", "views") for partition in range(3)))
    for event, shares in (("generate_lead", (0.93, 0.61)), ("page_view", (0.12, 0.0))):
        line.metrics.mapped("main", event, 1000)
        for field, share in zip(("email", "phone"), shares, strict=True):
            line.metrics.identifiers("main", event, field, int(1000 * share))


def busy() -> dict[str, Any]:
    """A member at work."""
    return of(_busy, 8.05)


def held() -> dict[str, Any]:
    """A member whose key is refused."""

    def arrange(line: Watched) -> None:
        line.produce("leads", 0, *(f"a{i}" for i in range(60)))
        line.produce("views", 0, *(f"v{i}" for i in range(60)))
        line.assign(P0, V0)

    return of(arrange, 75, always(401))
