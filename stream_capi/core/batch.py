"""Micro-batches: events of one lane, up to a number, a size or the end of a time window (contract, section 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream_capi.applovin import ENVELOPE_BYTES, body
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Code, Columns, Lane, Record, Rejection, Routed, Transformed

TOO_LARGE = Rejection(Code.TOO_LARGE, "the event alone is larger than batch.max_bytes")


def longest_event(max_bytes: int) -> int:
    """The most bytes that an event may have to fit alone into a body of ``max_bytes``."""
    return max_bytes - ENVELOPE_BYTES - 1


def sized(made: Transformed, longest: int) -> Transformed:
    """A mapping's result, or ``TOO_LARGE`` if it is an event of more than ``longest`` bytes."""
    payload = made.payload if isinstance(made, Routed) else made
    return TOO_LARGE if isinstance(payload, bytes) and len(payload) > longest else made


class Batch:
    """Events of one lane, in columns: the same index in each list is the same event.

    ``owners`` holds for each event the assignment to which its offset belongs. Times are seconds of the caller's clock.
    """

    __slots__ = (
        "assignments",
        "attempts",
        "begun",
        "deadline",
        "early",
        "lane",
        "offsets",
        "owners",
        "payloads",
        "records",
        "refused",
        "said",
        "size",
        "split",
        "timestamps",
        "waiting_for",
    )

    def __init__(self, lane: Lane, begun: float = 0.0, window: float = 0.0) -> None:
        self.lane = lane
        self.begun = begun  # when its first event was added
        self.early = begun  # from when on it may be sent if the lane is idle
        self.deadline = begun + window  # when its window ends
        self.payloads: list[bytes] = []
        self.records: list[Record] = []
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.owners: list[PartitionOffsets] = []
        self.assignments: dict[PartitionOffsets, None] = {}  # the owners, each once and in order
        self.size = ENVELOPE_BYTES
        self.attempts = 0
        self.refused = False  # the API has refused the whole batch: it is no use as a probe of a lane that is held
        self.said = ""  # the API's message when it refused the batch
        self.split: Split | None = None  # the split of the refused batch of which this is a piece
        self.waiting_for = ""  # why it must be sent again, for people

    def __len__(self) -> int:
        return len(self.payloads)

    def __repr__(self) -> str:
        return f"Batch({self.lane}, {len(self)} events, {self.size} bytes, attempt {self.attempts})"

    @property
    def columns(self) -> Columns:
        """Its records, with their offsets and timestamps."""
        return Columns(self.records, self.offsets, self.timestamps)

    def body(self) -> bytes:
        """The request's body. The payloads were serialised when the events were mapped, and are only joined here."""
        return body(self.payloads)

    def extend(self, payloads: Sequence[bytes], columns: Columns, owners: Sequence[PartitionOffsets]) -> None:
        """Add events to the columns."""
        self.payloads += payloads
        self.records += columns.records
        self.offsets += columns.offsets
        self.timestamps += columns.timestamps
        self.owners += owners
        self.assignments |= dict.fromkeys(owners)
        self.size += sum(map(len, payloads)) + len(payloads)  # one comma each

    def offsets_by_owner(self) -> Iterable[tuple[PartitionOffsets, Sequence[int]]]:
        """Its events' offsets, grouped by assignment."""
        if len(self.assignments) == 1:
            return ((owner, self.offsets) for owner in self.assignments)
        found: dict[PartitionOffsets, list[int]] = {owner: [] for owner in self.assignments}
        for owner, offset in zip(self.owners, self.offsets, strict=True):
            found[owner].append(offset)
        return found.items()

    def part(self, indexes: Sequence[int]) -> Batch:
        """A batch of some of its events, with the same history."""
        piece = Batch(self.lane)
        of_piece = self.columns.pick(indexes)
        piece.extend([self.payloads[i] for i in indexes], of_piece, [self.owners[i] for i in indexes])
        piece.attempts, piece.refused = self.attempts, self.refused
        piece.split, piece.waiting_for = self.split, self.waiting_for
        return piece

    def without_fenced(self) -> Batch:
        """The batch without events whose assignment has ended; the partition's next owner sends these."""
        if not any(owner.fenced for owner in self.assignments):
            return self
        return self.part([i for i, owner in enumerate(self.owners) if not owner.fenced])

    def halves(self) -> tuple[Batch, Batch]:
        """The two halves of a refused batch."""
        middle = len(self) // 2
        return self.part(range(middle)), self.part(range(middle, len(self)))


@dataclass(slots=True)
class Split:
    """The search for the events that caused the refusal of one batch.

    Refused events are collected, and decided on together at the end. If each were dead-lettered when it is found, a fault of
    all events would dead-letter half of the backlog before it is noticed.
    """

    budget: int  # requests left
    refused: list[Batch]  # single events that were refused
    parked: list[Batch]  # pieces that were not decided when the budget was spent
    pending: int = 0  # pieces that are not decided yet

    @classmethod
    def of(cls, budget: int) -> Split:
        """A new split, with a budget of so many requests."""
        return cls(budget, [], [])

    @property
    def spent(self) -> bool:
        """Whether no request is left."""
        return self.budget <= 0


def merged(lane: Lane, pieces: Iterable[Batch]) -> Batch:
    """The pieces of a refused batch joined to one batch again, with the most attempts that any of them had."""
    whole = Batch(lane)
    for piece in pieces:
        whole.extend(piece.payloads, piece.columns, piece.owners)
        whole.attempts = max(whole.attempts, piece.attempts)
    return whole


class Batcher:
    """The open batch of one lane. ``max_bytes`` is for the whole body.

    A batch waits until its window ends, because more events may come. In a lane with few events it waits for little: so it
    may be sent ``early``, after the share of the window that its recent events are of a full batch. With batches of up to 100
    events, one event in a window waits a hundredth of it, fifty events half of it, a full batch's worth all of it. So a lane
    sends at most some ``sqrt(max_events)`` requests in a window for this, and a busy lane none.
    """

    def __init__(self, lane: Lane, max_events: int, max_bytes: int) -> None:
        self.lane = lane
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._open: Batch | None = None
        self._recent = 0.0  # events of about the last window; older ones count for less
        self._last = float("-inf")

    def add(
        self, payloads: Sequence[bytes], columns: Columns, owner: PartitionOffsets, now: float, window: float
    ) -> list[Batch]:
        """Add events, each small enough to be sent alone, and return the batches that are full.

        A batch's window begins with its first event. If sources with different windows share a lane, the earliest end counts,
        so no source's events wait longer than its window.
        """
        full: list[Batch] = []
        self._recent = self._recent * math.exp((self._last - now) / window) + len(payloads)
        self._last = now
        patience = window * min(1.0, self._recent / self._max_events)
        at = 0
        while at < len(payloads):
            batch = self._open
            if batch is None:
                batch = self._open = Batch(self.lane, now, window)
            batch.deadline = min(batch.deadline, now + window)
            batch.early = min(batch.deadline, batch.begun + patience)
            count = self._fitting(batch, payloads, at)
            if count:
                batch.extend(payloads[at : at + count], columns.cut(at, at + count), [owner] * count)
                at += count
            if len(batch) >= self._max_events or at < len(payloads):
                full.append(batch)
                self._open = None
        return full

    def _fitting(self, batch: Batch, payloads: Sequence[bytes], at: int) -> int:
        """How many of the payloads from ``at`` on still fit; at least one if the batch is empty."""
        chunk = payloads[at : at + self._max_events - len(batch)]
        if batch.size + sum(map(len, chunk)) + len(chunk) <= self._max_bytes:
            return len(chunk)
        size, count = batch.size, 0
        for payload in chunk:
            size += len(payload) + 1
            if size > self._max_bytes and (count or len(batch)):
                break
            count += 1
        return count

    def deadline(self) -> float | None:
        """When the open batch's window ends; None if no batch is open."""
        return self._open.deadline if self._open else None

    def early(self) -> float | None:
        """From when on the open batch may be sent if the lane is idle; None if no batch is open."""
        return self._open.early if self._open else None

    def peek(self) -> Batch | None:
        """The open batch, to which events are still added."""
        return self._open

    def flush(self) -> Batch | None:
        """Close the open batch and return it."""
        batch, self._open = self._open, None
        return batch
