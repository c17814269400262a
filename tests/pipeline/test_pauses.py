"""Pauses that the API asks for: no storm of requests, no flood of log lines, and dates relative to the API's clock."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate

import pytest

from stream_capi.model import Answer, TopicPartition
from tests.simulation import EPOCH, Line, simulated

P0 = TopicPartition("leads", 0)


def pauses(line: Line) -> int:
    """How many log lines there would be."""
    return sum(count for what, count in line.reports.items() if what.startswith("main"))


@pytest.mark.slow
@pytest.mark.parametrize("retry_after", ["0", formatdate(EPOCH - 3600, usegmt=True), None])
@pytest.mark.parametrize("statuses", [(429,), (429, 200), (503, 429, 429, 200)])
@simulated
async def test_a_pause_of_nothing_makes_no_storm(retry_after: str | None, statuses: Sequence[int]) -> None:
    count = 0

    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        nonlocal count
        count += 1
        return 0.01, Answer(statuses[count % len(statuses)] if now < 15 else 200, retry_after=retry_after)

    line = Line(answering, max_in_flight=16)
    line.produce("leads", 0, *(f"a{i}" for i in range(3000)))
    line.assign(P0)
    await line.run_for(15)
    refused = sum(status != 200 for *_, status in line.requests)
    assert refused < 120, "at most a few in each pause of the own back-off"
    assert pauses(line) <= 16, "a line a second"
    await line.run_for(120)
    assert line.lag == 0
    assert set(line.accepted.values()) == {1}


@simulated
async def test_pauses_grow_while_nothing_is_taken_and_not_with_the_size_of_a_wave() -> None:
    line = Line(lambda pixel, ids, now: (0.01, Answer(429 if now < 100 else 200, retry_after="0")), max_in_flight=16)
    line.produce("leads", 0, *(f"a{i}" for i in range(1000)))
    line.assign(P0)
    await line.run_for(100)
    waves = sorted({round(at, 1) for at, *_ in line.requests})
    assert len([at for at in waves if at < 2]) > 1, "sixteen answers of one wave are one pause"
    assert len(line.requests) < 60
    await line.run_for(70)
    assert line.lag == 0


@pytest.mark.parametrize("ahead", [-3600.0, -300.0, 0.0, 300.0, 3600.0])
@simulated
async def test_a_date_is_measured_by_the_clock_that_wrote_it(ahead: float) -> None:
    """``ahead``: by how many seconds the local clock is ahead of the endpoint's."""

    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        theirs = EPOCH + now - ahead
        if now >= 5:
            return 0.01, Answer(200)
        return 0.01, Answer(429, retry_after=formatdate(theirs + 20, usegmt=True), date=formatdate(theirs, usegmt=True))

    line = Line(answering)
    line.produce("leads", 0, *(f"a{i}" for i in range(10)))
    line.assign(P0)
    await line.run_for(60)
    first, second = (at for at, *_ in line.requests)
    assert second - first == pytest.approx(20, abs=0.1)
