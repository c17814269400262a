"""The lag of a whole group: what all its members have yet to commit, and what nobody reads.

A member knows the lag of its own partitions alone. So it asks the brokers now and then: at most four questions, however
many topics there are, each with a short deadline, and none once the process ends, which waits for the one under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from stream_capi.errors import StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin

LOOK_SECONDS = 30.0
_DEADLINE_SECONDS = 2.0
_SHARE = 20  # what a look took, so many times over, is the least pause before the next one


class GroupLag(NamedTuple):
    """The sum over so many partitions, ``at`` seconds of the monotonic clock."""

    lag: int
    partitions: int
    at: float


def look(
    admin: KafkaAdmin, group: str, topics: Sequence[str], start: str, is_over: Callable[[], bool] = lambda: False
) -> GroupLag | None:
    """Ask the brokers; None where they don't tell it all, or ``is_over`` says that nobody wants to know any more.

    A topic that is missing has no lag. Of a partition without a committed offset all counts, unless ``start`` is ``latest``.
    """
    last = None
    try:
        for answer in _asked(admin.within(_DEADLINE_SECONDS), group, topics, start):
            if is_over():
                return None
            last = answer
    except StreamCapiError:
        return None
    return last


def _asked(admin: KafkaAdmin, group: str, topics: Sequence[str], start: str) -> Iterator[GroupLag | None]:
    """Yields between two questions, the last time with what came of them."""
    partitions = admin.partitions_at_once(topics)
    yield None
    committed = admin.committed_of(group, partitions)
    yield None
    bare = [tp for tp in partitions if tp not in committed] if start != "latest" else []
    froms = admin.first_offsets(bare) | {tp: at.offset for tp, at in committed.items()}
    yield None
    ends = admin.log_ends(partitions)
    lag = sum(max(0, end - froms.get(tp, end)) for tp, end in ends.items())
    yield GroupLag(lag, len(partitions), time.monotonic())


def pause_after(seconds: float) -> float:
    """How long to wait before the next look where this one took so long."""
    return max(LOOK_SECONDS, _SHARE * seconds)
