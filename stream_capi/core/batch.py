"""Micro-batches: the events of one lane, up to a count, a size or the end of a window (contract, section 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream_capi.applovin import ENVELOPE_BYTES, body
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Code, Columns, Lane, Record, Rejection, Routed, Transformed

TOO_LARGE = Rejection(Code.TOO_LARGE, "the event alone is larger than batch.max_bytes")


def longest_event(max_bytes: int) -> int:
    """The most bytes that an event can have, so that a body of these bytes holds it."""
    return max_bytes - ENVELOPE_BYTES - 1


def sized(made: Transformed, longest: int) -> Transformed:
    """What a mapping made, with ``TOO_LARGE`` in the place of an event of more than ``longest`` bytes."""
    payload = made.payload if isinstance(made, Routed) else made
    return TOO_LARGE if isinstance(payload, bytes) and len(payload) > longest else made


class Batch:
    """Events of one lane, in columns: the same index in each list is the same event.

    ``owners`` says for each event which assignment its offset belongs to. Times are seconds of the caller's clock.
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
        self.begun = begun  # when its first event came
        self.early = begun  # from when on it is sent if the lane has nothing else to do
        self.deadline = begun + window  # when its window ends
        self.payloads: list[bytes] = []
        self.records: list[Record] = []
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.owners: list[PartitionOffsets] = []
        self.assignments: dict[PartitionOffsets, None] = {}  # the owners, each once and in order
        self.size = ENVELOPE_BYTES
        self.attempts = 0
        self.refused = False  # the API has refused it as a whole: as a probe it can't open a lane that is held
        self.said = ""  # by the API, when it refused it
        self.split: Split | None = None  # the refused batch that this is a piece of
        self.waiting_for = ""  # why it is to be sent again, for people

    def __len__(self) -> int:
        return len(self.payloads)

    def __repr__(self) -> str:
        return f"Batch({self.lane}, {len(self)} events, {self.size} bytes, attempt {self.attempts})"

    @property
    def columns(self) -> Columns:
        """Its records, with what was asked of each."""
        return Columns(self.records, self.offsets, self.timestamps)

    def body(self) -> bytes:
        """The request's body. Each payload was serialised once, when its event was mapped; this only joins them."""
        return body(self.payloads)

    def extend(self, payloads: Sequence[bytes], columns: Columns, owners: Sequence[PartitionOffsets]) -> None:
        """Add events to the columns."""
        self.payloads += payloads
        self.records += columns.records
        self.offsets += columns.offsets
        self.timestamps += columns.timestamps
        self.owners += owners
        self.assignments |= dict.fromkeys(owners)
        self.size += sum(map(len, payloads)) + len(payloads)  # a comma each

    def offsets_by_owner(self) -> Iterable[tuple[PartitionOffsets, Sequence[int]]]:
        """Its events' offsets, sorted by assignment."""
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
        """The batch without the events whose assignment has ended: their next owner sends them."""
        if not any(owner.fenced for owner in self.assignments):
            return self
        return self.part([i for i, owner in enumerate(self.owners) if not owner.fenced])

    def halves(self) -> tuple[Batch, Batch]:
        """The two halves of a refused batch."""
        middle = len(self) // 2
        return self.part(range(middle)), self.part(range(middle, len(self)))


@dataclass(slots=True)
class Split:
    """One refused batch on its way to the events that caused it.

    Refused events are collected here and judged together at the end. If each were dead-lettered when found, a fault of all
    events would dead-letter half of the backlog before it shows.
    """

    budget: int  # requests left
    refused: list[Batch]  # single events that were refused alone
    parked: list[Batch]  # pieces found undecided after the budget was spent
    pending: int = 0  # pieces that are not decided yet

    @classmethod
    def of(cls, budget: int) -> Split:
        """A split that has just begun."""
        return cls(budget, [], [])

    @property
    def spent(self) -> bool:
        """Whether no request is left to find out more."""
        return self.budget <= 0


def merged(lane: Lane, pieces: Iterable[Batch]) -> Batch:
    """One batch again of the pieces of a refused one, with the most attempts that any of them had."""
    whole = Batch(lane)
    for piece in pieces:
        whole.extend(piece.payloads, piece.columns, piece.owners)
        whole.attempts = max(whole.attempts, piece.attempts)
    return whole


class Batcher:
    """The open batch of one lane. ``max_bytes`` counts the whole body.

    A window is waited out for what may still come. A lane that a few events reach in a window has little to wait for: its
    batch may go ``early``, after the share of the window that its recent events would fill of a batch. One event in a
    window waits a hundredth of it, fifty wait half of it, and where a window brings a full batch all of it is waited for;
    so that no lane ever sends more than some ``sqrt(max_events)`` requests a window by it, and a busy one sends none.
    """

    def __init__(self, lane: Lane, max_events: int, max_bytes: int) -> None:
        self.lane = lane
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._open: Batch | None = None
        self._recent = 0.0  # events of about the last window: each counts for less the longer ago it came
        self._last = float("-inf")

    def add(
        self, payloads: Sequence[bytes], columns: Columns, owner: PartitionOffsets, now: float, window: float
    ) -> list[Batch]:
        """Add events, each small enough to go alone, and return the batches that are full.

        The window runs from a batch's first event. Where sources with different windows share a lane, the earliest end
        counts, so that none of them waits longer than it asked for.
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
        """How many of the payloads from ``at`` on still fit; at least one where the batch is empty."""
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
        """When the open batch's window ends, or None where no batch is open."""
        return self._open.deadline if self._open else None

    def early(self) -> float | None:
        """From when on the open batch may go if the lane has nothing else to do, or None where no batch is open."""
        return self._open.early if self._open else None

    def peek(self) -> Batch | None:
        """The open batch, which goes on growing."""
        return self._open

    def flush(self) -> Batch | None:
        """Close the open batch and return it."""
        batch, self._open = self._open, None
        return batch
