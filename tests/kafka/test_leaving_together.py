"""Members that leave a real group while other members join and leave it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.model import Commit, TopicPartition
from tests.kafka.sink import PROTOCOLS, Member, numbered, produce
from tests.stack import Broker
from tests.stack.names import Names
from tests.stack.waiting import eventually

pytestmark = pytest.mark.real

# With the client's default time-outs, so that a drain is longer than a heartbeat interval, as in production.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative-sticky": {},
    "consumer": {"group.protocol": "consumer"},
}
STATIC: Mapping[str, Mapping[str, Any]] = {
    "classic": {"session.timeout.ms": 20_000, "heartbeat.interval.ms": 500},
    "consumer": {"group.protocol": "consumer"},
}
QUICK_HEARTBEAT: Mapping[str, Any] = {"session.timeout.ms": 20_000, "heartbeat.interval.ms": 300}


def members_of(broker: Broker, group: str) -> int:
    return len(KafkaAdmin(KafkaSection(bootstrap_servers=broker.bootstrap)).group_members(group).members)


def state_of(broker: Broker, group: str) -> str:
    return KafkaAdmin(KafkaSection(bootstrap_servers=broker.bootstrap)).group_members(group).state


def named(properties: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    return {**properties, **({"group.instance.id": name} if name else {})}


@pytest.mark.cases(2)
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("protocol", DEFAULTS)
async def test_a_member_that_drains_longer_than_a_heartbeat_while_another_leaves_commits_and_ends(
    broker: Broker, names: Names, protocol: str, kind: str
) -> None:
    topic, group = broker.create_topic(names.topic(), 4), names.group()
    for partition in range(4):
        produce(broker.bootstrap, topic, partition, numbered(10))
    properties = [named(DEFAULTS[protocol], name if kind == "static" else None) for name in ("one", "two")]
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(Member(broker.bootstrap, group, [topic], given)) for given in properties
        ]
        for member in (first, second):
            member.thread.leave_for_good = True
        await eventually(lambda: _drained(first, 2) and _drained(second, 2), 60, "a share and its records for each")
        second.drain.clear()
        stopping = asyncio.create_task(second.thread.stop(25))
        assert await first.thread.stop(25)
        await asyncio.sleep(4)
        second.drain.set()
        begun = asyncio.get_running_loop().time()
        assert await stopping, "it hangs in the client"
        assert asyncio.get_running_loop().time() - begun < 10
    assert broker.committed(group, topic) == dict.fromkeys(range(4), (10, ""))
    if (protocol, kind) != ("consumer", "static"):  # this one can't leave for good
        assert members_of(broker, group) == 0


def _drained(member: Member, count: int) -> bool:
    """Whether the member has so many partitions and has read all ten records of each."""
    return [member.positions[tp] for tp in member.assignments] == [10] * count


def _reported_to_own(member: Member) -> int:
    signs = {"assigned": 1, "revoked": -1}
    return sum(signs.get(event, 0) * int(str(details.get("count", 0))) for event, details in member.reported.lines)


@pytest.mark.parametrize("protocol", STATIC)
async def test_while_a_static_member_restarts_the_others_keep_what_they_have(
    broker: Broker, names: Names, protocol: str
) -> None:
    topic, group = broker.create_topic(names.topic(), 4), names.group()
    produce(broker.bootstrap, topic, 0, numbered(10))
    one, two = (named(STATIC[protocol], name) for name in ("one", "two"))
    async with Member(broker.bootstrap, group, [topic], two) as other:
        async with Member(broker.bootstrap, group, [topic], one) as member:
            await eventually(lambda: len(member.assignments) == 2 == len(other.assignments), 60, "a share for each")
            await eventually(lambda: _reported_to_own(other) == 2, 30, "the report of its share, which follows it")
            owned, lines = set(member.assignments), len(other.reported.lines)
            assert await member.thread.stop(20)
        async with Member(broker.bootstrap, group, [topic], one) as member:
            await eventually(lambda: set(member.assignments) == owned, 30, "its share again")
            await asyncio.sleep(3)  # enough heartbeats to learn of a rebalance
            reported = [event for event, _ in other.reported.lines[lines:]]
            assert "revoked" not in reported
            assert "assigned" not in reported


@pytest.mark.parametrize("protocol", STATIC)
async def test_a_static_member_that_leaves_for_good_hands_its_partitions_over_at_once(
    broker: Broker, names: Names, protocol: str
) -> None:
    topic, group = broker.create_topic(names.topic(), 2), names.group()
    async with Member(broker.bootstrap, group, [topic], named(STATIC[protocol], "two")) as other:
        async with Member(broker.bootstrap, group, [topic], named(STATIC[protocol], "one")) as member:
            await eventually(lambda: len(member.assignments) == 1 == len(other.assignments), 60, "a share for each")
            member.thread.leave_for_good = True
            assert await member.thread.stop(20)
        if protocol == "classic":  # with the newer protocol a static member can't leave for good
            await eventually(lambda: len(other.assignments) == 2, 10, "all of it, long before the session's end")


@pytest.mark.cases(1)
@pytest.mark.parametrize("kind", ["again", "static"])
async def test_a_member_that_is_stopped_while_it_joins_leaves_the_group(
    broker: Broker, names: Names, kind: str
) -> None:
    """Another member drains and so delays the answer to the join, from which the client learns what it needs to leave.

    ``again``: the second join of a cooperative protocol, for the partitions that others have given up; the first one assigned
    none. ``static``: the first join of a static member, which the broker counts as a member before the client has the answer.
    """
    properties = {**QUICK_HEARTBEAT, **({} if kind == "again" else {"partition.assignment.strategy": "range"})}
    topic, group = broker.create_topic(names.topic(), 6), names.group()
    async with AsyncExitStack() as stack:
        count = 2 if kind == "again" else 1
        others = [
            await stack.enter_async_context(Member(broker.bootstrap, group, [topic], properties)) for _ in range(count)
        ]
        await eventually(lambda: [len(m.assignments) for m in others] == [6 // count] * count, 60, "a share for each")
        others[-1].drain.clear()
        async with Member(
            broker.bootstrap, group, [topic], named(properties, "three" if kind == "static" else None)
        ) as member:
            member.thread.leave_for_good = True
            if kind == "again":
                await eventually(lambda: bool(others[0].revoked), 30, "a partition given up for the new member")
            await eventually(lambda: state_of(broker, group) == "preparing_rebalancing", 30, "the join")
            await asyncio.sleep(1)  # so that all learn of it by their heartbeats
            stopping = asyncio.create_task(member.thread.stop(25))
            await asyncio.sleep(1)
            others[-1].drain.set()
            assert await stopping
        await eventually(lambda: members_of(broker, group) == count, 3, "the end of its membership")
        await eventually(lambda: sum(len(m.assignments) for m in others) == 6, 10, "all partitions with the others")


class Draining(Member):
    """A member whose requests in flight take up to a second when partitions are revoked, which delays joins."""

    chance = random.Random(8)

    async def revoke(self, partitions: Sequence[TopicPartition], seconds: float) -> list[Commit]:
        await asyncio.sleep(self.chance.uniform(0, 1.0))
        return await super().revoke(partitions, seconds)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("protocol", "kind"),
    # A static member with the newer protocol always stays until its session ends.
    [
        (protocol, kind)
        for protocol in PROTOCOLS
        for kind in ("dynamic", "static")
        if (protocol, kind) != ("consumer", "static")
    ],
)
async def test_no_member_that_stops_while_it_joins_stays_in_the_group(
    broker: Broker, names: Names, protocol: str, kind: str
) -> None:
    """Forty members stop at random moments within their first two seconds, the time that a join takes."""
    topic, group = broker.create_topic(names.topic(), 6), names.group()
    chance, ghosts, slowest = random.Random(7), 0, 0.0
    async with AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(Draining(broker.bootstrap, group, [topic], PROTOCOLS[protocol]))
            for _ in range(2)
        ]
        await eventually(lambda: [len(member.assignments) for member in others] == [3, 3], 60, "a share for each")
        for turn in range(40):
            given = named(PROTOCOLS[protocol], f"static-{turn}" if kind == "static" else None)
            async with Member(broker.bootstrap, group, [topic], given) as member:
                member.thread.leave_for_good = True
                await asyncio.sleep(chance.uniform(0, 2.0))
                begun = asyncio.get_running_loop().time()
                assert await member.thread.stop(25), "it hangs in the client"
                slowest = max(slowest, asyncio.get_running_loop().time() - begun)
            ghosts += members_of(broker, group) - 2
            await eventually(lambda: members_of(broker, group) == 2, 30, "the end of the ghost's session")
    print(f"{protocol}, {kind}: {ghosts} of 40, slowest stop {slowest:.1f} s")  # noqa: T201 -- for docs/reliability.md
    assert ghosts == 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_static_member_that_restarts_again_and_again_while_it_joins_costs_the_others_nothing(
    broker: Broker, names: Names, protocol: str
) -> None:
    """Forty stops at random moments within the first two seconds, each followed by a start under the same name."""
    topic, group, properties = broker.create_topic(names.topic(), 6), names.group(), PROTOCOLS[protocol]
    chance, took = random.Random(7), []
    async with AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(Draining(broker.bootstrap, group, [topic], named(properties, name)))
            for name in ("two", "three")
        ]
        await eventually(lambda: [len(member.assignments) for member in others] == [3, 3], 60, "a share for each")
        revoked = [0, 0]
        for turn in range(41):
            async with Member(broker.bootstrap, group, [topic], named(properties, "one")) as member:
                if turn == 0:
                    await eventually(lambda m=member: len(m.assignments) == 2, 60, "its share")  # type: ignore[misc]
                    revoked = [other.reported.count("revoked") for other in others]
                await asyncio.sleep(chance.uniform(0, 2.0))
                begun = asyncio.get_running_loop().time()
                assert await member.thread.stop(25), "it hangs in the client"
                took.append(asyncio.get_running_loop().time() - begun)
                await member.ended
        assert [other.reported.count("revoked") for other in others] == revoked
    print(f"{protocol}: slowest of {len(took)} stops {max(took):.1f} s")  # noqa: T201 -- for docs/reliability.md
