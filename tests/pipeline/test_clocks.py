"""Which clock decides whether an event is in the future, and what happens to events after a wrong clock is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import pytest

from stream_capi.model import Answer, Code, Rejection, TopicPartition
from tests.simulation import EPOCH, LEADS, Line, PlainSource, simulated

P0 = TopicPartition("leads", 0)


class Timed(PlainSource):
    """A source of events whose name is their time (seconds after the start) and a number."""

    def transform(
        self, codec: Any, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Any]:
        return [self.judged(payload, now_ms) for payload in payloads]

    def judged(self, payload: bytes, now_ms: int) -> bytes | Rejection:
        at = (EPOCH + time_of(payload)) * 1000
        if at > now_ms + 600_000:
            return Rejection(Code.IN_FUTURE, "event_time")
        return Rejection(Code.TOO_OLD, "event_time") if at < now_ms - 86_400_000 else payload


def time_of(payload: bytes) -> float:
    return float(payload.decode().strip('"').split(":")[0])


class TimedLine(Line):
    """A line whose local clock is ``ahead`` by so many seconds.

    The endpoint's clock is right. So are the records' timestamps, unless a test replaces ``written``.
    """

    def __init__(self, ahead: float, status: int = 200, dates: bool = True, kind: int = 1) -> None:
        self.dates, self.status, self.kind = dates, status, kind
        super().__init__(self.answer, max_buffered_bytes=2**25)
        self.ahead = ahead

    def _new_pipeline(self) -> None:
        self.sources = {"leads": Timed("leads", LEADS)}
        super()._new_pipeline()

    def answer(self, pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        return 0.05, Answer(self.status, date=formatdate(EPOCH + now, usegmt=True) if self.dates else None)

    def written(self, value: bytes | None) -> tuple[int, int]:
        return self.kind, int((EPOCH + min(time_of(value or b"0"), 10.0)) * 1000)


@pytest.mark.parametrize("ahead", [-7200.0, -660.0, 0.0, 3600.0])
@simulated
async def test_good_events_are_delivered_whatever_the_local_clock_says(ahead: float) -> None:
    line = TimedLine(ahead)
    line.produce("leads", 0, *(f"{i / 100}:{i}" for i in range(300)))
    line.assign(P0)
    await line.run_for(20)
    assert (sum(line.dead_letters.values()), line.lag) == (0, 0)
    line.produce("leads", 0, *(f"{3600 + i}:{i}" for i in range(30)))
    await line.run_for(20)
    assert line.dead_letter_codes == {"in_future": 30}, "by the endpoint's clock, whatever the local one says"
    assert line.lag == 0
    assert line.reports["clock_differs None"] == 0
    assert sum(count for what, count in line.reports.items() if what.startswith("clock_differs")) == (ahead != 0)


@simulated
async def test_before_the_first_answer_both_the_local_clock_and_the_records_time_must_be_behind() -> None:
    line = TimedLine(-3600.0, status=500, dates=False)
    line.produce("leads", 0, *("5:good" for _ in range(20)), "2000:bad")
    line.assign(P0)
    await line.run_for(5)
    assert line.dead_letter_codes == {"in_future": 1}


@simulated
async def test_what_waits_is_judged_anew_when_the_clock_is_known() -> None:
    line = TimedLine(-3600.0, status=500, dates=False)
    line.written = lambda value: (0, -1)  # type: ignore[method-assign]  # records without a time
    line.produce("leads", 0, *(f"1:{i}" for i in range(150)))
    line.chunk = 150
    line.assign(P0)
    await line.run_for(5)
    assert line.reports["intake_held dead_letter_ratio"] == 1
    await line.run_for(200)
    assert line.pipeline.quarantine.rules("leads").total() == 150, "each event once, however often it was judged"
    line.ahead = 0.0  # the clock is corrected
    line.status, line.dates = 200, True
    await line.run_for(5)
    assert (sum(line.dead_letters.values()), line.lag) == (0, 0)
    assert not line.pipeline.quarantined_since
    assert line.reports["intake_held None"] == 0, "no dead letter was written"


@simulated
async def test_what_waits_is_judged_by_the_endpoints_clock_once_an_answer_tells_it() -> None:
    line = TimedLine(-3600.0)
    line.written = lambda value: (0, -1) if time_of(value or b"0") > 0 else (1, int(EPOCH * 1000))  # type: ignore[method-assign]
    line.produce("leads", 0, *(f"1:{i}" for i in range(150)))
    line.chunk = 150
    line.assign(P0)
    await line.run_for(5)
    assert not line.requests
    line.produce("leads", 0, "0:one")
    await line.run_for(5)
    assert (sum(line.dead_letters.values()), line.lag) == (0, 0)


@simulated
async def test_brokers_that_stamp_records_ahead_of_the_local_clock_are_a_notice() -> None:
    line = TimedLine(-300.0, dates=False, kind=2)
    line.produce("leads", 0, *(f"1:{i}" for i in range(10)))
    line.assign(P0)
    await line.run_for(5)
    differences = [what for what in line.reports if what.startswith("clock_differs")]
    assert len(differences) == 1
    assert line.pipeline.clocks.offset("brokers") == pytest.approx(-300, abs=2)
    await line.run_for(300)
    assert line.pipeline.clocks.offset("brokers") is None, "nothing was heard of them for long"
