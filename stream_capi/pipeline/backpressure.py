"""Which partitions are read from, and how much comes next: by the memory in use and by what can be sent soon.

Half of the budget is common, first come, first served: if all of it were in shares, a member of many partitions would pause
each one after every chunk. The other half is in equal shares, one for each partition: so one partition that stands still can
fill the common half, and the others keep their shares.

The sums over all partitions are kept up to date, not computed when needed: a chunk, a batch or a credit costs the same with a
thousand partitions as with one. Code that changes what a partition holds calls ``regulate`` for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from stream_capi.model import Lane, TopicPartition
from stream_capi.pipeline.delivery import Delivery
from stream_capi.pipeline.partition import Partition
from stream_capi.pipeline.ports import Intake


class Backpressure:
    """Pauses and resumes partitions, and grants a credit for each chunk that may come.

    :param partitions: those that are assigned, as the owner keeps them.
    :param budget: bytes for open events.
    :param max_in_flight: requests that may be under way at once.
    """

    def __init__(
        self,
        partitions: Mapping[TopicPartition, Partition],
        delivery: Delivery,
        intake: Intake,
        budget: int,
        max_in_flight: int,
    ) -> None:
        self._partitions = partitions
        self._delivery = delivery
        self._intake = intake
        self.budget = budget
        self._enough = max(2, max_in_flight // 4)  # ready batches: more are not read ahead
        self._credits = 0  # for chunks taken in, not granted yet: more is ready than can be sent soon
        # Of all partitions, as last counted:
        self._in_use = 0  # bytes that their open events keep in memory
        self._events = 0  # that are open
        self._read: Counter[Lane | None] = Counter()  # partitions that are not paused, by their source's lane

    @property
    def buffered_bytes(self) -> int:
        """What the open events of all partitions keep in memory, in bytes."""
        return sum(partition.buffered_bytes for partition in self._partitions.values())

    def count_all(self) -> None:
        """Compute the sums again after partitions were assigned or revoked."""
        self._in_use = self._events = 0
        self._read.clear()
        for partition in self._partitions.values():
            partition.counted_bytes = partition.counted_events = 0
            self._count(partition)
            self._read[partition.source.lane] += not partition.paused

    def _count(self, partition: Partition) -> None:
        """Bring the sums up to what a partition holds now."""
        in_use, events = partition.buffered_bytes, partition.offsets.unresolved
        self._in_use += in_use - partition.counted_bytes
        self._events += events - partition.counted_events
        partition.counted_bytes, partition.counted_events = in_use, events

    def regulate_all(self) -> None:
        """Pause and resume the partitions that may need it. Call it a few times a second."""
        rests = any(line.held for line in self._delivery.lanes.values())
        due = [p for p in self._partitions.values() if rests or p.paused or p.counted_bytes or p.offsets.unresolved]
        for partition in due:
            self._count(partition)
        for partition in due:
            self.regulate(partition)
        # In any state of the lanes: a slow one fills its share of the memory, its partitions pause, and the rest goes on.
        self.grant_credits(at_least=1)

    def regulate(self, partition: Partition) -> None:
        """Pause or resume a partition, by the memory in use and the state of its lane."""
        if self._partitions.get(partition.tp) is not partition:
            return
        self._count(partition)
        waits = partition.source.paused or partition.stopped is not None
        pause = waits or self._is_full(partition) or self._lane_rests(partition)
        if pause != partition.paused:
            partition.paused = pause
            self._read[partition.source.lane] += -1 if pause else 1
            (self._intake.pause if pause else self._intake.resume)([partition.tp])

    def _is_full(self, partition: Partition) -> bool:
        """Whether the partition must take no more memory.

        It resumes at a lower mark than it pauses at, because each pause discards what was prefetched.
        """
        common, share = self.budget // 2, self._share()
        if partition.paused:
            common, share = common * 3 // 4, share // 2
        return partition.counted_bytes >= share and self._in_use >= common

    def _share(self) -> int:
        """A partition's share of the second half of the budget, in bytes."""
        return max(self.budget // 2 // len(self._partitions), 1)

    def _lane_rests(self, partition: Partition) -> bool:
        """Whether all events of this partition would only wait for a held pixel that already has events to probe with."""
        lane = partition.source.lane
        line = self._delivery.lanes.get(lane) if lane else None
        return line is not None and line.held and line.has_probe

    # Credits: how fast chunks come

    def chunks_taken(self) -> None:
        """A fetched chunk has been taken in: a credit for the next one is due."""
        self._credits += 1
        self.grant_credits()

    def grant_credits(self, at_least: int = 0) -> None:
        """Grant the credits that are due, once the ready batches can be sent soon.

        If chunks were taken as fast as they arrive, every partition would be read until its memory is full and then paused,
        which discards what was prefetched; and events would wait so long that they leave the processor's caches. The ready
        batches bridge the milliseconds until the next chunk, in which few slots become free.
        """
        while self._credits and (at_least > 0 or self._ready_batches() < self._enough):
            at_least -= 1
            self._credits -= 1
            self._intake.grant_credit(self._most())

    def _most(self) -> int | None:
        """How many records the next chunk may have: as many as a share holds, once the common half is used up.

        A partition is paused only after a chunk. Otherwise each of a hundred partitions could bring a chunk of the client's
        largest size, together many times the budget.
        """
        if self._in_use < self.budget // 2:
            return None
        return max(1, self._share() * self._events // self._in_use)

    def _ready_batches(self) -> int:
        """Batches that wait for a slot, of the lanes that are read for."""
        every = self._read[None] > 0  # records of such a source name their pixels
        lines = self._delivery.lanes.values()
        return sum(len(line.ready) for line in lines if line.ready and (every or self._read[line.lane] > 0))
