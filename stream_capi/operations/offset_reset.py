"""Setting the live group's committed offsets: what that would mean, and doing it (contract, section 2: ``reset``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from stream_capi.config import KafkaSection
from stream_capi.core.offset_metadata import topic_id_of
from stream_capi.errors import CheckFailed
from stream_capi.kafka.admin import KafkaAdmin, Member
from stream_capi.kafka.ranges import Moment, TopicLog
from stream_capi.kafka.sessions import session_of_stopped
from stream_capi.model import TopicPartition


class Change(NamedTuple):
    """What becomes of one partition, in offsets. ``committed`` is None where the group has no commit yet.

    ``again`` lie between the new offset and the old one and would be sent again; ``passed`` would never be sent. Both count
    records that exist: a commit outside the log's bounds is from before the topic was recreated, cut, or passed by retention.
    """

    tp: TopicPartition
    first: int
    end: int
    committed: int | None
    to: int
    stays: bool = False  # a member has committed this end of this log: what the commit says of all before it stays true

    @property
    def again(self) -> int:
        return max(0, min(self._from, self.end) - self.to)

    @property
    def passed(self) -> int:
        return max(0, self.to - max(self._from, self.first))

    @property
    def left(self) -> int:
        """The lag afterwards."""
        return self.end - self.to

    @property
    def out_of_bounds(self) -> bool:
        """Whether the present commit is of no use."""
        return self.committed is not None and not self.first <= self.committed <= self.end

    @property
    def _from(self) -> int:
        return self.first if self.committed is None else self.committed


class ResetPlan(NamedTuple):
    """The changes, and the group's members, on account of whom they would be refused.

    ``session_seconds`` is how long a static one of them stays in the group after it was stopped, where that is known.
    """

    group: str
    changes: list[Change]
    members: tuple[Member, ...]
    session_seconds: float | None

    @property
    def static(self) -> list[Member]:
        """The static members: whether they run or were stopped, the broker doesn't say."""
        return [member for member in self.members if member.instance_id]

    @property
    def waiting(self) -> str:
        """How long the static members must be waited for; empty where there is none."""
        if not self.static:
            return ""
        length = "its session time-out" if self.session_seconds is None else f"{self.session_seconds:g} s"
        names = ", ".join(map(str, self.static))
        return f"Static members stay in the group for {length} after they were stopped: wait for {names}"


def plan(
    admin: KafkaAdmin, kafka: KafkaSection, topics: Iterable[str], partitions: Collection[int], to: Moment
) -> ResetPlan:
    """Find what a reset would change. Raises ConfigurationError for an offset out of bounds, Unavailable, KafkaLost."""
    changes = []
    for topic in topics:
        log = TopicLog(admin, topic, partitions)
        committed, topic_id = admin.committed(kafka.group_id, [topic]), admin.topic_ids([topic]).get(topic)
        for tp, offset in log.offsets("--to", to).items():
            now, (first, end) = committed.get(tp), log.bounds[tp]
            stays = now is not None and now.offset == offset == end and topic_id_of(now.metadata) == topic_id
            changes.append(Change(tp, first, end, now.offset if now else None, offset, stays))
    group = admin.group_members(kafka.group_id)
    session = session_of_stopped(admin, kafka, group.protocol) if group.members else None
    return ResetPlan(kafka.group_id, changes, group.members, session)


def execute(admin: KafkaAdmin, planned: ResetPlan) -> None:
    """Do it. Raises CheckFailed while the group has members, Unavailable, KafkaLost."""
    try:
        admin.reset(planned.group, {change.tp: change.to for change in planned.changes if not change.stays})
    except CheckFailed as refused:
        raise CheckFailed(". ".join(filter(None, (str(refused), planned.waiting)))) from None
