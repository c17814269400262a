"""The consumer's thread against a real broker, with each assignment protocol."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.cimpl import NewPartitions

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import ConfigurationError, KafkaLost
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.start_offsets import find_places
from stream_capi.model import TopicPartition
from tests.kafka.sink import PROTOCOLS, Member, numbered, produce
from tests.stack import Broker
from tests.stack.names import Names
from tests.stack.waiting import eventually, until

pytestmark = pytest.mark.real


@pytest.fixture(params=["cooperative-sticky", "consumer", pytest.param("range", marks=pytest.mark.repeat)])
def protocol(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return PROTOCOLS[request.param]


# For tests in which the protocols could differ only in what other tests cover.
@pytest.fixture(
    params=["cooperative-sticky", *(pytest.param(name, marks=pytest.mark.repeat) for name in ("range", "consumer"))]
)
def one_protocol(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return PROTOCOLS[request.param]


@contextmanager
def another(broker: Broker, group: str, topic: str, protocol: Mapping[str, Any]) -> Iterator[threading.Event]:
    """Run a plain member on another thread until the context ends; the event is set once it has a partition."""
    config = {**protocol, "bootstrap.servers": broker.bootstrap, "group.id": group, "log_level": 0}
    if "group.protocol" not in protocol:
        config.setdefault("partition.assignment.strategy", "cooperative-sticky")
    served, over = threading.Event(), threading.Event()

    def take_part() -> None:
        with closing(Consumer(config | {"enable.auto.commit": False})) as consumer:
            consumer.subscribe([topic])
            while not over.is_set():
                consumer.poll(0.05)
                if consumer.assignment():
                    served.set()

    thread = threading.Thread(target=take_part)
    thread.start()
    try:
        yield served
    finally:
        over.set()
        thread.join(30)


async def test_a_hand_over_waits_no_longer_than_its_deadline(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    async with Member(broker.bootstrap, group, [topic], protocol, revoke_seconds=0.5) as first:
        await eventually(lambda: len(first.assignments) == 2, 30, "the assignment")
        first.drain.clear()
        async with Member(broker.bootstrap, group, [topic], protocol) as second:
            await eventually(lambda: bool(second.assignments), 30, "the hand-over")


@pytest.mark.parametrize("name", ["cooperative-sticky", pytest.param("range", marks=pytest.mark.repeat)])
async def test_a_member_that_gets_an_empty_share_reports_it(broker: Broker, names: Names, name: str) -> None:
    """So it shows as idle, and no longer as joining. With ``group.protocol=consumer`` the client reports no empty share."""
    protocol = PROTOCOLS[name]
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    async with Member(broker.bootstrap, group, [topic], protocol) as first:
        await eventually(lambda: bool(first.assignments), 30, "the assignment")
        # The range assignor orders by member ids, which the broker draws: it may give the partition to one of the others.
        async with (
            Member(broker.bootstrap, group, [topic], protocol) as second,
            Member(broker.bootstrap, group, [topic], protocol) as third,
        ):
            empty = ("assigned", {"count": 0, "epoch": 1})
            await eventually(lambda: empty in second.reported.lines + third.reported.lines, 30, "an empty share")


@pytest.mark.repeat(of="test_at_rest_nothing_more_is_read_and_a_stop_commits_what_the_sink_says")
async def test_a_hand_over_with_a_stuck_loop_commits_nothing_and_fences(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    for partition in range(2):
        produce(broker.bootstrap, topic, partition, numbered(10))
    async with Member(broker.bootstrap, group, [topic], one_protocol, revoke_seconds=0.2) as first:
        await eventually(lambda: first.read == 20, 30, "all records")
        with another(broker, group, topic, one_protocol) as served:
            assert served.wait(30)  # blocks the loop: the sink can't be called meanwhile
            await eventually(lambda: bool(first.lost_partitions), 10, "the fence")
            assert not first.revoked
            assert broker.committed(group, topic) == {}
        moved = first.lost_partitions[0]
        await eventually(lambda: first.offsets[moved] == [*range(10), *range(10)], 30, "the partition, read again")


async def test_a_pause_holds_and_ends_without_losing_or_doubling(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    tp = TopicPartition(topic, 0)
    produce(broker.bootstrap, topic, 0, numbered(2000))
    async with Member(broker.bootstrap, group, [topic], one_protocol) as member:
        for _ in range(20):  # while records arrive
            member.thread.pause([tp])
            member.thread.resume([tp])
            await asyncio.sleep(0.01)
        await eventually(lambda: member.read == 2000, 30, "all records")
        member.thread.pause([tp])
        await eventually(lambda: tp in member.thread.paused, 10, "the pause")
        produce(broker.bootstrap, topic, 0, numbered(10, 2000))
        await eventually(lambda: member.high[tp] == 2010, 30, "the log's end, which no fetch brings now")
        assert member.read == 2000
        member.thread.resume([tp])
        await eventually(lambda: member.values[tp] == numbered(2010), 30, "the rest")


async def test_a_pause_ends_with_its_assignment(broker: Broker, names: Names, protocol: Mapping[str, Any]) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    async with Member(broker.bootstrap, group, [topic], protocol) as first:
        await eventually(lambda: len(first.assignments) == 2, 30, "the assignment")
        first.thread.pause(list(first.assignments))
        async with Member(broker.bootstrap, group, [topic], protocol) as second:
            await eventually(lambda: len(second.assignments) == 1 == len(first.assignments), 30, "an owner for each")
            came_back = next(iter(second.assignments))
        await eventually(lambda: len(first.assignments) == 2, 30, "the way back")
        produce(broker.bootstrap, topic, came_back.partition, numbered(10))
        await eventually(lambda: first.offsets[came_back] == list(range(10)), 30, "its records")


async def test_a_pause_that_was_meant_for_a_former_assignment_is_passed_over(broker: Broker, names: Names) -> None:
    """Otherwise the pause would never end: the sink assumes that partitions of a new assignment are read."""
    topic = broker.create_topic(names.topic())
    async with Member(broker.bootstrap, names.group(), [topic], {}) as member:
        await eventually(lambda: bool(member.assignments), 30, "the assignment")
        member.thread._known_epoch = 0  # as while the loop has not been told of the assignment yet
        member.thread.pause([TopicPartition(topic, 0)])
        produce(broker.bootstrap, topic, 0, numbered(10))
        await eventually(lambda: member.read == 10, 30, "all records")


@pytest.mark.repeat(of="test_at_rest_nothing_more_is_read_and_a_stop_commits_what_the_sink_says")
async def test_a_loop_that_is_behind_costs_neither_records_nor_the_membership(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    produce(broker.bootstrap, topic, 0, numbered(5000))
    polling = {**one_protocol, "max.poll.interval.ms": 6000}
    async with Member(broker.bootstrap, group, [topic], polling) as member:
        member.granting = False
        await eventually(lambda: member.read > 0, 30, "the first records")
        await asyncio.sleep(8)  # longer than a member may go without polling
        assert member.read < 5000
        assert member.thread.paused == {TopicPartition(topic, 0)}, "what is not handed over is not fetched"
        member.granting = True
        member.thread.grant_credit()
        await eventually(lambda: member.read == 5000, 30, "all records")
        assert not member.lost_partitions
        assert len(member.every_assignment) == 1


async def test_a_chunk_has_no_more_records_than_were_asked_for(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic(), 1)
    produce(broker.bootstrap, topic, 0, numbered(1500))
    async with Member(broker.bootstrap, names.group(), [topic], {}) as member:
        member.most = 7
        await eventually(lambda: member.read == 1500, 30, "all records")
    assert max(member.chunks[1:]) == 7, "of the first one nothing was said"


@pytest.mark.repeat(of="test_at_rest_nothing_more_is_read_and_a_stop_commits_what_the_sink_says")
async def test_a_member_that_polls_too_late_loses_its_partitions_and_joins_again(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    produce(broker.bootstrap, topic, 0, numbered(10))
    polling = {**one_protocol, "max.poll.interval.ms": 6000}
    async with Member(broker.bootstrap, group, [topic], polling) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        member.thread._commands.put(lambda: time.sleep(8))
        await eventually(lambda: bool(member.lost_partitions), 30, "the loss")
        assert broker.committed(group, topic) == {}
        await eventually(lambda: member.read == 20, 30, "the partition, read again")
        assert not member.revoked


async def test_partitions_that_are_added_are_read_from_their_first_event_even_when_the_group_began_at_the_latest(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    produce(broker.bootstrap, topic, 0, numbered(10))
    async with Member(broker.bootstrap, group, [topic], protocol, start="latest") as member:
        await eventually(lambda: bool(member.assignments), 30, "the assignment")
        assert member.assignments[TopicPartition(topic, 0)].offset == 10
        member.commit()
        await eventually(lambda: len(member.results) == 1, 10, "the commit's end")
        broker.admin.create_partitions([NewPartitions(topic, 2)])[topic].result(10)
        until(lambda: len(broker.end_offsets(topic)) == 2, 15, "the new partition")
        produce(broker.bootstrap, topic, 1, numbered(5))
        added = TopicPartition(topic, 1)
        await eventually(lambda: member.values[added] == numbered(5), 60, "the new partition's records")


@pytest.mark.cases(1)
async def test_a_topic_that_is_missing_is_told_in_one_line_and_read_once_it_is_there(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    there, missing, group = broker.create_topic(names.topic("there")), names.topic("missing"), names.group()
    produce(broker.bootstrap, there, 0, numbered(3))
    async with Member(broker.bootstrap, group, [there, missing], protocol) as member:
        await eventually(lambda: member.read == 3, 30, "the records of the topic that is there")
        await eventually(lambda: missing in member.thread.missing_topics, 30, "the missing topic")
        await asyncio.sleep(2.5)  # enough refreshes of the metadata, each of which finds it missing
        assert [details["topic"] for event, details in member.reported.lines if event == "topic missing"] == [missing]
        broker.create_topic(missing)
        produce(broker.bootstrap, missing, 0, numbered(3))
        await eventually(lambda: member.read == 6, 60, "the other records")
        assert member.thread.missing_topics == frozenset()


async def test_an_offset_that_retention_has_passed_stops_the_partition(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    gone, whole = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with Member(broker.bootstrap, group, [topic], one_protocol) as member:
        await eventually(lambda: len(member.assignments) == 2, 30, "the assignment")
        member.commit()
        await eventually(lambda: len(member.results) == 2, 10, "the commit's end")
    for partition in range(2):
        produce(broker.bootstrap, topic, partition, numbered(10))
    broker.delete_records(topic, 0, 5)
    async with Member(broker.bootstrap, group, [topic], one_protocol) as member:
        await eventually(lambda: len(member.offsets[whole]) == 10, 30, "the other partition's records")
        assert member.stopped == {gone: "offset_out_of_range"}
        assert not member.offsets[gone]
    assert broker.committed(group, topic)[0][0] == 0


async def test_records_that_go_while_a_partition_is_paused_stop_it(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    tp = TopicPartition(topic, 0)
    async with Member(broker.bootstrap, group, [topic], one_protocol) as member:
        await eventually(lambda: bool(member.assignments), 30, "the assignment")
        member.thread.pause([tp])
        await eventually(lambda: tp in member.thread.paused, 10, "the pause")
        produce(broker.bootstrap, topic, 0, numbered(10))
        broker.delete_records(topic, 0, 5)
        member.thread.resume([tp])
        await eventually(lambda: member.stopped == {tp: "offset_out_of_range"}, 30, "the stop")
        assert not member.read


async def test_a_partition_without_a_commit_stops_where_that_is_an_error(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    produce(broker.bootstrap, topic, 0, numbered(10))
    async with Member(broker.bootstrap, names.group(), [topic], {}, start="error") as member:
        await eventually(lambda: bool(member.stopped), 30, "the stop")
        assert member.stopped == {TopicPartition(topic, 0): "no_committed_offset"}
        assert not member.read


async def test_a_topic_made_anew_is_seen_by_its_id_and_not_read_on(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic()), names.group()
    produce(broker.bootstrap, topic, 0, numbered(10))
    async with Member(broker.bootstrap, group, [topic], protocol) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        former = member.topic_ids[topic]
        assert member.ids.topic_ids([topic]) == {topic: former}
        broker.delete_topic(topic)
        broker.create_topic(topic)
        assert member.ids.topic_ids([topic])[topic] not in ("", former)


async def test_an_exception_in_the_sink_ends_the_thread_and_is_told(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    produce(broker.bootstrap, topic, 0, numbered(10))
    before = set(threading.enumerate())
    async with Member(broker.bootstrap, names.group(), [topic], {}) as member:
        (thread,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "kafka-consumer")
        member.positions = MappingProxyType({})  # type: ignore[assignment]  # read-only, so that writing raises
        with pytest.raises(TypeError):
            await asyncio.wait_for(member.ended, 30)
        await eventually(lambda: not thread.is_alive(), 30, "the thread's end")


async def test_an_exception_in_a_callback_ends_the_thread_and_is_told(
    broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic(names.topic())
    async with Member(broker.bootstrap, names.group(), [topic], {}) as member:
        monkeypatch.setattr(member.thread, "_topic_ids", lambda topics: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(member.ended, 30)


@pytest.mark.cases(1)
async def test_while_the_broker_does_not_tell_the_places_the_member_polls_on(
    broker: Broker, names: Names, protocol: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic(names.topic())
    produce(broker.bootstrap, topic, 0, numbered(10))
    answers = iter([KafkaException(KafkaError(KafkaError._TIMED_OUT)), []])

    def find(*args: Any) -> Any:
        answer = next(answers, None)
        if isinstance(answer, Exception):
            raise answer
        return find_places(*args) if answer is None else answer

    monkeypatch.setattr("stream_capi.kafka.consumer.find_places", find)
    async with Member(broker.bootstrap, names.group(), [topic], protocol) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        assert member.values[TopicPartition(topic, 0)] == numbered(10)
        assert member.reported.count("brokers unreachable") == 1
        assert member.reported.count("brokers answer again") == 1


@pytest.mark.cases(1)
@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
async def test_a_static_member_comes_back_to_its_partitions_and_is_lost_when_another_takes_its_name(
    broker: Broker, names: Names, group_protocol: str
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    properties = {"group.protocol": group_protocol, "group.instance.id": "one"}
    if group_protocol == "classic":
        properties["session.timeout.ms"] = "30000"
    async with Member(broker.bootstrap, group, [topic], properties | {"group.instance.id": "two"}) as other:
        async with Member(broker.bootstrap, group, [topic], properties) as member:
            await eventually(lambda: len(member.assignments) == 1 == len(other.assignments), 30, "an owner for each")
            owned = set(member.assignments)
        before = len(other.every_assignment)
        async with Member(broker.bootstrap, group, [topic], properties) as member:
            await eventually(lambda: bool(member.assignments), 30, "the assignment")
            assert set(member.assignments) == owned
            assert len(other.every_assignment) == before
            async with Member(broker.bootstrap, group, [topic], properties) as usurper:
                done, _ = await asyncio.wait([member.ended, usurper.ended], timeout=30, return_when="FIRST_COMPLETED")
                assert done
                with pytest.raises(KafkaLost, match="instance"):
                    next(iter(done)).result()


async def test_at_rest_nothing_more_is_read_and_a_stop_commits_what_the_sink_says(
    broker: Broker, names: Names, one_protocol: Mapping[str, Any]
) -> None:
    topic, group = broker.create_topic(names.topic(), 1), names.group()
    produce(broker.bootstrap, topic, 0, numbered(10))
    async with Member(broker.bootstrap, group, [topic], one_protocol) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        member.thread.rest()
        await eventually(lambda: bool(member.thread.paused), 10, "the rest")
        member.thread.resume([TopicPartition(topic, 0)])
        produce(broker.bootstrap, topic, 0, numbered(10, 10))
        await eventually(lambda: member.high[TopicPartition(topic, 0)] == 20, 30, "the log's end")
        assert member.read == 10
        member.metadata = "last"
        assert await member.thread.stop(20)
        assert broker.committed(group, topic) == {0: (10, "last")}
        assert KafkaAdmin(KafkaSection(bootstrap_servers=broker.bootstrap)).group_members(group).members == ()


@pytest.mark.cases(1)
async def test_members_that_stop_at_the_same_time_commit_all_and_end(
    broker: Broker, names: Names, protocol: Mapping[str, Any]
) -> None:
    """Each member that leaves starts a rebalance, during which the others commit and leave."""
    quick = protocol if "group.protocol" in protocol else {**protocol, "heartbeat.interval.ms": 50}
    for round_ in range(4):
        topic, group = broker.create_topic(names.topic(f"topic{round_}"), 6), names.group(f"group{round_}")
        for partition in range(6):
            produce(broker.bootstrap, topic, partition, numbered(10))
        members = [Member(broker.bootstrap, group, [topic], quick) for _ in range(3)]
        async with AsyncExitStack() as stack:
            for member in members:
                await stack.enter_async_context(member)
            await eventually(partial(_shared, members), 60, "a share and all its records for each")
            assert all(await asyncio.gather(*(_stop(m, at * round_ * 0.05) for at, m in enumerate(members))))
        assert broker.committed(group, topic) == dict.fromkeys(range(6), (10, ""))


def _shared(members: list[Member]) -> bool:
    """Whether each member has two partitions and has read all ten records of both."""
    return all(sorted(member.positions[tp] for tp in member.assignments) == [10, 10] for member in members)


async def _stop(member: Member, late: float) -> bool:
    await asyncio.sleep(late)
    return await member.thread.stop(30)


def test_a_property_that_the_client_refuses_is_a_fault_of_the_configuration(broker: Broker) -> None:
    member = Member(broker.bootstrap, "group", ["topic"], {"no.such.property": "1"})

    async def start() -> None:
        member.thread.start(member)

    with pytest.raises(ConfigurationError, match=r'kafka\.properties\."no\.such\.property": unknown property'):
        asyncio.run(start())
