"""A log that is truncated below the position of a member, as by an unclean leader election.

One broker is enough: it is stopped, and the partition's folder is replaced by an earlier copy. The leader epoch rises with
each start of the broker, as it does with each election.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Records, TopicPartition
from tests.kafka.sink import Member, numbered, produce
from tests.stack import Broker
from tests.stack.asking import asker
from tests.stack.names import Names
from tests.stack.records import read
from tests.stack.waiting import eventually

pytestmark = pytest.mark.real


class CutLog:
    """A topic of one partition whose log can be reset to an earlier state."""

    def __init__(self, broker: Broker, topic: str, beside: Path) -> None:
        self.broker, self.topic = broker, topic
        self.tp = TopicPartition(topic, 0)
        self._copy = beside / "copy"
        broker.create_topic(topic)

    @property
    def _folder(self) -> Path:
        return self.broker._own().folder / "data" / f"{self.topic}-0"

    def keep(self) -> None:
        """Copy the log as it is. The broker restarts."""
        self.broker._own().terminate()
        shutil.copytree(self._folder, self._copy)
        self.broker.start()

    def cut(self) -> None:
        """Replace the log by the copy. The broker restarts."""
        self.broker._own().terminate()
        shutil.rmtree(self._folder)
        shutil.copytree(self._copy, self._folder)
        self.broker.start()


async def committed(member: Member) -> None:
    """Commit; retry if the partition was lost, because a restart of the broker took longer than the session."""
    while (error := await end_of_commit(member)) == "fenced":
        await eventually(lambda: bool(member.assignments), 60, "the partition")
    assert error is None


async def end_of_commit(member: Member) -> str | None:
    before = len(member.results)
    member.commit()
    await eventually(lambda: len(member.results) > before, 30, "the commit's end")
    return member.results[-1].error


async def test_a_log_cut_while_no_member_runs_stops_the_partition(
    own_broker: Broker, names: Names, tmp_path: Path
) -> None:
    log, group = CutLog(own_broker, names.topic(), tmp_path), names.group()
    produce(own_broker.bootstrap, log.topic, 0, numbered(1200))
    log.keep()
    produce(own_broker.bootstrap, log.topic, 0, numbered(1200, 1200))
    async with Member(own_broker.bootstrap, group, [log.topic], {}) as member:
        await eventually(lambda: member.read == 2400, 60, "all records")
        await committed(member)
    log.cut()
    produce(own_broker.bootstrap, log.topic, 0, numbered(2400, 5000))
    async with Member(own_broker.bootstrap, group, [log.topic], {}) as member:
        await eventually(lambda: member.stopped == {log.tp: "log_truncated"}, 60, "the stop")
        assert member.read == 0, "nothing is read on from there"
    assert own_broker.committed(group, log.topic)[0][0] == 2400


@pytest.mark.repeat(of="test_a_log_cut_while_no_member_runs_stops_the_partition")
@pytest.mark.parametrize("paused", [False, True], ids=["reading", "paused"])
async def test_a_log_cut_under_a_member_stops_the_partition(
    own_broker: Broker, names: Names, tmp_path: Path, paused: bool
) -> None:
    log, group = CutLog(own_broker, names.topic(), tmp_path), names.group()
    produce(own_broker.bootstrap, log.topic, 0, numbered(1200))
    log.keep()
    produce(own_broker.bootstrap, log.topic, 0, numbered(1200, 1200))
    async with Member(own_broker.bootstrap, group, [log.topic], {"session.timeout.ms": 60_000}) as member:
        await eventually(lambda: member.read == 2400, 60, "all records")
        await committed(member)
        if paused:
            member.thread.pause([log.tp])
        log.cut()
        produce(own_broker.bootstrap, log.topic, 0, numbered(2400, 5000))
        member.thread.resume([log.tp])
        await eventually(lambda: member.stopped == {log.tp: "log_truncated"}, 60, "the stop")
        assert member.read == 2400


@pytest.mark.repeat(of="test_an_offset_committed_behind_an_aborted_transaction_of_the_next_leader_is_read_on_from")
@pytest.mark.timeout(400)  # three restarts of a broker: 20 s on a machine that does nothing else
async def test_a_log_that_lost_nothing_is_read_on_through_every_change_of_its_leader(
    own_broker: Broker, names: Names
) -> None:
    topic, group = own_broker.create_topic(names.topic()), names.group()
    tp = TopicPartition(topic, 0)
    async with Member(own_broker.bootstrap, group, [topic], {"session.timeout.ms": 20_000}) as member:
        for start in (0, 100, 200):
            produce(own_broker.bootstrap, topic, 0, numbered(100, start))
            await eventually(lambda end=start + 100: member.read == end, 60, "all records")  # type: ignore[misc]
            await committed(member)
            own_broker.restart()
            await committed(member)
        assert member.leader_epochs[tp] > 0
    async with Member(own_broker.bootstrap, group, [topic], {}) as member:
        produce(own_broker.bootstrap, topic, 0, numbered(10, 300))
        await eventually(lambda: member.values[tp] == numbered(10, 300), 60, "the rest")
        assert member.every_assignment[0].leader_epoch > 0
        assert not member.stopped


async def test_an_offset_committed_behind_an_aborted_transaction_of_the_next_leader_is_read_on_from(
    own_broker: Broker, names: Names
) -> None:
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(100))
    own_broker.restart()
    abort(own_broker.bootstrap, topic, 10)
    produce(own_broker.bootstrap, topic, 0, numbered(5, 100))
    chunk = Records(topic, 0, 1, read(own_broker.bootstrap, [topic], 105, names.group("first")))  # type: ignore[arg-type]  # a message is a record
    offsets, read_to = PartitionOffsets(topic, 0, 1, 0), chunk.columns.offsets[-1] + 1
    offsets.track(chunk.columns.offsets, [1] * 105, read_to, chunk.leader_epochs)
    offsets.resolve_all(chunk.columns.offsets[:100])
    assert offsets.watermark >= 110, "behind the ten aborted records"
    committing = asker(own_broker.bootstrap, group)
    committing.commit(
        offsets=[ClientPartition(topic, 0, offsets.watermark, leader_epoch=offsets.leader_epoch)], asynchronous=False
    )
    committing.close()
    async with Member(own_broker.bootstrap, group, [topic], {}) as member:
        await eventually(lambda: member.read == 5 or bool(member.stopped), 60, "the rest")
        assert not member.stopped


def abort(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in numbered(count):
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    producer.abort_transaction(30)
