"""Ranges of a topic as people name them: by time, by an end of the log, by offset (contract, section 2).

Times are those of the records. Kafka finds the first record that is no older; where producers' clocks disagree, a record
behind it may be older, and it belongs to the range all the same: a range is one of offsets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from stream_capi.errors import ConfigurationError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.model import TopicPartition

Kind = Literal["earliest", "latest", "offset", "time"]
_MOST_DIGITS = 19  # of an offset
_TIMES_ALONE = ("--since", "--before")
_EXAMPLE = "2026-11-17, 2026-11-17T08:30 (UTC) or 2026-11-17T08:30+01:00"


class Range(NamedTuple):
    """The offsets from ``start`` up to and without ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many offsets; of records there may be fewer."""
        return max(0, self.end - self.start)


class Moment(NamedTuple):
    """Where a range begins or ends. ``value`` is an offset or epoch milliseconds, 0 for the ends of the log."""

    kind: Kind
    value: int = 0

    def __str__(self) -> str:
        if self.kind == "time":
            return shown_time(self.value)
        return f"offset {self.value}" if self.kind == "offset" else self.kind


def moment(option: str, text: str) -> Moment:
    """Read what a person gave for ``option``. Digits alone are an offset; a time without an offset is UTC.

    Raises ConfigurationError.
    """
    text = text.strip()
    if text == "earliest" or text == "latest":
        return Moment("earliest" if text == "earliest" else "latest")
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return Moment("offset", int(text))
    return Moment("time", time_of(option, text))


def time_of(option: str, text: str) -> int:
    """Read an ISO-8601 date or time, as epoch milliseconds. Raises ConfigurationError."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        what = "a time" if option in _TIMES_ALONE else "earliest, latest, an offset or a time"
        more = ", a span like 36h or 7d, or earliest" if option == "--since" else ""
        raise ConfigurationError([f"{option}: must be {what} like {_EXAMPLE}{more}"]) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
    if milliseconds < 0:
        raise ConfigurationError([f"{option}: lies before 1970"])
    return round(milliseconds)


def shown_time(milliseconds: int) -> str:
    """Epoch milliseconds for people, in UTC."""
    if milliseconds <= 0:
        return "no time"
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # Kafka keeps any 64 bits that a producer gives for a time
        return "a time beyond the year 9999"
    return at.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds").replace("+00:00", "Z")


class TopicLog:
    """A topic as it lies there: the bounds of the partitions that were asked for (all where none were)."""

    def __init__(self, admin: KafkaAdmin, topic: str, partitions: Collection[int] = ()) -> None:
        """Ask the cluster. Raises ConfigurationError for a partition that is not there, Unavailable, KafkaLost."""
        self.topic = topic
        self._admin = admin
        first, end = admin.beginning_offsets([topic]), admin.end_offsets([topic])
        unknown = sorted(set(partitions) - {tp.partition for tp in end})
        if unknown:
            raise ConfigurationError([f"--partition: {topic} has partitions 0 to {len(end) - 1}, not {unknown[0]}"])
        self.bounds = {
            tp: Range(first[tp], end[tp]) for tp in sorted(end) if not partitions or tp.partition in partitions
        }

    def offsets(self, option: str, at: Moment) -> dict[TopicPartition, int]:
        """The offset of a moment in each partition. Raises ConfigurationError for an offset that is out of bounds."""
        if at.kind == "time":
            found = self._admin.offsets_for_time(self.topic, at.value)
            # Asked after the bounds: what was produced since then is none of theirs.
            return {tp: min(max(found[tp], low), high) for tp, (low, high) in self.bounds.items()}
        if at.kind == "offset":
            self._check(option, at.value)
            return dict.fromkeys(self.bounds, at.value)
        return {tp: low if at.kind == "earliest" else high for tp, (low, high) in self.bounds.items()}

    def ranges(self, start: Moment, end: Moment) -> dict[TopicPartition, Range]:
        """The ranges from one moment to another. Raises ConfigurationError where they are the wrong way round."""
        froms, tos = self.offsets("--from", start), self.offsets("--to", end)
        if start.kind == end.kind == "time" and start.value > end.value:
            raise ConfigurationError([f"--to: {end} lies before --from, {start}"])
        backwards = [tp for tp in froms if froms[tp] > tos[tp]]
        if backwards:
            tp = backwards[0]
            raise ConfigurationError([f"--to: in {tp} it is offset {tos[tp]}, before --from, which is {froms[tp]}"])
        return {tp: Range(froms[tp], tos[tp]) for tp in froms}

    def _check(self, option: str, offset: int) -> None:
        outside = [f"{tp} has {low} to {high}" for tp, (low, high) in self.bounds.items() if not low <= offset <= high]
        if outside:
            several = " (an offset counts for each partition; --partition picks one)" if len(self.bounds) > 1 else ""
            raise ConfigurationError([f"{option}: offset {offset} is out of bounds: {', '.join(outside)}{several}"])


def total(ranges: Mapping[TopicPartition, Range]) -> int:
    """How many offsets all ranges have together."""
    return sum(of_one.size for of_one in ranges.values())
