"""The interface of the simulated world: methods for what may happen, and checks after each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any

from confluent_kafka import KafkaError

from stream_capi.model import EventName, Lane, TopicPartition
from stream_capi.pipeline.partition import Partition
from tests.proof.world import conservation
from tests.proof.world.coordinator import Coordinator
from tests.proof.world.events import RegistryState, draw_kind, draw_schema
from tests.proof.world.ledger import Ledger
from tests.proof.world.member import EPOCH_SECONDS, Member
from tests.proof.world.simulated_endpoint import SimulatedEndpoint
from tests.simulation import JumpingLoop, held

# topic: (lane, partitions)
TOPICS: dict[str, tuple[Lane, int]] = {
    "leads": (Lane("main", EventName.GENERATE_LEAD), 3),
    "views": (Lane("main", EventName.PAGE_VIEW), 2),
    "others": (Lane("second", EventName.GENERATE_LEAD), 1),
}
PARTITIONS = [TopicPartition(topic, number) for topic, (_, count) in TOPICS.items() for number in range(count)]
COMMIT_FAULTS = (None, KafkaError.REQUEST_TIMED_OUT, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
NAMES = ("ann", "bob", "cid")
HEALING_SECONDS = 4 * 3600
STOP_SECONDS = 25.0


class World:
    """The simulated world. Its methods are what may happen; each checks afterwards that the promises still hold."""

    def __init__(self, seed: int, eager: bool = False) -> None:
        self.rng = Random(seed)
        self.eager = eager
        self.lanes = {topic: lane for topic, (lane, _) in TOPICS.items()}
        self.ledger = Ledger()
        self.broker = Coordinator(self.ledger)
        self.registry = RegistryState()
        self.endpoint = SimulatedEndpoint(seed, self.ledger, self.lanes)
        self.dead_letter_seconds = 0.05
        self.reports: Counter[str] = Counter()
        self.faults: list[BaseException] = []
        self.members: dict[str, Member] = {}
        self.past: list[Member] = []
        self.broken = False  # a promise was broken: don't heal any more
        self._topics_made = 0
        self._rebalancing: asyncio.Task[None] | None = None
        self._loop = JumpingLoop()
        self._runner = asyncio.Runner(loop_factory=lambda: self._loop)
        self._do(self._begin())

    async def _begin(self) -> None:
        self.dead_letters_open = asyncio.Event()
        self.dead_letters_open.set()
        for topic in TOPICS:
            self._make_topic(topic)

    def _make_topic(self, topic: str) -> None:
        self._topics_made += 1
        self.broker.make_topic(topic, f"t{self._topics_made}", TOPICS[topic][1])

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        self.broken = True  # until it has succeeded
        result = self._runner.run(what)
        self.check()
        return result

    @property
    def now(self) -> float:
        return self._loop.time()

    def close(self) -> None:
        """Kill all members and close the loop, without further checks."""
        for member in self.members.values():
            member.kill()
        self._runner.close()

    # Events and faults

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self._do(asyncio.sleep(seconds))

    def produce(self, which: int, count: int, clean: bool = False) -> None:
        """Produce new events to one partition."""
        tp = PARTITIONS[which % len(PARTITIONS)]
        for _ in range(count):
            kind = draw_kind(self.rng, clean)
            gap = 0 if self.rng.random() < 0.9 else self.rng.randint(1, 3)
            event = self.broker.append(
                tp, kind, draw_schema(self.rng, kind), gap, int((EPOCH_SECONDS + self.now) * 1000)
            )
            self.ledger.events[event.id] = event

    def start(self, which: int) -> None:
        """Start a member: it joins, and the group rebalances."""
        name = NAMES[which % len(NAMES)]
        if name not in self.members:
            self._do(self._start(name))
            self.rebalance(self.rng.randrange(1000))

    async def _start(self, name: str) -> None:
        self.members[name] = Member(self, name, self.rng.randrange(2**32))

    def crash(self, which: int) -> None:
        """Kill a member. The group notices it at the next rebalance."""
        member = self._member(which)
        if member is not None:
            member.kill()
            self._leave(member)

    def stop(self, which: int) -> None:
        """Stop a member cleanly, and wait for its end."""
        member = self._member(which)
        if member is not None and member.serving:
            self._settle_rebalance()
            partitions = [p for p in member.pipeline.partitions.values() if not p.stopped]
            begun = self.now
            whole = self._do(member.stop(STOP_SECONDS))
            assert self.now - begun <= STOP_SECONDS + 1, f"{member} took {self.now - begun:.1f} s to stop"
            if whole and self.broker.commit_fault is None:
                self._nothing_will_be_sent_again(partitions)
            self._leave(member)

    def _nothing_will_be_sent_again(self, partitions: list[Partition]) -> None:
        """Assert that a member which stopped in time has committed every outcome."""
        for partition in partitions:
            if partition.tp not in self.broker.tainted and self.broker.ids[partition.tp.topic] == partition.topic_id:
                offsets = partition.offsets
                expected = (offsets.watermark, offsets.outcomes_beyond(topic_id=partition.topic_id))
                assert self.broker.store.get(partition.tp) == expected, (
                    f"{partition.tp}: not all of {expected} was committed"
                )

    def evict(self, which: int, seconds: float) -> None:
        """Evict a member from the group; it learns of that only later."""
        member = self._member(which)
        if member is None or member.evicted or len(self.members) < 2:
            return
        self._settle_rebalance()
        member.evicted = True
        for tp, owner in self.broker.owners.items():
            if owner is member:
                self.broker.owners[tp] = None
        self.rebalance(self.rng.randrange(1000))
        self.run(seconds)
        if not member.stopped:
            self._do(self._learn(member))

    async def _learn(self, member: Member) -> None:
        member.lost()
        await asyncio.sleep(0)
        member.evicted = False

    def _member(self, which: int) -> Member | None:
        return list(self.members.values())[which % len(self.members)] if self.members else None

    def _leave(self, member: Member) -> None:
        del self.members[member.name]
        self.past.append(member)
        for tp, owner in self.broker.owners.items():
            if owner is member:
                self.broker.owners[tp] = None
        self.check()

    def rebalance(self, seed: int) -> None:
        """Assign the partitions at random again; it takes as long as the members take to give them up."""
        self._settle_rebalance()
        members = [member for member in self.members.values() if member.serving]
        rng = Random(seed)
        wanted = {tp: rng.choice(members) if members else None for tp in PARTITIONS}
        self._rebalancing = self._loop.create_task(self._rebalance(wanted, members))
        self.check()

    async def _rebalance(self, wanted: dict[TopicPartition, Member | None], members: list[Member]) -> None:
        def leaving(member: Member) -> list[TopicPartition]:
            return [tp for tp in member.owned if self.eager or wanted[tp] is not member]

        await asyncio.gather(*(self._take_away(member, leaving(member)) for member in members))
        for member in members:
            fresh = [tp for tp, to in wanted.items() if to is member and self.broker.owners.get(tp) is not member]
            if not member.stopped and not member.evicted:
                self.broker.owners |= dict.fromkeys(fresh, member)
                member.assigned(fresh)

    async def _take_away(self, member: Member, leaving: list[TopicPartition]) -> None:
        await member.revoked(leaving, 8.0)
        for tp in leaving:
            if self.broker.owners.get(tp) is member:
                self.broker.owners[tp] = None

    def _settle_rebalance(self) -> None:
        if self._rebalancing is not None:
            self._do(asyncio.wait([self._rebalancing]))
            self._rebalancing.result()
            self._rebalancing = None

    def endpoint_turns(self, subject: str, mode: str) -> None:
        """Change how the endpoint answers a pixel or a lane, or its speed (``pace``)."""
        if subject == "pace":
            self.endpoint.pace = mode
        else:
            self.endpoint.modes[subject] = mode

    def change_key(self, pixel: str) -> None:
        """Change the key file: a held pixel is tried at once."""
        for member in self.members.values():
            member.pipeline.delivery.probe_at_once(pixel)
            member.probed[pixel] = float("-inf")

    def dead_letters_turn(self, mode: str) -> None:
        """Make the dead-letter topic quick, slow, or not writable."""
        self.dead_letter_seconds = 30.0 if mode == "slow" else 0.05
        if mode == "shut":
            self.dead_letters_open.clear()
        else:
            self.dead_letters_open.set()

    def registry_turns(self, up: bool) -> None:
        """Take the registry down, or bring it back."""
        self.registry.up = up

    def commits_turn(self, mode: int) -> None:
        """Make commits succeed, fail, or get no answer."""
        self.broker.commit_fault = COMMIT_FAULTS[mode] if mode < len(COMMIT_FAULTS) else None
        self.broker.silent = mode >= len(COMMIT_FAULTS)

    def retention(self, which: int, share: float) -> None:
        """Delete the oldest records of a log, whether or not they were read."""
        log = self.broker.logs[PARTITIONS[which % len(PARTITIONS)]]
        log.drop_before(int(log.low + (log.end - log.low) * share))

    def make_anew(self, which: int) -> None:
        """Delete a topic, and create it again under its name."""
        self._make_topic(list(TOPICS)[which % len(TOPICS)])

    def operator_goes_on(self) -> None:
        """Act as an operator on stopped partitions: kill all members, reset these offsets, and start the members again."""
        names = list(self.members)
        while self.members:
            self.crash(0)
        for tp, log in self.broker.logs.items():
            offset, _ = self.broker.store.get(tp, (log.low, ""))
            if tp in self.broker.tainted or not log.low <= offset <= log.end:
                self.broker.store.pop(tp, None)
                self.broker.tainted.discard(tp)
        for index, name in enumerate(NAMES):
            if name in names:
                self.start(index)

    # Checks

    def check(self) -> None:
        """Check the promises that hold at any moment."""
        self.broken = True
        for member in self.members.values():
            for task in member.tasks:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise _first(error)
        if self.faults:
            raise self.faults[0]
        for member in self.members.values():
            conservation.check(member)
        self.broken = False

    def heal(self) -> None:
        """End all faults. Assert that every event then gets its outcome, and the right one."""
        self.endpoint.modes.clear()
        self.endpoint.pace = "quick"
        self.dead_letters_turn("quick")
        self.registry_turns(True)
        self.commits_turn(0)
        self._settle_rebalance()
        stopped = any(p.stopped for member in self.members.values() for p in member.pipeline.partitions.values())
        if stopped or self.broker.tainted or self._out_of_range():
            self.operator_goes_on()
        if not self.members:
            self.start(0)
        self.rebalance(self.rng.randrange(1000))
        for which in range(len(PARTITIONS)):
            self.produce(which, 30, clean=True)
        if not self._all_committed(HEALING_SECONDS):
            # Most of the remaining events are poison: an operator must confirm, by a restart, that the events are bad.
            self.operator_goes_on()
            assert self._all_committed(HEALING_SECONDS), (
                f"{self.broker.lag} records are still uncommitted: {self._why()}"
            )
        for event in self.ledger.events.values():
            log = self.broker.logs[TopicPartition(event.topic, event.partition)]
            if event.log == log.topic_id and event.offset >= log.low:
                assert self.ledger.has_ended_well(event), self.ledger.explain(event)

    def _out_of_range(self) -> bool:
        logs = self.broker.logs
        return any(not logs[tp].low <= offset <= logs[tp].end for tp, (offset, _) in self.broker.store.items())

    def _all_committed(self, seconds: float) -> bool:
        until = self.now + seconds
        while self.broker.lag and self.now < until:
            self.run(20.0)
            if any(one.next_probe is not None for member in self.members.values() for one in held(member.pipeline)):
                for which in range(
                    len(PARTITIONS)
                ):  # good events keep arriving: a lane held for poison needs them to recognize it
                    self.produce(which, 1, clean=True)
        return not self.broker.lag

    def _why(self) -> str:
        lines = []
        for member in self.members.values():
            lines.append(f"{member} holds {[(one.subject, one.reason) for one in held(member.pipeline)]}")
            for tp, partition in member.pipeline.partitions.items():
                first, end = partition.offsets.watermark, partition.offsets.position
                lines.append(
                    f"{tp}: open from {first} to {end}, stopped {partition.stopped!r}, paused {partition.paused}"
                )
        return "; ".join(lines)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
