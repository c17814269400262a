"""What this process knows of partitions that it has lost, for the case that they come back to it.

When a broker is away for longer than the session, a member loses its partitions and gets them again, from the offset that
was last committed. What was answered meanwhile is in no commit, and would be sent again. To pass over an event that has no
outcome would be a loss, and to send one again is not: so whatever leaves a doubt makes it forget (contract, section 7.9).
"""

from __future__ import annotations

from typing import NamedTuple

from stream_capi.core.offset_metadata import Ranges, Resolved
from stream_capi.core.offsets import PartitionOffsets

LIMIT_BYTES = 16 * 1_048_576
_OPEN_BYTES = 100  # of an open offset in a tracker, about
_RANGE_BYTES = 200


class _Known(NamedTuple):
    """``acknowledged`` is the last committed offset that this process saw of the topic with this id."""

    offsets: PartitionOffsets
    topic_id: str
    acknowledged: int


class Remembered:
    """The trackers of lost partitions, at most ``limit`` bytes of them: the oldest are forgotten first."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._known: dict[tuple[str, int], _Known] = {}

    def keep(self, offsets: PartitionOffsets, topic_id: str, acknowledged: int | None) -> None:
        """Remember a partition as it is lost. Answers that come later resolve its tracker, and so are known too."""
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
        """What is known to have an outcome from the committed offset on; forgotten with this call.

        ``topic_id`` is as the commit's metadata and the broker have it. Nothing where the topic is another one,
        or where the group's offset lies before the last one that this process saw: somebody has reset it.
        """
        known = self._known.pop((topic, partition), None)
        if known is None or known.topic_id != topic_id or committed < known.acknowledged:
            return ()
        return tuple(of._replace(first=max(of.first, committed)) for of in known.offsets.resolved_since(committed))


def united(one: Ranges, other: Ranges) -> Ranges:
    """The ranges of both, in order. Where they differ about a leader epoch, ``one`` alone is believed."""
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
