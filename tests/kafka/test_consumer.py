"""The consumer's thread against a real broker, under each way of sharing partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.model import CommitResult, TopicPartition
from tests.kafka.sink import PROTOCOLS, Member, eventually, produce
from tests.stack import Broker
from tests.stack.names import Names

pytestmark = pytest.mark.real


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return PROTOCOLS[request.param]


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


async def test_records_come_in_order_and_commits_are_read_back_with_their_metadata(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    for partition in range(2):
        produce(broker.bootstrap, topic, partition, numbered(3000))
    async with Member(broker.bootstrap, group, [topic], protocol) as member:
        await eventually(lambda: member.read == 6000, 30, "all records")
        for partition in range(2):
            assert member.values[TopicPartition(topic, partition)] == numbered(3000)
        member.metadata = "capi1:what is beyond"
        member.commit()
        await eventually(lambda: len(member.results) == 2, 10, "the commit's end")
        assert all(result.error is None for result in member.results)
        assert broker.committed(group, topic) == dict.fromkeys(range(2), (3000, "capi1:what is beyond"))
        await eventually(lambda: set(member.high.values()) == {3000}, 10, "the high watermarks")
    produce(broker.bootstrap, topic, 0, numbered(5, 3000))
    async with Member(broker.bootstrap, group, [topic], protocol) as member:
        await eventually(lambda: member.read == 5, 30, "the records behind the commit")
        assert member.every_assignment[0].metadata == "capi1:what is beyond"


async def test_a_hand_over_awaits_what_is_in_flight_and_commits_it(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    for partition in range(2):
        produce(broker.bootstrap, topic, partition, numbered(100))
    async with Member(broker.bootstrap, group, [topic], protocol) as first:
        await eventually(lambda: first.read == 200, 30, "all records")
        first.drain.clear()
        async with Member(broker.bootstrap, group, [topic], protocol) as second:
            await asyncio.sleep(1.0)  # not awaited for anything: in this second nothing may be handed over
            assert not second.assignments
            assert broker.committed(group, topic) == {}
            first.drain.set()
            await eventually(lambda: bool(second.assignments), 30, "the hand-over")
            tp = next(iter(second.assignments))
            assert second.assignments[tp].offset == 100, (first.results, first.told.lines, second.told.lines)
            await eventually(lambda: len(first.assignments) + len(second.assignments) == 2, 30, "an owner for each")
            assert second.read == 0


async def _commit_after_losing(broker: Broker, names: Names, protocol: Mapping[str, Any]) -> tuple[int, CommitResult]:
    """What the group has committed for a partition after its former owner has tried to commit, and that one's result."""
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    for partition in range(2):
        produce(broker.bootstrap, topic, partition, numbered(10))
    async with Member(broker.bootstrap, group, [topic], protocol) as first:
        await eventually(lambda: first.read == 20, 30, "all records")
        stale = {tp: first.commit_of(tp) for tp in first.assignments}
        async with Member(broker.bootstrap, group, [topic], protocol) as second:
            await eventually(lambda: len(second.assignments) == 1 == len(first.assignments), 30, "an owner for each")
            tp = next(iter(second.assignments))
            produce(broker.bootstrap, topic, tp.partition, numbered(10, 10))
            await eventually(lambda: second.positions[tp] == 20, 30, "new records")
            second.commit()
            await eventually(
                lambda: broker.committed(group, topic).get(tp.partition, (0, ""))[0] == 20, 10, "the commit"
            )
            before = len(first.results)
            first.thread.commit([stale[tp]])
            await eventually(lambda: len(first.results) > before, 10, "the former owner's result")
            return broker.committed(group, topic)[tp.partition][0], first.results[-1]


async def test_a_partition_no_longer_owned_is_never_committed(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    committed, result = await _commit_after_losing(broker, names, protocol)
    assert committed == 20
    assert result.error == "fenced"


async def test_without_the_check_of_ownership_a_commit_rewinds_the_new_owner(
    broker: Broker, names: Names, protocol: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConsumerThread, "_owns", lambda self, commit: True)
    committed, result = await _commit_after_losing(broker, names, protocol)
    assert result.error is None
    assert committed == 10
