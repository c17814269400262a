"""One lane: its batches, and what becomes of them and of the gates with each answer (contract, section 6). No await.

Every transition of a lane is in this file. A batch is in exactly one place at a time (open, ready, delayed, in flight or
gathered by a split), and leaves it only for another place or for a callback. ``delivery`` performs: it posts the batches
that ``take`` returns, and hands each answer to ``conclude``.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count

from stream_capi.applovin import UNAUTHORIZED
from stream_capi.core.batch import Batch, Batcher, Split, merged
from stream_capi.core.flow import Gate, GateState, Limiter, SizeLimit
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.outcomes import Delivered, OtherForm, Outcome, RefusedBatch, SetUpFault, Throttled, Transient
from stream_capi.core.ratio_guard import RatioGuard
from stream_capi.model import Answer, Columns, Lane
from stream_capi.pipeline.delivery_rules import DeliveryRules

_REQUEST_TIMEOUT = 408  # a server or proxy gave up waiting for the request
_KEY_REFUSED = str(UNAUTHORIZED)  # why a lane is held whose refusals may be the key's


class LaneLine:
    """The batches of one lane, and its own gate, limits and guard.

    :param delivered: takes a batch that was delivered.
    :param refused: takes a batch of one event that the API refuses, and the answer.
    :param random: a number in [0, 1), for the backoff's jitter.
    """

    def __init__(
        self,
        lane: Lane,
        pixel_gate: Gate,
        rules: DeliveryRules,
        delivered: Callable[[Batch], None],
        refused: Callable[[Batch, str], None],
        random: Callable[[], float],
    ) -> None:
        self.lane = lane
        self.pixel_gate = pixel_gate
        self.gate = Gate(rules.backoff, rules.probe_seconds)
        self.limiter = Limiter(rules.max_in_flight)
        self.size_limit = SizeLimit(rules.max_events)
        self.guard = RatioGuard(rules.lane_ratios.get(lane, rules.max_dead_letter_ratio))
        self.batcher = Batcher(lane, rules.max_events, rules.max_bytes)
        self.ready: deque[Batch] = deque()
        self.delayed: list[tuple[float, int, Batch]] = []  # a heap: when each is due, and a number that breaks ties
        self.in_flight: list[Batch] = []
        self.delivered = delivered
        self.refused = refused
        self._backoff = rules.backoff
        self._max_split_requests = rules.max_split_requests
        self._random = random
        self._numbers = count()

    @property
    def held(self) -> bool:
        """Whether the lane is held: a person must look, and its intake should rest."""
        return self.gate.held or self.pixel_gate.held

    @property
    def has_probe(self) -> bool:
        """Whether the lane has events whose delivery could end the hold.

        Events that were refused already don't count: if the intake rested while the lane has only poison, each probe would
        be refused, and the good events that could end the hold would never be read.
        """
        batches = chain(self.ready, (batch for _, _, batch in self.delayed), self.in_flight)
        return any(self.pixel_gate.held or not batch.refused for batch in batches)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing but the open batch is to be sent."""
        return not (self.ready or self.delayed or self.in_flight)

    def batches(self) -> Iterator[Batch]:
        """Every batch that isn't in flight."""
        yield from self.ready
        yield from (batch for _, _, batch in self.delayed)
        if batch := self.batcher.peek():
            yield batch

    # Coming in: open, ready, delayed

    def add(
        self, payloads: Sequence[bytes], columns: Columns, owner: PartitionOffsets, now: float, window: float
    ) -> bool:
        """Add events of one partition to the open batch. True: ``moments`` has changed."""
        batch = self.batcher.peek()
        moments = (batch.deadline, batch.early) if batch else None
        full = self.batcher.add(payloads, columns, owner, now, window)
        self.ready.extend(full)
        return batch is None or bool(full) or moments != (batch.deadline, batch.early)

    @property
    def waits(self) -> bool:
        """Whether a batch is open, ready or delayed."""
        return bool(self.ready or self.delayed or self.batcher.peek())

    def advance(self, now: float) -> None:
        """Make batches ready that are due: the open one at the end of its window, and those whose backoff is over."""
        if self._is_due(now):
            self.close()
        while self.delayed and self.delayed[0][0] <= now:
            self.ready.appendleft(heapq.heappop(self.delayed)[2])

    def close(self) -> None:
        """Make the open batch ready."""
        if batch := self.batcher.flush():
            self.ready.append(batch)

    def _is_due(self, now: float) -> bool:
        """Whether the open batch goes now: its window has ended, or it may go early and nothing stands in its way."""
        deadline, early = self.batcher.deadline(), self.batcher.early()
        if deadline is None or early is None:
            return False
        return deadline <= now or (early <= now and self.idle and self.admits(now))

    def moments(self, now: float) -> Iterator[float]:
        """When to look at the lane again."""
        if (deadline := self.batcher.deadline()) is not None:
            yield deadline
        if (early := self.batcher.early()) is not None and early > now and self.idle:
            yield early
        if self.delayed:
            yield self.delayed[0][0]
        if self.ready and (opens_at := max(self.gate.opens_at, self.pixel_gate.opens_at)) > now:
            yield opens_at

    # Going out: in flight

    def admits(self, now: float) -> bool:
        """Whether a request of this lane may go now."""
        return self.gate.admits(now) and self.pixel_gate.admits(now) and len(self.in_flight) < self.limiter.limit

    def take(self, now: float) -> Batch | None:
        """Take the batch to send now, which is in flight from here on. None: nothing is ready, or nothing may go."""
        while self.ready and self.admits(now):
            batch = self._next()
            live = batch.without_fenced()
            if not live:
                self._drop_piece(batch, now)
            elif live.split is not None and live.split.spent:
                self._gather(live, live.split.parked, now)
            else:
                return self._send(self._cut(live), now)
        return None

    def _next(self) -> Batch:
        """The batch whose turn it is: while the lane is held, first what has not been refused."""
        if self.gate.held:
            for at, batch in enumerate(self.ready):
                if not batch.refused:
                    del self.ready[at]
                    return batch
        return self.ready.popleft()

    def _cut(self, batch: Batch) -> Batch:
        """As many events of a batch as can be sent before the time-out; the rest stays in front, with the same ids."""
        limit = self.size_limit.limit
        if len(batch) <= limit:
            return batch
        self.ready.appendleft(batch.part(range(limit, len(batch))))
        if batch.split is not None:
            batch.split.pending += 1
            batch.split.budget += 1  # cut for the slow connection, not to find refused events
        return batch.part(range(limit))

    def _send(self, batch: Batch, now: float) -> Batch:
        if batch.split is not None:
            batch.split.budget -= 1
        self.gate.sent(now)
        self.pixel_gate.sent(now)
        batch.attempts += 1
        self.in_flight.append(batch)
        return batch

    # Coming back

    def conclude(self, batch: Batch, answer: Answer, outcome: Outcome, sent_at: float, now: float) -> None:
        """An answer has come for a batch in flight: move the batch to its next place, and the gates to their next state."""
        self.in_flight.remove(batch)
        self._learn_size(batch, answer, outcome, sent_at, now)
        if isinstance(outcome, Delivered):
            self.limiter.succeeded()
            self.gate.succeeded(now)
            self.pixel_gate.delivered(now, sent_at)
            self.guard.passed(len(batch))
            self.delivered(batch)
            self._drop_piece(batch, now)
        elif isinstance(outcome, RefusedBatch):
            self.pixel_gate.succeeded(now)  # an API that refuses an event has accepted the key
            self._split(batch, outcome, now)
        else:
            self._again(batch, outcome, sent_at, now)

    def _learn_size(self, batch: Batch, answer: Answer, outcome: Outcome, sent_at: float, now: float) -> None:
        """Adapt the size of requests. A refusal shows that the request arrived; a fault or another status doesn't."""
        if answer.fault == "timeout" or answer.status == _REQUEST_TIMEOUT:
            self.size_limit.timed_out(len(batch), answer.seconds, sent_at, now)
        elif isinstance(outcome, Delivered | RefusedBatch):
            self.size_limit.succeeded(len(batch), answer.seconds)

    def _again(
        self, batch: Batch, outcome: SetUpFault | OtherForm | Throttled | Transient, sent_at: float, now: float
    ) -> None:
        """No event was decided: the batch goes back in front, behind a gate, or waits for its own backoff."""
        batch.waiting_for = outcome.reason
        if batch.split is not None:
            batch.split.budget += 1  # it found nothing out
        if isinstance(outcome, Transient):
            self.limiter.failed(sent_at, now)
            self.gate.fail(outcome.reason, now, self._random())
            if self.pixel_gate.state is GateState.PASSING:
                self.pixel_gate.unsent(now, sent_at)
            else:
                self.pixel_gate.fail(outcome.reason, now, self._random())
            due = now + self._backoff.delay(batch.attempts, self._random())
            heapq.heappush(self.delayed, (due, next(self._numbers), batch))
            return
        if isinstance(outcome, SetUpFault):
            self.pixel_gate.hold(outcome.reason, now)
        elif isinstance(outcome, OtherForm):
            self.pixel_gate.key_refused(sent_at)
            self.pixel_gate.unsent(now, sent_at)
        else:
            self.limiter.failed(sent_at, now)
            self.pixel_gate.throttle(outcome.reason, outcome.after, now, self._random(), sent_at)
        if self.gate.state is not GateState.PASSING:
            self.gate.unsent(now)
        self.ready.appendleft(batch)

    # Splitting a refused batch down to its refused events: gathered

    def _split(self, batch: Batch, outcome: RefusedBatch, now: float) -> None:
        batch.waiting_for, batch.said, batch.refused = outcome.reason, outcome.said, True
        if self.gate.held and (self.gate.reason != _KEY_REFUSED or self.pixel_gate.key_unproven):
            self._probe_with_another(batch, now)
            return
        self.gate.succeeded(now)
        if batch.split is None:
            batch.split = Split.of(self._max_split_requests)
            batch.split.pending = 1
        if len(batch) == 1:
            self._gather(batch, batch.split.refused, now)
        elif batch.split.spent:
            self._gather(batch, batch.split.parked, now)
        else:
            first, second = batch.halves()
            batch.split.pending += 1
            self.ready.extendleft((second, first))

    def _probe_with_another(self, batch: Batch, now: float) -> None:
        """After a refused probe, probe with other events next.

        If the same batch were tried each time, one event that the API always refuses would hold the lane for ever, even
        after the cause of the hold is gone.
        """
        pieces = batch.halves() if len(batch) > 1 else (batch,)
        if batch.split is not None:
            batch.split.budget += 1
            batch.split.pending += len(pieces) - 1
        self.ready.extend(pieces)
        self.gate.hold(self.gate.reason, now)

    def _gather(self, batch: Batch, place: list[Batch], now: float) -> None:
        place.append(batch)
        self._drop_piece(batch, now)

    def _drop_piece(self, batch: Batch, now: float) -> None:
        """One piece of a split needs no more requests; with the last one the split is judged."""
        if batch.split is None:
            return
        split, batch.split = batch.split, None
        split.pending -= 1
        if not split.pending:
            self._judge(split, now)

    def _judge(self, split: Split, now: float) -> None:
        """Dead-letter the refused events, or hold the lane with them if they are too many."""
        # Events of partitions handed over meanwhile are their next owner's; a lane held for them had nothing to probe with.
        parked = [live for piece in split.parked if (live := piece.without_fenced())]
        refused = [single for single in split.refused if single.without_fenced()]
        if parked:
            self._hold(HeldReason.SPLIT_BUDGET, merged(self.lane, [*parked, *refused]), now)
        elif refused and self.pixel_gate.key_unproven:  # a gateway may answer 400 to a key in a form that it can't read
            self._hold(_KEY_REFUSED, merged(self.lane, refused), now)
        elif refused and not self.guard.admits(len(refused)):
            self._hold(HeldReason.DEAD_LETTER_RATIO, merged(self.lane, refused), now)
        else:
            for single in refused:
                self.refused(single, single.waiting_for)

    def _hold(self, reason: str, remainder: Batch, now: float) -> None:
        """Hold the lane, with what is left of the refused batch as the next probe: one 200 decides it all."""
        remainder.waiting_for = reason
        self.ready.appendleft(remainder)
        self.gate.hold(reason, now)

    # Hand-overs

    def forget_fenced(self, now: float) -> None:
        """Drop the events whose assignment has ended from everything that isn't in flight.

        That includes batches in backoff: with a failing endpoint each hand-over would otherwise leak a share of the memory.
        """
        if (batch := self.batcher.flush()) and (live := batch.without_fenced()):
            self.ready.append(live)
        # Emptied first: dropping the last piece of a split may put what is left of it in front.
        ready, self.ready = self.ready, deque()
        for batch in ready:
            self.ready.extend(self._live(batch, now))
        delayed, self.delayed = self.delayed, []
        for due, number, batch in delayed:
            self.delayed += [(due, number, live) for live in self._live(batch, now)]
        heapq.heapify(self.delayed)

    def _live(self, batch: Batch, now: float) -> Iterator[Batch]:
        if live := batch.without_fenced():
            yield live
        else:
            self._drop_piece(batch, now)
