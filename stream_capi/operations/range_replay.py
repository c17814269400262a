"""A range of a topic, delivered again under a group of its own (contract, section 2: ``replay``).

A range may end "now", which is another offset a minute later. So the resolved offsets are stored in the commits of a second
group: the same arguments then mean the same range until it is done, whatever was produced or deleted since. Kafka forgets
both groups a week after the last run, by its default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from stream_capi.app import App
from stream_capi.config import Settings
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import Moment, Range, TopicLog, total
from stream_capi.model import TopicPartition
from stream_capi.operations import range_job
from stream_capi.operations.range_job import Progress, RangeJob, Tally

_PLAN = ".plan"
NOTHING = Tally(0, 0, {}, {})  # where a range was done before


class ReplayPlan(NamedTuple):
    """What is to be replayed. ``at`` is where each partition goes on, ``begun`` whether a run has been there before."""

    topic: str
    group: str
    ranges: Mapping[TopicPartition, Range]
    at: Mapping[TopicPartition, int]
    begun: bool

    @property
    def left(self) -> dict[TopicPartition, Range]:
        """What is still to be done, without the partitions that are."""
        left = {tp: Range(self.at[tp], end) for tp, (_, end) in self.ranges.items()}
        return {tp: of_one for tp, of_one in left.items() if of_one.size}


def plan(
    settings: Settings,
    admin: KafkaAdmin,
    topic: str,
    partitions: Collection[int],
    start: Moment,
    end: Moment,
    afresh: bool = False,
) -> ReplayPlan:
    """Find the range for these arguments: the one that an earlier run stored, unless ``afresh``.

    Changes nothing. Raises ConfigurationError, Unavailable, KafkaLost.
    """
    log = TopicLog(admin, topic, partitions)
    words = [topic, *map(str, sorted(set(partitions))), str(start), str(end)]
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    group = f"{settings.kafka.group_id}.replay.{digest[:10]}"
    kept = {} if afresh else _kept(admin, group, topic)
    if kept:
        committed = admin.committed(group, [topic])
        at = {
            tp: min(max(of_one.start, committed[tp].offset), of_one.end) if tp in committed else of_one.start
            for tp, of_one in kept.items()
        }
        return ReplayPlan(topic, group, kept, at, True)
    ranges = log.ranges(start, end)
    return ReplayPlan(topic, group, ranges, {tp: of_one.start for tp, of_one in ranges.items()}, False)


def _kept(admin: KafkaAdmin, group: str, topic: str) -> dict[TopicPartition, Range]:
    """The ranges that an earlier run stored, unless the topic was recreated since: its offsets mean other events."""
    now = admin.topic_ids([topic]).get(topic, "")
    kept = {}
    for tp, (end, text, _) in admin.committed(group + _PLAN, [topic]).items():
        start, _, then = text.partition(":")
        if start.isdigit() and (then == now or not (then and now)):
            kept[tp] = Range(int(start), end)
    return kept


def begin(admin: KafkaAdmin, planned: ReplayPlan) -> None:
    """Store a range before its first run. Raises CheckFailed while another run is active, Unavailable, KafkaLost.

    The start is stored first: if the process is killed in between, the next run plans the range again.
    """
    starts = {tp: of_one.start for tp, of_one in planned.ranges.items()}
    ends = {tp: of_one.end for tp, of_one in planned.ranges.items()}
    admin.reset(planned.group, starts)
    made = admin.topic_ids([planned.topic]).get(planned.topic, "")
    admin.reset(planned.group + _PLAN, ends, {tp: f"{start}:{made}" for tp, start in starts.items()})


class Replay(RangeJob):
    """A planned range on its way."""

    def __init__(self, planned: ReplayPlan, rate: float, show: Callable[[Progress], None]) -> None:
        super().__init__(planned.left, rate, show)
        self._plan = planned
        self._at = dict(planned.at)

    def progress(self, app: App) -> Progress:
        """Where it is now, in offsets of the whole range."""
        for tp, partition in app.pipeline.partitions.items():
            self._at[tp] = partition.offsets.position - partition.offsets.unresolved
        done = sum(self._at[tp] - of_one.start for tp, of_one in self._plan.ranges.items())
        tally = self.tally(app)
        return Progress(
            total(self._plan.ranges),
            done,
            tally.delivered,
            sum(tally.dead_lettered.values()),
            range_job.waits(app),
            app.stop_asked.is_set(),
        )


class ReplayLedger(NamedTuple):
    """What became of a range: offsets that are done for by former runs, that this run read, that had no record, are left."""

    offsets: int
    before: int
    tally: Tally
    without_record: int
    left: int

    @property
    def holds(self) -> bool:
        """Whether every offset of the range has its outcome, committed, and every record that was read is accounted for."""
        return self.left == 0 and self.tally.holds


async def run(
    settings: Settings, environ: Mapping[str, str], planned: ReplayPlan, rate: float, show: Callable[[Progress], None]
) -> tuple[int, Tally]:
    """Deliver what is left of a planned range. Returns the app's exit code and what became of the records."""
    work = Replay(planned, rate, show)
    return await range_job.run(work, range_job.settings_for(settings, planned.group, [planned.topic]), environ)


def ledger(admin: KafkaAdmin, planned: ReplayPlan, tally: Tally) -> ReplayLedger:
    """Close the books after a run, by what the broker has committed. Raises Unavailable, KafkaLost."""
    committed = admin.committed(planned.group, [planned.topic])
    offsets = total(planned.ranges)
    left = sum(max(0, end - max(start, committed[tp].offset)) for tp, (start, end) in planned.ranges.items())
    before = offsets - total(planned.left)
    return ReplayLedger(offsets, before, tally, max(0, offsets - before - left - tally.read), left)
