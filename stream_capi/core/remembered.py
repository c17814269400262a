"""Remembers the outcomes in partitions that this process has lost, in case it gets them back (contract, section 7.9).

If a broker is away for longer than the session time-out, a member loses its partitions and gets them back, from the last
committed offset. Answers that came meanwhile are in no commit, and their events would be sent again. Skipping an event
without an outcome would lose it, sending one twice does not: so if anything is doubtful, what was remembered is dropped.
"""

from __future__ import annotations

from typing import NamedTuple

from stream_capi.core.offset_metadata import Ranges, Resolved
from stream_capi.core.offsets import PartitionOffsets

LIMIT_BYTES = 16 * 1_048_576
_OPEN_BYTES = 100  # about what an open offset takes in a tracker
_RANGE_BYTES = 200


class _Known(NamedTuple):
    """``acknowledged`` is the last committed offset of the partition that this process saw."""

    offsets: PartitionOffsets
    topic_id: str
    acknowledged: int


class Remembered:
    """The trackers of lost partitions, in at most ``limit`` bytes; those lost first are forgotten first."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._known: dict[tuple[str, int], _Known] = {}

    def keep(self, offsets: PartitionOffsets, topic_id: str, acknowledged: int | None) -> None:
        """Remember a partition when it is lost. Answers that come later are known, too, because they resolve its tracker."""
        self.forget(offsets.topic, offsets.partition)
        if not topic_id or acknowledged is None:
            return
        self._known[offsets.topic, offsets.partition] = _Known(offsets, topic_id, acknowledged)
        size = sum(map(_size, self._known.values()))
        while size > self._limit:
            size -= _size(self._known.pop(next(iter(self._known))))

    def forget(self, topic: str, partition: int) -> None:
        """Forget what is known of a partition."""
        self._known.pop((topic, partition), None)

    def recall(self, topic: str, partition: int, topic_id: str, committed: int) -> Ranges:
        """The ranges known to have an outcome from the committed offset on; they are forgotten with this call.

        ``topic_id`` is the id that both the commit's metadata and the broker state. Empty if the topic is another one, or if
        the group's offset is before the last one that this process saw, because somebody has reset it.
        """
        known = self._known.pop((topic, partition), None)
        if known is None or known.topic_id != topic_id or committed < known.acknowledged:
            return ()
        return tuple(of._replace(first=max(of.first, committed)) for of in known.offsets.resolved_since(committed))


def united(one: Ranges, other: Ranges) -> Ranges:
    """The union of both, in order. If they differ about a leader epoch, only ``one`` is used."""
    ranges: list[Resolved] = []
    for of in sorted((*one, *other)):
        if not ranges or of.first >= ranges[-1].last:
            ranges.append(of)
        elif of.leader_epoch != ranges[-1].leader_epoch:
            return one
        else:
            ranges[-1] = ranges[-1]._replace(last=max(of.last, ranges[-1].last))
    return tuple(ranges)


def _size(known: _Known) -> int:
    return _OPEN_BYTES * known.offsets.unresolved + _RANGE_BYTES * (1 + len(known.offsets.resolved_before))
