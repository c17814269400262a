"""Sources and pixels that are paused by configuration: their events get no outcome, all others are delivered."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stream_capi.core.flow import Backoff
from stream_capi.model import PAUSED, Answer, EventName, Lane, Routed
from stream_capi.observe.oldest_unresolved import oldest_events
from tests.pipeline.given import P0, P1, V0, names
from tests.pipeline.test_shared_topic import SharedLine, shared
from tests.simulation import Line, PlainSource, always, simulated

BRAKED = Lane("braked", EventName.GENERATE_LEAD)
GOING = Lane("main", EventName.GENERATE_LEAD)


class RoutedSource(PlainSource):
    """A source whose records name their pixel by the first letter: ``b`` is the one that may be paused."""

    def __init__(self, topic: str, has_paused: bool) -> None:
        super().__init__(topic, GOING)
        self.lane, self.pixel = None, None  # type: ignore[assignment]
        self.has_paused = has_paused

    def transform(self, codec: Any, payloads: Any, *args: Any) -> list[Any]:
        mapped = super().transform(codec, [p.strip(b'"') for p in payloads], *args)
        return [
            PAUSED
            if self.has_paused and payload.startswith(b'"b')
            else Routed(BRAKED if payload.startswith(b'"b') else GOING, payload)
            if isinstance(made, bytes)
            else made
            for payload, made in zip(payloads, mapped, strict=True)
        ]


class RoutedLine(Line):
    """A line with one topic for two pixels."""

    has_paused = True

    def _new_pipeline(self) -> None:
        self.sources = {"leads": RoutedSource("leads", self.has_paused)}
        super()._new_pipeline()

    def lanes_of(self, source: Any) -> list[Lane]:
        return [GOING, BRAKED]

    def restarted(self, has_paused: bool) -> None:
        """Replace the pipeline as a new process does: it starts from the committed offsets."""
        self.has_paused = has_paused
        self.unassign(*list(self.positions))
        self.room = 1
        self._new_pipeline()


def mixed(line: Line, count: int, every: int = 3) -> tuple[list[str], list[str]]:
    """Produce events, one in ``every`` for the paused pixel. Returns its events and the others."""
    ids = [f"b{at}" if at % every == every - 1 else f"a{at}" for at in range(count)]
    line.produce("leads", 0, *ids)
    return [one for one in ids if one[0] == "b"], [one for one in ids if one[0] == "a"]


@simulated
async def test_nothing_of_a_paused_source_gets_an_outcome_and_the_others_go_on() -> None:
    line = Line(always(200))
    line.sources["leads"].paused = True
    line._new_pipeline()
    line.produce("leads", 0, *names("a", 300), "bad", None, "bad")
    line.produce("views", 0, *names("v", 300))
    line.assign(P0, V0)
    await line.run_for(60)
    assert line.accepted == dict.fromkeys(names("v", 300), 1)
    assert (line.store[P0][0], line.dead_letters.total()) == (0, 0)
    assert P0 in line.paused
    assert V0 not in line.paused
    assert line.pipeline.unresolved == 0, "nothing of it is kept in memory"


@simulated
async def test_where_reading_begins_is_committed_so_that_latest_means_the_moment_of_the_pause() -> None:
    line = Line(always(200))
    line.sources["leads"].paused = True
    line._new_pipeline()
    line.assign(P0)
    await line.run_for(5)
    assert P0 in line.store


@simulated
async def test_a_paused_source_goes_on_after_a_restart_where_it_was() -> None:
    line = Line(always(200))
    line.produce("leads", 0, *names("a", 100))
    line.assign(P0)
    await line.run_for(20)
    line.unassign(P0)
    line.sources["leads"].paused = True
    line._new_pipeline()
    line.produce("leads", 0, *names("later", 100))
    line.assign(P0)
    await line.run_for(3600)
    assert await line.pipeline.drain(10)
    assert line.store[P0][0] == 100
    line.unassign(P0)
    line.sources["leads"].paused = False
    line.room = 1
    line._new_pipeline()
    line.assign(P0)
    await line.run_for(20)
    assert line.accepted == dict.fromkeys([*names("a", 100), *names("later", 100)], 1)
    assert line.lag == 0


@simulated
async def test_in_one_partition_the_events_of_other_pixels_go_on_and_are_not_sent_again() -> None:
    line = RoutedLine(always(200))
    line.ids = {"leads": "t"}
    braked, going = mixed(line, 900)
    line.assign(P0)
    await line.run_for(60)
    assert line.accepted == dict.fromkeys(going, 1)
    assert line.store[P0][0] == 2, "the first event of the paused pixel"
    assert await line.pipeline.drain(10), "what is paused is not waited for"
    line.restarted(has_paused=False)
    line.assign(P0)
    await line.run_for(60)
    assert line.accepted == dict.fromkeys([*going, *braked], 1)
    assert line.lag == 0


@simulated
async def test_a_hand_over_does_not_wait_for_what_is_paused() -> None:
    line = RoutedLine(always(200))
    line.ids = {"leads": "t"}
    _, going = mixed(line, 300)
    line.assign(P0)
    await line.run_for(30)
    before = line.store[P0]
    await line.revoke(P0)
    assert line.store[P0] == before
    line.assign(P0)
    await line.run_for(30)
    assert line.accepted == dict.fromkeys(going, 1), "not sent again by the member that has it now"
    assert line.store[P0][0] == 2


@pytest.mark.slow
@simulated
async def test_memory_stays_bounded_and_a_partition_that_is_full_of_paused_events_is_named() -> None:
    line = RoutedLine(always(200), max_buffered_bytes=2**20)
    line.produce("leads", 0, *names("b", 20_000), "a-behind")
    line.produce("leads", 1, *names("a", 2000))
    line.assign(P0, P1)
    await line.run_for(600)
    assert line.pipeline.buffered_bytes <= 2**20
    assert line.accepted == dict.fromkeys(names("a", 2000), 1), "another partition keeps its share"
    partition = line.pipeline.partitions[P0]
    assert partition.is_blocked_by_pause
    assert not line.pipeline.partitions[P1].is_blocked_by_pause
    assert partition.offsets.unresolved > 3000, "only their places are kept, so that the others get far"
    assert line.reports["pause_blocks leads[0]"] == 1
    line.restarted(has_paused=False)
    line.assign(P0, P1)
    await line.run_for(600)
    assert line.accepted == dict.fromkeys([*names("b", 20_000), *names("a", 2000), "a-behind"], 1)


@simulated
async def test_the_oldest_event_is_one_that_is_not_paused_where_there_is_one() -> None:
    line = RoutedLine(lambda pixel, ids, now: (0.05, Answer(200 if now < 20 else 401)))
    mixed(line, 30)
    line.assign(P0)
    await line.run_for(10)
    (oldest,) = oldest_events(line.pipeline).values()
    assert (oldest.offset, oldest.seconds) == (2, None)
    assert (oldest.wait.state, oldest.wait.text) == ("paused", "paused by configuration")
    line.unassign(P0)
    await line.run_for(15)
    line.produce("leads", 0, "a-late")
    line.assign(P0)
    await line.run_for(10)
    (oldest,) = oldest_events(line.pipeline).values()
    assert (oldest.wait.state, oldest.offset) == ("held", 30 if line.store[P0][1] else oldest.offset)
    assert oldest.seconds is not None


@simulated
async def test_one_source_of_a_shared_topic_waits_whatever_its_records_are() -> None:
    line = SharedLine(paused="View")
    for at in range(100):
        line.take("Lead", f"l{at}")
        line.take("View", f"badv{at}" if at % 2 else f"v{at}")
    line.assign(P0)
    await line.run_for(20)
    assert line.accepted == dict.fromkeys(names("l", 100), 1)
    assert (line.dead_lettered_count(), line.store[P0][0]) == (0, 1)


def test_a_shared_topic_is_paused_where_all_of_its_sources_are() -> None:
    assert shared(paused="Lead View").paused
    assert not shared(paused="View").paused


@simulated
async def test_what_was_fetched_before_the_pause_took_hold_is_passed_over_and_read_again_later() -> None:
    line = Line(always(200))
    line.sources["leads"].paused = True
    line._new_pipeline()
    line.produce("leads", 0, *names("a", 100), "bad", None)
    line.assign(P0)
    line.paused.clear()  # as if the command had not reached the consumer yet
    await line.run_for(5)
    assert line.positions[P0] == 102
    assert (line.accepted, line.dead_letters, line.store[P0][0]) == ({}, {}, 0)


async def _day(seed: int) -> None:
    """Restarts with and without the pause, kills, hand-overs and faults at random moments; in the end all is well.

    ``Line`` checks that no commit passes an event without an outcome, and that none goes back.
    """
    rng = random.Random(seed)
    answers = [200] * 6 + [500, 429, 401, 400]
    healthy = False

    def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
        return rng.uniform(0.01, 3.0), Answer(200 if healthy else rng.choice(answers))

    line = RoutedLine(answering, probe_seconds=2.0, backoff=Backoff(0.1, 1.0), max_dead_letter_ratio=1.0)
    line.ids = {"leads": "t"}
    sent_braked: Counter[bool] = Counter()
    made = 0
    for _ in range(30):
        line.chunk = rng.choice((1, 7, 50))
        for partition in (0, 1):
            ids = [rng.choice(("a", "b", "bad")) + f"-{made + at}" for at in range(rng.randrange(60))]
            made += len(ids)
            line.produce("leads", partition, *ids)
        line.restarted(has_paused=rng.random() < 0.6)  # everything in flight is lost, as in a killed process
        line.assign(P0, P1)
        before = len(line.requests)
        async with asyncio.TaskGroup() as group:
            group.create_task(line.run_for(rng.uniform(2.0, 30.0)))
            await asyncio.sleep(rng.uniform(0.1, 1.9))
            await _disturb(line, rng.choice(("nothing", "nothing", "drain", "revoke", "lose")))
        sent_braked[line.has_paused] += sum(ids[0].startswith("b-") for _, _, ids, _ in line.requests[before:])
    assert not sent_braked[True]
    healthy = True
    line.restarted(has_paused=False)
    line.assign(P0, P1)
    await line.run_for(900)
    assert line.lag == 0
    ended = line.accepted.keys() | line.dead_letters.keys()
    assert ended == {
        (record.value() or b"").decode().strip('"') for log in line.logs.values() for record in log.records
    }


async def _disturb(line: RoutedLine, what: str) -> None:
    if what == "drain":
        await line.pipeline.drain(1.0)
        for commit in line.pipeline.unconfirmed:
            line.broker.take(commit)
    elif what == "revoke":
        await line.revoke(P0, P1, seconds=1.0)
        line.assign(P1, P0)
    elif what == "lose":
        line.pipeline.lost([P0])
        line.unassign(P0)
        line.assign(P0)


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
@simulated
async def test_whatever_happens_nothing_is_lost_sent_or_committed_past_while_it_is_paused(seed: int) -> None:
    await _day(seed)
