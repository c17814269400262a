"""What a member of the group promises, with a real broker and with the demo's embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.model import CommitResult, TopicPartition
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from tests.kafka.sink import PROTOCOLS, Member, numbered, produce
from tests.stack.names import Names
from tests.stack.waiting import eventually

pytestmark = pytest.mark.slow

PARTITIONS = 4  # as many as the embedded broker gives each topic


class Edge:
    """A broker and an assignment protocol."""

    def __init__(self, bootstrap: str, protocol: Mapping[str, Any], create: Any = None) -> None:
        self.bootstrap = bootstrap
        self.protocol = protocol
        self._create = create

    def topic(self, name: str) -> str:
        if self._create is not None:
            self._create(name, PARTITIONS)
        return name

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        found = KafkaAdmin(KafkaSection(bootstrap_servers=self.bootstrap)).committed(group, [topic])
        return {tp.partition: (at.offset, at.metadata) for tp, at in found.items()}


# The embedded broker forms classic groups slowly and refuses their commits at a hand-over: it gets only the newer protocol.
EVERYWHERE = [
    *(pytest.param(("real", name), marks=pytest.mark.real, id=f"real-{name}") for name in PROTOCOLS),
    pytest.param(("embedded", "consumer"), id="embedded-consumer"),
]


@pytest.fixture(params=EVERYWHERE)
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    kind, protocol = request.param
    if kind == "embedded":
        with EmbeddedBroker() as embedded:
            yield Edge(embedded.bootstrap, PROTOCOLS[protocol])
    else:
        broker = request.getfixturevalue("broker")
        yield Edge(broker.bootstrap, PROTOCOLS[protocol], broker.create_topic)


async def test_records_come_in_order_and_commits_are_read_back_with_their_metadata(edge: Edge, names: Names) -> None:
    topic, group = edge.topic(names.topic()), names.group()
    for partition in range(PARTITIONS):
        produce(edge.bootstrap, topic, partition, numbered(1500))
    async with Member(edge.bootstrap, group, [topic], edge.protocol) as member:
        await eventually(lambda: member.read == 6000, 30, "all records")
        for partition in range(PARTITIONS):
            assert member.values[TopicPartition(topic, partition)] == numbered(1500)
        member.metadata = "capi1:what is beyond"
        member.commit()
        await eventually(lambda: len(member.results) == PARTITIONS, 10, "the commit's end")
        assert all(result.error is None for result in member.results)
        assert edge.committed(group, topic) == dict.fromkeys(range(PARTITIONS), (1500, "capi1:what is beyond"))
        await eventually(lambda: set(member.high.values()) == {1500}, 10, "the high watermarks")
    produce(edge.bootstrap, topic, 0, numbered(5, 1500))
    async with Member(edge.bootstrap, group, [topic], edge.protocol) as member:
        await eventually(lambda: member.read == 5, 30, "the records behind the commit")
        assert member.every_assignment[0].metadata == "capi1:what is beyond"


async def test_a_hand_over_awaits_what_is_in_flight_and_commits_it(edge: Edge, names: Names) -> None:
    topic, group = edge.topic(names.topic()), names.group()
    for partition in range(PARTITIONS):
        produce(edge.bootstrap, topic, partition, numbered(100))
    async with Member(edge.bootstrap, group, [topic], edge.protocol) as first:
        await eventually(lambda: first.read == 400, 30, "all records")
        first.drain.clear()
        async with Member(edge.bootstrap, group, [topic], edge.protocol) as second:
            await asyncio.sleep(1.0)  # nothing may be handed over during this second
            assert not second.assignments
            assert edge.committed(group, topic) == {}
            first.drain.set()
            await eventually(lambda: bool(second.assignments), 30, "the hand-over")
            tp = next(iter(second.assignments))
            assert second.assignments[tp].offset == 100
            await eventually(
                lambda: len(first.assignments) + len(second.assignments) == PARTITIONS, 30, "an owner for each"
            )
            assert second.read == 0


async def _commit_after_losing(edge: Edge, names: Names) -> tuple[int, CommitResult]:
    """Let a partition's former owner commit; returns the group's committed offset then, and the result of that commit."""
    topic, group = edge.topic(names.topic()), names.group()
    for partition in range(PARTITIONS):
        produce(edge.bootstrap, topic, partition, numbered(10))
    async with Member(edge.bootstrap, group, [topic], edge.protocol) as first:
        await eventually(lambda: first.read == 40, 30, "all records")
        stale = {tp: first.commit_of(tp) for tp in first.assignments}
        async with Member(edge.bootstrap, group, [topic], edge.protocol) as second:
            await eventually(lambda: len(second.assignments) == 2 == len(first.assignments), 30, "an owner for each")
            tp = next(iter(second.assignments))
            produce(edge.bootstrap, topic, tp.partition, numbered(10, 10))
            await eventually(lambda: second.positions[tp] == 20, 30, "new records")
            second.commit()
            await eventually(lambda: edge.committed(group, topic).get(tp.partition, (0, ""))[0] == 20, 10, "the commit")
            before = len(first.results)
            first.thread.commit([stale[tp]])
            await eventually(lambda: len(first.results) > before, 10, "the former owner's result")
            return edge.committed(group, topic)[tp.partition][0], first.results[-1]


async def test_a_partition_no_longer_owned_is_never_committed(edge: Edge, names: Names) -> None:
    committed, result = await _commit_after_losing(edge, names)
    assert committed == 20
    assert result.error == "fenced"


async def test_without_the_check_of_ownership_a_commit_rewinds_the_new_owner(
    edge: Edge, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConsumerThread, "_owns", lambda self, commit: True)
    committed, result = await _commit_after_losing(edge, names)
    assert result.error is None
    assert committed == 10
