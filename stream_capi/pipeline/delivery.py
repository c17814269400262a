"""From batches to outcomes: lanes, gates, retries and the bounded number of requests in flight (contract, section 6).

The endpoint's side of the pipeline. It learns nothing of Kafka: a batch carries its events' positions along, and goes back
to its owner through two callbacks, ``delivered`` and ``refused``.

What must hold here: a batch is in exactly one place at a time (open, ready, delayed, in flight or gathered by a split), and
leaves it only for another or for a callback. An exception in this module is a bug and ends the process with nothing
committed for what was under way.

Over 400 lines, because each of these moves changes a lane and its gates together: read apart, no part shows that a batch
is in one place.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import NamedTuple, Protocol

from stream_capi.core.batch import Batch, Batcher, Split, merged
from stream_capi.core.clock import Clocks
from stream_capi.core.flow import Announced, Backoff, Gate, GateState, Limiter, SizeLimit
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.outcomes import (
    Delivered,
    Outcome,
    Refused,
    SetUpFault,
    Throttled,
    Transient,
    classify,
)
from stream_capi.core.ratio_guard import RatioGuard
from stream_capi.model import Answer, Columns, Lane

_REQUEST_TIMEOUT = 408  # somebody on the way gave up waiting for the request


class DeliveryObserver(Protocol):
    """What the delivery tells for people and for the metrics."""

    def request(self, pixel: str, status: str, seconds: float) -> None: ...
    def batch(self, n_events: int) -> None: ...
    def gate_changed(self, subject: str, gate: Gate) -> None: ...


class Clock(NamedTuple):
    """Where time and chance come from: seconds of a monotonic clock, epoch seconds, and a number in [0, 1)."""

    now: Callable[[], float]
    epoch: Callable[[], float]
    random: Callable[[], float]


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The settings of sections ``[batch]``, ``[delivery]`` and ``[dead_letter]`` that count here. Seconds and bytes."""

    max_events: int
    max_bytes: int
    max_in_flight: int
    backoff: Backoff
    max_split_requests: int
    probe_seconds: float
    max_dead_letter_ratio: float
    lane_ratios: Mapping[Lane, float] = field(default_factory=dict)  # where it is another for all that feed the lane


class LaneLine:
    """One lane: its open batch, what is ready or delayed, and its own gate, limit and guard."""

    def __init__(self, lane: Lane, pixel_gate: Gate, rules: DeliveryRules) -> None:
        self.lane = lane
        self.pixel_gate = pixel_gate
        self.gate = Gate(rules.backoff, rules.probe_seconds)
        self.limiter = Limiter(rules.max_in_flight)
        self.size_limit = SizeLimit(rules.max_events)
        self.guard = RatioGuard(rules.lane_ratios.get(lane, rules.max_dead_letter_ratio))
        self.batcher = Batcher(lane, rules.max_events, rules.max_bytes)
        self.ready: deque[Batch] = deque()
        self.delayed: list[tuple[float, int, Batch]] = []
        self.in_flight: list[Batch] = []

    @property
    def held(self) -> bool:
        """Whether a person should be told, and intake for this lane should rest."""
        return self.gate.held or self.pixel_gate.held

    @property
    def has_probe(self) -> bool:
        """Whether there is anything to probe with that could open what is held.

        For a lane that is held, events that were refused already are not: were the intake to rest with nothing but poison
        in hand, each probe would be refused, and the good events that could show it for poison would never be read.
        """
        batches = chain(self.ready, (batch for _, _, batch in self.delayed), self.in_flight)
        return any(self.pixel_gate.held or not batch.refused for batch in batches)

    def next(self) -> Batch:
        """Take the batch that is to be sent next: while the lane is held, first what has not been refused."""
        if self.gate.held:
            for at, batch in enumerate(self.ready):
                if not batch.refused:
                    del self.ready[at]
                    return batch
        return self.ready.popleft()

    def opens_at(self) -> float:
        """When the next request of this lane may go, as far as the gates say."""
        return max(self.gate.opens_at, self.pixel_gate.opens_at)

    def admits(self, now: float) -> bool:
        """Whether a request of this lane may go now."""
        return self.gate.admits(now) and self.pixel_gate.admits(now) and len(self.in_flight) < self.limiter.limit

    def due(self, now: float) -> bool:
        """Whether the open batch goes now: its window has ended, or it may go early and nothing stands in its way."""
        deadline, early = self.batcher.deadline(), self.batcher.early()
        if deadline is None or early is None:
            return False
        return deadline <= now or (early <= now and self.idle and self.admits(now))

    @property
    def idle(self) -> bool:
        """Whether the lane waits for no answer and has nothing to send but its open batch."""
        return not (self.ready or self.delayed or self.in_flight)

    def batches(self) -> Iterator[Batch]:
        """Every batch that isn't in flight."""
        yield from self.ready
        yield from (batch for _, _, batch in self.delayed)
        if batch := self.batcher.peek():
            yield batch


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
        self._rules = rules
        self._post = post
        self._delivered = delivered
        self._refused = refused
        self._observer = observer
        self._clock = clock
        self.clocks = Clocks(clock.now, clock.epoch)
        self._sequence = count()
        self.pixel_gates: dict[str, Gate] = {}
        self.lanes: dict[Lane, LaneLine] = {}
        for lane in lanes:
            gate = self.pixel_gates.setdefault(lane.pixel, Gate(rules.backoff, rules.probe_seconds))
            self.lanes[lane] = LaneLine(lane, gate, rules)
        self._announced = {pixel: Announced(gate) for pixel, gate in self.pixel_gates.items()}
        self._announced |= {str(lane): Announced(line.gate) for lane, line in self.lanes.items()}
        # Some slots stay free for the other lanes, or one slow lane would stop the others for as long as its time-outs.
        spare = min(len(self.lanes) - 1, rules.max_in_flight // 2)
        self._lane_cap = max(1, rules.max_in_flight - spare)
        self._turn: deque[LaneLine] = deque(self.lanes.values())
        self.in_flight = 0
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    # Coming in

    def add(
        self, lane: Lane, payloads: Sequence[bytes], columns: Columns, owner: PartitionOffsets, window: float
    ) -> None:
        """Add events of one partition to their lane's batch. ``window`` in seconds."""
        line = self.lanes[lane]
        moments = line.batcher.deadline(), line.batcher.early()
        full = line.batcher.add(payloads, columns, owner, self._clock.now(), window)
        line.ready.extend(full)
        if full or moments != (line.batcher.deadline(), line.batcher.early()):
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
        for line in self.lanes.values():
            if line.due(now) and (batch := line.batcher.flush()):
                line.ready.append(batch)
            while line.delayed and line.delayed[0][0] <= now:
                line.ready.appendleft(heapq.heappop(line.delayed)[2])
        self._dispatch(now)
        self._tell_gates(now)
        return min(self._moments(now), default=None)

    def _moments(self, now: float) -> Iterator[float]:
        for line in self.lanes.values():
            if (deadline := line.batcher.deadline()) is not None:
                yield deadline
            if (early := line.batcher.early()) is not None and early > now and line.idle:
                yield early
            if line.delayed:
                yield line.delayed[0][0]
            if line.ready and line.opens_at() > now:
                yield line.opens_at()
        for announced in self._announced.values():
            if (again := announced.again()) < float("inf"):
                yield again

    # Going out

    def _dispatch(self, now: float) -> None:
        idle = 0
        while self.in_flight < self._rules.max_in_flight and idle < len(self._turn):
            line = self._turn[0]
            self._turn.rotate(-1)
            sent = line.ready and len(line.in_flight) < self._lane_cap and line.admits(now) and self._send(line, now)
            idle = 0 if sent else idle + 1

    def _send(self, line: LaneLine, now: float) -> bool:
        """Take the lane's next batch and send it. False when there was nothing to send of it."""
        batch = line.next()
        live = batch.without_fenced()
        if not live or (live.split is not None and live.split.spent):
            if live and live.split is not None:
                self._gather(line, live, live.split.parked, now)
            else:
                self._drop_piece(line, batch, now)
            return bool(line.ready)
        if len(live) > line.size_limit.limit:
            live = self._cut(line, live)
        if live.split is not None:
            live.split.budget -= 1
        line.gate.sent(now)
        line.pixel_gate.sent(now)
        live.attempts += 1
        line.in_flight.append(live)
        self.in_flight += 1
        assert self._group is not None  # noqa: S101 -- tick runs only inside run
        self._group.create_task(self._exchange(line, live, now))
        return True

    def _cut(self, line: LaneLine, batch: Batch) -> Batch:
        """As many events of a batch as the line carries in time; the rest stays in front, under the same ids."""
        limit = line.size_limit.limit
        line.ready.appendleft(batch.part(range(limit, len(batch))))
        if batch.split is not None:
            batch.split.pending += 1
            batch.split.budget += 1  # cut for the line's sake, not to find out more
        return batch.part(range(limit))

    async def _exchange(self, line: LaneLine, batch: Batch, sent_at: float) -> None:
        answer = await self._post(batch)
        self.clocks.answered(answer.date, sent_at)
        line.in_flight.remove(batch)
        self.in_flight -= 1
        self._observer.request(line.lane.pixel, str(answer.status or answer.fault), answer.seconds)
        self._observer.batch(len(batch))
        outcome = classify(answer, self._clock.epoch())
        self._learn_size(line, batch, answer, outcome, sent_at)
        self._conclude(line, batch, outcome, sent_at)
        self._wake.set()
        self._tell_change()

    def _learn_size(self, line: LaneLine, batch: Batch, answer: Answer, outcome: Outcome, sent_at: float) -> None:
        """What an answer says of the size that the line carries. A refusal is one, a fault or another status isn't."""
        if answer.fault == "timeout" or answer.status == _REQUEST_TIMEOUT:
            line.size_limit.timed_out(len(batch), answer.seconds, sent_at, self._clock.now())
        elif isinstance(outcome, Delivered | Refused):
            line.size_limit.succeeded(len(batch), answer.seconds)

    def _conclude(self, line: LaneLine, batch: Batch, outcome: Outcome, sent_at: float) -> None:
        now = self._clock.now()
        if isinstance(outcome, Delivered):
            line.limiter.succeeded()
            line.gate.succeeded(now)
            line.pixel_gate.succeeded(now)
            line.guard.passed(len(batch))
            self._delivered(batch)
            self._drop_piece(line, batch, now)
        elif isinstance(outcome, Refused):
            line.pixel_gate.succeeded(now)  # whoever refuses an event has taken the key
            self._split(line, batch, outcome, now)
        else:
            self._again(line, batch, outcome, sent_at, now)
        self._tell_gates(now)

    def _again(
        self, line: LaneLine, batch: Batch, outcome: SetUpFault | Throttled | Transient, sent_at: float, now: float
    ) -> None:
        """No event was decided: the batch goes back in front, behind a gate, or waits for its own backoff."""
        batch.waiting_for = outcome.reason
        if batch.split is not None:
            batch.split.budget += 1  # it found nothing out
        if isinstance(outcome, Transient):
            line.limiter.failed(sent_at, now)
            line.gate.fail(outcome.reason, now, self._clock.random())
            if line.pixel_gate.state is not GateState.PASSING:
                line.pixel_gate.fail(outcome.reason, now, self._clock.random())
            due = now + self._rules.backoff.delay(batch.attempts, self._clock.random())
            heapq.heappush(line.delayed, (due, next(self._sequence), batch))
            return
        if isinstance(outcome, SetUpFault):
            line.pixel_gate.hold(outcome.reason, now)
        else:
            line.limiter.failed(sent_at, now)
            line.pixel_gate.throttle(outcome.reason, outcome.after, now, self._clock.random(), sent_at)
        if line.gate.state is not GateState.PASSING:
            line.gate.unsent(now)
        line.ready.appendleft(batch)

    # A refused batch comes down to its refused events

    def _split(self, line: LaneLine, batch: Batch, outcome: Refused, now: float) -> None:
        batch.waiting_for, batch.refused = outcome.reason, True
        if line.gate.held:
            self._probe_with_another(line, batch, now)
            return
        line.gate.succeeded(now)
        if batch.split is None:
            batch.split = Split.of(self._rules.max_split_requests)
            batch.split.pending = 1
        if len(batch) == 1:
            self._gather(line, batch, batch.split.refused, now)
        elif batch.split.spent:
            self._gather(line, batch, batch.split.parked, now)
        else:
            first, second = batch.halves()
            batch.split.pending += 1
            line.ready.extendleft((second, first))

    def _probe_with_another(self, line: LaneLine, batch: Batch, now: float) -> None:
        """A probe was refused: the next one goes with other events.

        Were the same batch tried each time, one event in it that the API will always refuse would hold the lane for ever,
        long after what it was held for has been mended.
        """
        pieces = batch.halves() if len(batch) > 1 else (batch,)
        if batch.split is not None:
            batch.split.budget += 1
            batch.split.pending += len(pieces) - 1
        line.ready.extend(pieces)
        line.gate.hold(line.gate.reason, now)

    def _gather(self, line: LaneLine, batch: Batch, place: list[Batch], now: float) -> None:
        place.append(batch)
        self._drop_piece(line, batch, now)

    def _drop_piece(self, line: LaneLine, batch: Batch, now: float) -> None:
        """One piece of a split needs no more requests; with the last one the split is judged."""
        if batch.split is None:
            return
        split, batch.split = batch.split, None
        split.pending -= 1
        if split.pending:
            return
        # What was handed over meanwhile is for its next owner to judge; held for it, the lane had nothing to probe with.
        parked = [live for piece in split.parked if (live := piece.without_fenced())]
        refused = [single for single in split.refused if single.without_fenced()]
        if parked:
            self._hold(line, "split_budget", merged(line.lane, [*parked, *refused]), now)
        elif refused and not line.guard.admits(len(refused)):
            self._hold(line, "dead_letter_ratio", merged(line.lane, refused), now)
        else:
            for single in refused:
                self._refused(single, single.waiting_for)

    def _hold(self, line: LaneLine, reason: str, remainder: Batch, now: float) -> None:
        """Hold the lane, with what is left of the refused batch as the next probe: one 200 decides it all."""
        remainder.waiting_for = reason
        line.ready.appendleft(remainder)
        line.gate.hold(reason, now)

    def _tell_gates(self, now: float) -> None:
        for subject, announced in self._announced.items():
            if announced.due(now):
                self._observer.gate_changed(subject, announced.gate)

    # For the owner: keys, drains and hand-overs

    @property
    def in_flight_limit(self) -> int:
        """How many requests the lanes' limits allow together."""
        return min(self._rules.max_in_flight, sum(line.limiter.limit for line in self.lanes.values()))

    def probe_at_once(self, pixel: str) -> None:
        """The pixel's key has changed: try it now."""
        if gate := self.pixel_gates.get(pixel):
            gate.probe_at_once(self._clock.now())
            self._wake.set()

    def send_open(self) -> None:
        """Send the open batches, those that may go now."""
        for line in self.lanes.values():
            if batch := line.batcher.flush():
                line.ready.append(batch)
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
        """Drop the events whose assignment has ended from everything that isn't in flight.

        What waits for its backoff too: with a failing endpoint each hand-over would leave a share of the memory there.
        """
        now = self._clock.now()
        for line in self.lanes.values():
            if (batch := line.batcher.flush()) and (live := batch.without_fenced()):
                line.ready.append(live)
            # Emptied first: dropping the last piece of a split may put what is left of it in front.
            ready, line.ready = line.ready, deque()
            for batch in ready:
                line.ready.extend(self._live(line, batch, now))
            delayed, line.delayed = line.delayed, []
            for due, turn, batch in delayed:
                line.delayed += [(due, turn, live) for live in self._live(line, batch, now)]
            heapq.heapify(line.delayed)
        self._tell_gates(now)
        self._wake.set()
        self._tell_change()

    def _live(self, line: LaneLine, batch: Batch, now: float) -> Iterator[Batch]:
        if live := batch.without_fenced():
            yield live
        else:
            self._drop_piece(line, batch, now)

    def _tell_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
