"""From batches to outcomes: sends the batches of all lanes, a bounded number of requests at once (contract, section 6).

The endpoint's side of the pipeline. It knows nothing of Kafka: a batch carries its events' positions along, and returns to
its owner through two callbacks, ``delivered`` and ``refused``. ``lane`` decides what an answer means for a batch and its
lane; this module has what awaits: the loop, the requests, the drain. An exception in either module is a bug and ends the
process; nothing is committed for what was under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from stream_capi.core.batch import Batch
from stream_capi.core.clock import Clocks
from stream_capi.core.flow import Announced, Gate
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.outcomes import RefusedBatch, classify
from stream_capi.model import Answer, ApiError, Columns, Lane
from stream_capi.pipeline.delivery_rules import DeliveryRules
from stream_capi.pipeline.lane import LaneLine
from stream_capi.pipeline.request_limits import RequestLimits


class DeliveryObserver(Protocol):
    """What the delivery reports, for people and for the metrics."""

    def request(self, pixel: str, status: str, seconds: float) -> None: ...
    def batch(self, n_events: int) -> None: ...
    def gate_changed(self, subject: str, gate: Gate) -> None: ...
    def api_said(self, pixel: str, status: str, said: ApiError) -> None: ...


class Clock(NamedTuple):
    """Sources of time and randomness: seconds of a monotonic clock, epoch seconds, and a number in [0, 1)."""

    now: Callable[[], float]
    epoch: Callable[[], float]
    random: Callable[[], float]


class Delivery:
    """Sends the batches of all lanes, at most ``max_in_flight`` at once."""

    def __init__(
        self,
        rules: DeliveryRules,
        lanes: Iterable[Lane],
        post: Callable[[Batch], Awaitable[Answer]],
        delivered: Callable[[Batch], None],
        refused: Callable[[Batch, str], None],
        observer: DeliveryObserver,
        clock: Clock,
    ) -> None:
        self._max_in_flight = rules.max_in_flight
        self._post = post
        self._observer = observer
        self._clock = clock
        self.clocks = Clocks(clock.now, clock.epoch)
        self.pixel_gates: dict[str, Gate] = {}
        self.lanes: dict[Lane, LaneLine] = {}
        for lane in lanes:
            gate = self.pixel_gates.setdefault(lane.pixel, Gate(rules.backoff, rules.probe_seconds))
            self.lanes[lane] = LaneLine(lane, gate, rules, delivered, refused, clock.random)
        if rules.try_key_first:
            for gate in self.pixel_gates.values():
                gate.one_at_a_time(clock.now())
        self.key_of: Callable[[str], Hashable] = lambda pixel: pixel
        self._limits = RequestLimits(
            rules.max_requests_per_second, rules.max_refusals, self.pixel_gates, lambda pixel: self.key_of(pixel)
        )
        self._announced = {pixel: Announced(gate) for pixel, gate in self.pixel_gates.items()}
        self._announced |= {str(lane): Announced(line.gate) for lane, line in self.lanes.items()}
        # Some slots stay free for other lanes: otherwise one slow lane would block the others until its requests time out.
        spare = min(len(self.lanes) - 1, rules.max_in_flight // 2)
        self._lane_cap = max(1, rules.max_in_flight - spare)
        self._turn: deque[LaneLine] = deque(self.lanes.values())
        self.in_flight = 0
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def add(
        self, lane: Lane, payloads: Sequence[bytes], columns: Columns, owner: PartitionOffsets, window: float
    ) -> None:
        """Add events of one partition to their lane's batch. ``window`` in seconds."""
        if self.lanes[lane].add(payloads, columns, owner, self._clock.now(), window):
            self._wake.set()

    async def run(self) -> None:
        """The loop: send what may be sent, sleep until the next moment that matters."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as self._group:
            while True:
                self._wake.clear()
                due = self.tick()
                alarm = None if due is None else loop.call_later(max(0.0, due - self._clock.now()), self._wake.set)
                await self._wake.wait()
                if alarm is not None:
                    alarm.cancel()

    def tick(self) -> float | None:
        """Move what is due, start what may start, and return when to look again (None: when woken)."""
        now = self._clock.now()
        waiting = [line for line in self.lanes.values() if line.waits]  # of a hundred lanes mostly a few
        for line in waiting:
            line.advance(now)
        self._limits.review(now)
        if any(line.ready for line in waiting):
            self._dispatch(now)
        self._report_gates(now)
        return min(self._moments(waiting, now), default=None)

    def _moments(self, waiting: Iterable[LaneLine], now: float) -> Iterator[float]:
        for line in waiting:
            yield from line.moments(now)
        yield from (announced.again() for announced in self._announced.values() if not announced.settled)
        if (room := self._limits.again(now)) is not None:
            yield room

    def _dispatch(self, now: float) -> None:
        """Start requests, the lanes in turn, until all slots are taken or no lane has anything to send."""
        idle = 0
        while self.in_flight < self._max_in_flight and idle < len(self._turn):
            line = self._turn[0]
            self._turn.rotate(-1)
            may_go = line.ready and len(line.in_flight) < self._lane_cap and self._limits.admits(line.lane.pixel, now)
            batch = line.take(now) if may_go else None
            if batch is None:
                idle += 1
                continue
            idle = 0
            self.in_flight += 1
            self._limits.sent(line.lane.pixel, now)
            assert self._group is not None  # noqa: S101 -- batches come only while run does
            self._group.create_task(self._exchange(line, batch, now))

    async def _exchange(self, line: LaneLine, batch: Batch, sent_at: float) -> None:
        answer = await self._post(batch)
        self.clocks.answered(answer.date, sent_at)
        self.in_flight -= 1
        self._observer.request(line.lane.pixel, str(answer.status or answer.fault), answer.seconds)
        self._observer.batch(len(batch))
        if answer.said is not None:
            self._observer.api_said(line.lane.pixel, str(answer.status), answer.said)
        now = self._clock.now()
        outcome = classify(answer, self._clock.epoch())
        self._limits.answered(line.lane.pixel, isinstance(outcome, RefusedBatch), now)
        line.conclude(batch, answer, outcome, sent_at, now)
        self._limits.review(now)
        self._report_gates(now)
        self._wake.set()
        self._signal_change()

    def _report_gates(self, now: float) -> None:
        for subject, announced in self._announced.items():
            if not announced.settled and announced.due(now):
                self._observer.gate_changed(subject, announced.gate)

    # For the owner: keys, drains and hand-overs

    @property
    def in_flight_limit(self) -> int:
        """How many requests the lanes' limits allow together."""
        return min(self._max_in_flight, sum(line.limiter.limit for line in self.lanes.values()))

    def probe_at_once(self, pixel: str) -> None:
        """The pixel's key has changed: try it now."""
        if gate := self.pixel_gates.get(pixel):
            gate.one_at_a_time(self._clock.now())
            gate.key_unproven = False
            for its in (gate, *(line.gate for lane, line in self.lanes.items() if lane.pixel == pixel)):
                its.probe_at_once(self._clock.now())
            self._wake.set()

    def send_open(self) -> None:
        """Send the open batches, those that may go now."""
        for line in self.lanes.values():
            line.close()
        self.tick()

    async def drain(self, concerns: Callable[[Batch], bool], deadline: float) -> bool:
        """Await the requests in flight that ``concerns`` picks, until ``deadline``. True: none is left."""
        while any(concerns(batch) for line in self.lanes.values() for batch in line.in_flight):
            left = deadline - self._clock.now()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return True

    def forget_fenced(self) -> None:
        """Drop the events whose assignment has ended from everything that isn't in flight."""
        now = self._clock.now()
        for line in self.lanes.values():
            line.forget_fenced(now)
        self._report_gates(now)
        self._wake.set()
        self._signal_change()

    def _signal_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
