"""The values that travel through the pipeline, small and without behaviour.

Types that hold personal data don't show it: their ``repr`` has sizes and positions only, so that a log line, an assertion
or a traceback that prints one reveals nothing.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from typing import Any, NamedTuple, Protocol

# The broker gave no leader epoch. The outcome of such a record is never written into commit metadata, nor believed if found
# there. The client's own types use the same number for none.
NO_LEADER_EPOCH = -1


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(Protocol):
    """A consumed record as the Kafka client hands it over (``confluent_kafka.Message`` is one).

    The client's own object is carried through untouched: wrapping each record would cost more than decoding half of it,
    and a dead letter needs the original key, value and headers.
    """

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Any:
        """A list of (name, bytes) pairs, or None. Typed loosely because the client's own annotation is wider."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """(type, epoch milliseconds); type 0 means that the record has none."""
        ...

    def leader_epoch(self) -> int | None:
        """The epoch of the partition leader that wrote the record, None where the broker doesn't say."""
        ...


def place_of(record: Record) -> TopicPartition:
    """The partition that a record is in."""
    return TopicPartition(record.topic() or "", record.partition() or 0)


class EventName(StrEnum):
    """The two events that the API knows (API document, ``ServerEvent.name``)."""

    PAGE_VIEW = "page_view"
    GENERATE_LEAD = "generate_lead"


class Code(StrEnum):
    """Why an event was dead-lettered (contract, section 8)."""

    DECODE_ERROR = "decode_error"
    UNKNOWN_SCHEMA = "unknown_schema"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    NO_IDENTIFIER = "no_identifier"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    INTERNAL_ERROR = "internal_error"


class Lane(NamedTuple):
    """What may share a batch: the events of one name for one pixel."""

    pixel: str
    event: EventName

    def __str__(self) -> str:
        return f"{self.pixel}/{self.event.value}"


class Rejection(NamedTuple):
    """The event can't be delivered as it is; it belongs in the dead letters.

    ``detail`` says which field or byte is wrong and which rule it broke, never what its value was.
    ``pixel`` is the pixel's name if it was known already, for the guard that tells poison from a fault of all events.
    """

    code: Code
    detail: str
    pixel: str | None = None


def internal_error(error: Exception) -> Rejection:
    """The rejection of a record or schema whose processing raised an unexpected exception.

    It names the exception's type and the innermost line of this package in its traceback. The exception's text is left out:
    it may quote the record.
    """
    at, traceback = "?", error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(_PACKAGE):
            at = f"{file[len(_PACKAGE) :]}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return Rejection(Code.INTERNAL_ERROR, f"{type(error).__name__} at {at}")


_PACKAGE = os.path.dirname(__file__) + os.sep


class Skipped(NamedTuple):
    """The event is not meant to be delivered (tombstone, filtered out, no consent); it is counted and left out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The record's source or pixel is paused by configuration: it has no outcome until the program runs without the pause."""


PAUSED = Paused()


class Routed(NamedTuple):
    """A payload of a source that sends its events to several lanes."""

    lane: Lane
    payload: bytes

    def __repr__(self) -> str:
        return f"Routed({self.lane}, {len(self.payload)} bytes)"


# What the transform makes of a record: the bytes of a ServerEvent for the source's one lane, or one of the others.
Transformed = bytes | Routed | Rejection | Skipped | Paused


class ApiError(NamedTuple):
    """What the API's headers say about an answer that isn't a 200; each text is short printable ASCII, or empty."""

    code: str = ""
    message: str = ""
    trace_id: str = ""


class Answer(NamedTuple):
    """What came back for one request: a status, or the fault that prevented one.

    ``fault`` is one of ``timeout``, ``reset``, ``disconnected``, ``connect``, ``dns``, ``tls``, ``protocol``,
    ``descriptors`` (this process has none free), ``early_answer`` (a success, or an answer to no request, that came before
    the request was sent) and None if there is a status. ``retry_after`` and ``date`` are the headers as received, unparsed.
    The answer's body is never kept. ``again``: the key was refused in one form, and is to be sent in the other at once.
    """

    status: int | None = None
    fault: str | None = None
    retry_after: str | None = None
    seconds: float = 0.0
    date: str | None = None
    again: bool = False
    said: ApiError | None = None


@dataclass(slots=True, repr=False)
class DeadLetter:
    """A record on its way to the dead-letter topic."""

    record: Record
    code: Code
    detail: str
    attempts: int = 0
    by_reference: bool = False  # write a reference, as before: the record doesn't have the event's value
    place_only: bool = False  # only the record's topic, partition and offset can be read; more raised an error

    def __repr__(self) -> str:
        r = self.record
        return f"DeadLetter({r.topic()}[{r.partition()}]@{r.offset()}, {self.code.value})"


class Commit(NamedTuple):
    """An offset to commit: the next one to read, with the outcomes beyond it in ``metadata``."""

    topic: str
    partition: int
    epoch: int
    offset: int
    metadata: str = ""
    leader_epoch: int = NO_LEADER_EPOCH  # it validates the offset for the next owner


class CommitResult(NamedTuple):
    """How a commit of one partition ended; ``error`` is a short reason, None if the broker accepted it."""

    commit: Commit
    error: str | None


class Committed(NamedTuple):
    """Where reading starts in a partition that was assigned, and whether that is what the group had committed."""

    topic: str
    partition: int
    epoch: int
    offset: int
    metadata: str = ""
    was_committed: bool = True
    leader_epoch: int = NO_LEADER_EPOCH  # as it was committed


class Table(NamedTuple):
    """The records of a run by columns: the values at each path that the mapping asks for."""

    length: int  # records, those that could not be decoded included
    columns: Mapping[str, Sequence[Any]]  # path as the settings write it -> one value a record
    rejected: Mapping[int, Rejection]  # index of a record that could not be decoded -> why; its values are None

    def pick(self, indexes: Sequence[int]) -> Table:
        """The records at these indexes, in their order."""
        columns = {path: [column[at] for at in indexes] for path, column in self.columns.items()}
        rejected = {to: self.rejected[at] for to, at in enumerate(indexes) if at in self.rejected}
        return Table(len(indexes), columns, rejected)

    def __repr__(self) -> str:
        return f"Table({self.length} records)"


class Columns(NamedTuple):
    """Records with what is needed of each of them, in columns: the same index in each list is the same record.

    The values are read once, when the client has just created the records: by the time of the API's answer the records have
    left the processor's caches.
    """

    records: list[Record]
    offsets: list[int]
    timestamps: list[int]  # epoch milliseconds; 0 or below means none

    @classmethod
    def of(cls, records: list[Record]) -> Columns:
        """The records' columns."""
        offsets = [record.offset() or 0 for record in records]
        return cls(records, offsets, [record.timestamp()[1] for record in records])

    def cut(self, start: int, end: int) -> Columns:
        """The records from index ``start`` up to, not including, ``end``; these columns themselves if that is all of them."""
        if start == 0 and end >= len(self.records):
            return self
        return Columns(self.records[start:end], self.offsets[start:end], self.timestamps[start:end])

    def pick(self, indexes: Sequence[int]) -> Columns:
        """The records at these indexes, in their order."""
        return Columns(*([column[at] for at in indexes] for column in self))  # type: ignore[arg-type]  # a list of what its column holds

    def __repr__(self) -> str:
        return f"Columns({len(self.records)} records)"


class Records:
    """Records of one partition in offset order, as fetched in one call and under one epoch."""

    __slots__ = ("columns", "epoch", "leader_epochs", "partition", "topic", "values")

    def __init__(self, topic: str, partition: int, epoch: int, records: list[Record]) -> None:
        self.topic = topic
        self.partition = partition
        self.epoch = epoch
        self.columns = Columns.of(records)
        self.values = [record.value() for record in records]
        self.leader_epochs = _leader_epochs(records, self.columns.offsets)

    @property
    def records(self) -> list[Record]:
        """The client's own objects."""
        return self.columns.records

    def each_leader_epoch(self) -> Iterator[int]:
        """The leader epoch of each record."""
        ends = [offset for offset, _ in self.leader_epochs[1:]]
        for (first, epoch), end in zip(self.leader_epochs, [*ends, self.columns.offsets[-1] + 1], strict=True):
            offsets = self.columns.offsets
            yield from repeat(epoch, bisect_left(offsets, end) - bisect_left(offsets, first))

    def __repr__(self) -> str:
        return f"Records({self.topic}[{self.partition}], epoch {self.epoch}, {len(self.records)} records)"


def _leader_epochs(records: Sequence[Record], offsets: Sequence[int]) -> list[tuple[int, int]]:
    """(offset, leader epoch) of each record that has another epoch than the one before it.

    Leader epochs only rise along a log: if the first record and the last have the same, all between have it too.
    """
    if not records:
        return []
    first, last = epoch_number(records[0].leader_epoch()), epoch_number(records[-1].leader_epoch())
    if first == last:
        return [(offsets[0], first)]
    steps = [(offsets[0], first)]
    for offset, record in zip(offsets, records, strict=True):
        if (epoch := epoch_number(record.leader_epoch())) != steps[-1][1]:
            steps.append((offset, epoch))
    return steps


def epoch_number(epoch: int | None) -> int:
    """A leader epoch as the client gives it, ``NO_LEADER_EPOCH`` for None."""
    return NO_LEADER_EPOCH if epoch is None else epoch


# The kinds of ``Trouble``: waits that the Kafka client reports no error for.
OUT_OF_REACH = "broker_out_of_reach"
REQUESTS_TIME_OUT = "requests_time_out"
NOT_READ = "not_read"
HANGING_TRANSACTION = "hanging_transaction"


class Trouble(NamedTuple):
    """A wait that the client reports no error for: ``kind`` is the reason's code, ``subject`` the broker or topic."""

    kind: str
    subject: str
    text: str
    partitions: tuple[TopicPartition, ...] = ()
