"""The consumer's thread while the broker is frozen, down, restarted or cut off."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_capi.kafka.commits import Commits
from stream_capi.kafka.start_offsets import Place
from stream_capi.model import TopicPartition
from tests.kafka.sink import PROTOCOLS, Member, numbered, produce
from tests.stack import Broker, Proxy
from tests.stack.names import Names
from tests.stack.waiting import eventually

pytestmark = pytest.mark.real
PROPERTIES = {**PROTOCOLS["cooperative-sticky"], "session.timeout.ms": 30_000}


@pytest.mark.repeat(of="test_a_commit_that_meets_a_frozen_broker_is_answered_and_the_next_one_succeeds")
async def test_a_stop_ends_at_its_deadline_while_the_broker_is_frozen(own_broker: Broker, names: Names) -> None:
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(10))
    async with Member(own_broker.bootstrap, group, [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        own_broker.freeze()
        try:
            begun = asyncio.get_running_loop().time()
            assert not await member.thread.stop(4)
            assert asyncio.get_running_loop().time() - begun < 20  # the client itself would block for minutes
        finally:
            own_broker.thaw()
        await eventually(member.ended.done, 60, "the thread's end once the broker answers")
    assert own_broker.committed(group, topic) in ({}, {0: (10, "")})


async def test_a_commit_that_meets_a_frozen_broker_is_answered_and_the_next_one_succeeds(
    own_broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_capi.kafka.commits.ANSWER_SECONDS", 2.0)
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(10))
    async with Member(own_broker.bootstrap, group, [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        own_broker.freeze()
        try:
            member.commit()
            await eventually(lambda: len(member.results) == 1, 30, "an answer")
            assert member.results[0].error is not None
        finally:
            own_broker.thaw()
        await _commit_until_taken(member)
        assert own_broker.committed(group, topic) == {0: (10, "")}
        assert not member.lost_partitions


async def test_a_place_that_is_found_late_is_kept_though_the_client_may_ask_for_another(
    own_broker: Broker, own_proxy: Proxy, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offset that the client asks for itself (the log's beginning) would undo the seek when the answer comes after it."""
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(20))
    tp = TopicPartition(topic, 0)

    def find_nothing(*_: object) -> list[Place]:
        own_proxy.latency = 2.0  # what the client asks now is answered after the place was found
        monkeypatch.setattr("stream_capi.kafka.consumer.find_places", find_it)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def find_it(*_: object) -> list[Place]:
        own_proxy.latency = 0.0
        return [Place(tp, 15, "", True, 20, None)]

    monkeypatch.setattr("stream_capi.kafka.consumer.find_places", find_nothing)
    async with Member(own_proxy.address, group, [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 5, 30, "the records from the place on")
        await asyncio.sleep(1.5)  # three times as long as the client waits before it asks again
        produce(own_broker.bootstrap, topic, 0, numbered(3))
        await eventually(lambda: member.read == 8 or member.ended.done(), 30, "the next records")
        assert not member.ended.done()
        assert member.offsets[tp] == list(range(15, 23))


async def _commit_until_taken(member: Member) -> None:
    for _ in range(60):
        before = len(member.results)
        member.commit()
        await eventually(lambda n=before: len(member.results) > n, 30, "an answer")  # type: ignore[misc]  # bound now
        if member.results[-1].error is None:
            return
        await asyncio.sleep(0.5)
    raise AssertionError("no commit succeeds")


@pytest.mark.repeat(of="test_a_commit_that_meets_a_frozen_broker_is_answered_and_the_next_one_succeeds")
@pytest.mark.parametrize(
    "protocol",
    ["cooperative-sticky", *(pytest.param(name, marks=pytest.mark.repeat) for name in ("range", "consumer"))],
)
async def test_a_broker_that_dies_and_comes_back_is_told_once_and_read_on(
    own_broker: Broker, names: Names, protocol: str
) -> None:
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(10))
    tp = TopicPartition(topic, 0)
    async with Member(own_broker.bootstrap, group, [topic], PROTOCOLS[protocol]) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        await _commit_until_taken(member)
        own_broker.kill()
        await eventually(lambda: member.reported.count("brokers unreachable") == 1, 30, "the word of it")
        own_broker.restart()
        produce(own_broker.bootstrap, topic, 0, numbered(10, 10))
        await eventually(lambda: member.offsets[tp][-1] == 19, 60, "the new records")
        assert member.reported.count("brokers unreachable") == 1
        await _commit_until_taken(member)
        assert own_broker.committed(group, topic) == {0: (20, "")}


async def test_a_member_that_is_cut_off_goes_on_when_the_connection_is_mended(
    own_broker: Broker, own_proxy: Proxy, names: Names
) -> None:
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(10))
    async with Member(own_proxy.address, group, [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        own_proxy.half_open()
        try:
            produce(own_broker.bootstrap, topic, 0, numbered(10, 10))
            await asyncio.sleep(2)
            assert member.read == 10
        finally:
            own_proxy.heal()
        await eventually(lambda: member.read == 20, 60, "the new records")


async def test_without_a_broker_the_member_waits_and_says_so_in_one_line(names: Names) -> None:
    async with Member("127.0.0.1:1", names.group(), ["topic"], PROPERTIES) as member:
        await eventually(lambda: bool(member.reported.lines), 30, "the word of it")
        await asyncio.sleep(3)
        assert [event for event, _ in member.reported.lines] == ["brokers unreachable"]
        assert "127.0.0.1:1" in str(member.reported.lines[0][1]["detail"])
        assert await member.thread.stop(20)


async def test_a_frozen_broker_at_the_hand_over_holds_it_for_seconds_only(own_broker: Broker, names: Names) -> None:
    """The wait for the commit has its own time-out, whatever the broker does."""
    topic = own_broker.create_topic(names.topic())
    produce(own_broker.bootstrap, topic, 0, numbered(10))
    async with Member(own_broker.bootstrap, names.group(), [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        own_broker.freeze()
        try:
            commits = [member.commit_of(TopicPartition(topic, 0))]
            reported: list[object] = []
            member.thread._commands.put(
                lambda: Commits(lambda _: True, reported.extend).wait_for(member.thread._consumer, commits, 1.0)
            )
            await eventually(lambda: bool(reported), 20, "the end of the wait")
        finally:
            own_broker.thaw()
        assert [result.error for result in reported] == ["timeout"]  # type: ignore[attr-defined]  # results of commits


async def test_a_stop_commits_when_the_broker_answers_again_before_its_deadline(
    own_broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group = own_broker.create_topic(names.topic()), names.group()
    produce(own_broker.bootstrap, topic, 0, numbered(10))
    async with Member(own_broker.bootstrap, group, [topic], PROPERTIES) as member:
        await eventually(lambda: member.read == 10, 30, "all records")
        member.drain.clear()
        stopping = asyncio.create_task(member.thread.stop(60))
        await _freeze_at_the_commit(own_broker, member, monkeypatch)
        assert await stopping
    assert own_broker.committed(group, topic) == {0: (10, "")}
    assert [result.error for result in member.results] == [None]


@pytest.mark.parametrize(
    "protocol",
    ["cooperative-sticky", *(pytest.param(name, marks=pytest.mark.repeat) for name in ("range", "consumer"))],
)
async def test_a_rebalance_commits_when_the_broker_answers_again_before_its_deadline(
    own_broker: Broker, names: Names, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group = own_broker.create_topic(names.topic(), 2), names.group()
    for number in range(2):
        produce(own_broker.bootstrap, topic, number, numbered(10))
    properties = {**PROTOCOLS[protocol], **({} if protocol == "consumer" else {"session.timeout.ms": 30_000})}
    async with Member(own_broker.bootstrap, group, [topic], properties, revoke_seconds=60) as first:
        await eventually(lambda: first.read == 20, 30, "all records")
        first.drain.clear()
        async with Member(own_broker.bootstrap, group, [topic], properties) as second:
            await _freeze_at_the_commit(own_broker, first, monkeypatch)
            await eventually(lambda: len(second.assignments) == 1, 60, "the hand-over")
            assert [at.offset for at in second.every_assignment] == [10]


async def _freeze_at_the_commit(broker: Broker, member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeze the broker for the time of many questions: a lost coordinator has a successor only after some seconds."""
    for module in ("commits", "consumer"):
        monkeypatch.setattr(f"stream_capi.kafka.{module}.CALL_SECONDS", 0.2)
    await asyncio.wait_for(member.revoking.wait(), 30)
    broker.freeze()
    try:
        member.drain.set()
        await asyncio.sleep(2)
        assert member.results == []
    finally:
        broker.thaw()
