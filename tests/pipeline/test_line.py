"""The whole line in jumping time: what becomes of every event under each answer, fault and hand-over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stream_capi.errors import RegistryUnavailable
from stream_capi.model import Answer, CommitResult, EventName, Lane, TopicPartition
from tests.simulation import LEADS, Answering, Line, always, held, simulate

P0, P1, V0 = TopicPartition("leads", 0), TopicPartition("leads", 1), TopicPartition("views", 0)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def refusing(*poison: str) -> Answering:
    """Refuses every batch that holds one of these events."""
    return lambda pixel, ids, now: (0.05, Answer(400 if set(poison) & set(ids) else 200))


def test_everything_is_delivered_once_and_committed_behind_it() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.produce("leads", 0, *names("a", 95))
        line.produce("views", 0, *names("b", 33))
        line.assign(P0, V0)
        await line.run_for(5)
        assert line.accepted == dict.fromkeys(names("a", 95) + names("b", 33), 1)
        assert line.lag == 0
        assert all(len({event[0] for event in ids}) == 1 for _, _, ids, _ in line.requests), "lanes share no batch"

    simulate(run())


def test_an_event_of_a_quiet_lane_waits_for_no_window() -> None:
    async def run() -> None:
        line = Line(always(200, 0.0))
        line.sources["leads"].window = 3600.0
        line.produce("leads", 0, "a0")
        line.assign(P0)
        await line.run_for(400)
        assert [at for at, *_ in line.requests] == [pytest.approx(360.0)], "a tenth of a batch of ten"

    simulate(run())


def test_a_batch_waits_for_its_window_and_no_longer_while_an_answer_is_awaited() -> None:
    async def run() -> None:
        line = Line(always(200, 100.0))
        line.produce("leads", 0, "a0")
        line.assign(P0)

        async def more() -> None:
            await asyncio.sleep(10)
            line.produce("leads", 0, "a1")

        adding = asyncio.create_task(more())
        await line.run_for(250)
        await adding
        answered = {ids[0]: at for at, _, ids, _ in line.requests}
        assert 100 < answered["a0"] < 100.5
        assert 111 < answered["a1"] < 111.5, "it was read after ten seconds"

    simulate(run())


def test_a_busy_lane_sends_full_batches_although_its_answers_come_at_once() -> None:
    async def run() -> None:
        line = Line(always(200, 0.0))
        line.chunk = 7
        line.produce("leads", 0, *names("a", 7000))
        line.assign(P0)
        await line.run_for(90)
        assert {len(ids) for _, _, ids, _ in line.requests} == {10}

    simulate(run())


def test_a_throttled_lane_does_not_go_early() -> None:
    async def run() -> None:
        line = Line(lambda pixel, ids, now: (0.0, Answer(429, retry_after="20") if now < 5 else Answer(200)))
        line.sources["leads"].window = 10.0
        line.produce("leads", 0, "a0")
        line.assign(P0)
        await line.run_for(40)
        assert [at for at, *_ in line.requests] == [pytest.approx(1.0), pytest.approx(21.0)]

    simulate(run())


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    async def run() -> None:
        line = Line(always(200, 1.0), max_in_flight=3)
        line.produce("leads", 0, *names("a", 300))
        line.assign(P0)
        await line.run_for(60)
        assert line.most_in_flight <= 3
        assert line.lag == 0

    simulate(run())


def test_tombstones_are_passed_over() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.produce("leads", 0, None, "a0", None)
        line.assign(P0)
        await line.run_for(3)
        assert (line.accepted, line.lag, sum(line.letters.values())) == ({"a0": 1}, 0, 0)
        assert line.told["skipped"] == 1, "once for the chunk"

    simulate(run())


def test_an_empty_value_is_no_tombstone() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.produce("leads", 0, "a0", None, "a1")
        line.logs[P0].append(b"")
        line.assign(P0)
        await line.run_for(3)
        assert (line.accepted, line.lag) == ({"a0": 1, "a1": 1}, 0)
        assert line.letter_codes == {"missing_field": 1}

    simulate(run())


def test_one_refused_event_is_found_and_the_other_ninety_nine_are_delivered() -> None:
    async def run() -> None:
        line = Line(refusing("a37"), max_events=100)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 100))
        line.assign(P0)
        await line.run_for(5)
        assert line.letters == {"a37": 1}
        assert line.letter_codes == {"refused": 1}
        assert line.accepted == dict.fromkeys(set(names("a", 100)) - {"a37"}, 1)
        assert line.lag == 0
        assert len(line.requests) <= 15

    simulate(run())


def test_an_event_that_cannot_be_mapped_goes_to_the_dead_letters() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.produce("leads", 0, "a0", "bad1", "a2")
        line.assign(P0)
        await line.run_for(3)
        assert (line.letters, line.accepted, line.lag) == ({"bad1": 1}, {"a0": 1, "a2": 1}, 0)

    simulate(run())


def test_a_partition_waits_while_its_dead_letter_cannot_be_written() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.write_seconds = 100.0
        line.produce("leads", 0, "bad0", "a1")
        line.assign(P0)
        await line.run_for(50)
        assert line.store[P0][0] == 0
        assert line.accepted == {"a1": 1}

    simulate(run())


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_all_events_empties_nothing_into_the_dead_letters(status: int) -> None:
    async def run() -> None:
        line = Line(always(status), max_events=100)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 1000))
        line.assign(P0)
        await line.run_for(600)
        assert not line.letters
        assert line.store.get(P0, (0, ""))[0] == 0
        assert [one.reason for one in held(line.pipeline)] == ["split_budget"]
        line.answering = always(200)
        await asyncio.sleep(0)
        await line.run_for(120)
        assert not line.letters
        assert line.lag == 0
        assert not held(line.pipeline)

    simulate(run())


def test_a_poisoned_event_in_the_held_batch_does_not_hold_the_lane_for_ever() -> None:
    async def run() -> None:
        def answering(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
            return 0.05, Answer(400 if now < 300 or "a13" in ids else 200)

        line = Line(answering, max_events=100)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 100))
        line.assign(P0)
        await line.run_for(290)
        assert not line.letters
        await line.run_for(120)
        assert line.letters == {"a13": 1}
        assert line.accepted == dict.fromkeys(set(names("a", 100)) - {"a13"}, 1)
        assert line.lag == 0

    simulate(run())


def test_a_dead_letter_that_waits_is_given_up_with_its_partition() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.write_seconds = 1000.0
        line.produce("leads", 0, "bad0")
        line.assign(P0)

        async def hand_over() -> None:
            await asyncio.sleep(2)
            line.pipeline.lost([P0])
            line.unassign(P0)

        handing = asyncio.create_task(hand_over())
        await line.run_for(2000)
        await handing
        assert not line.letters, "the next owner writes it"

    simulate(run())


def test_too_many_refused_events_hold_the_lane_before_one_is_written() -> None:
    async def run() -> None:
        poison = [f"a{i}" for i in range(1000) if i % 10 < 8]
        line = Line(refusing(*poison), max_events=10)
        line.produce("leads", 0, *names("a", 1000))
        line.assign(P0)
        await line.run_for(300)
        assert "dead_letter_ratio" in {one.reason for one in held(line.pipeline)}
        assert sum(line.letters.values()) < 100

    simulate(run())


def test_a_mapping_that_fails_for_all_is_no_fault_of_the_events() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.chunk = 150
        line.produce("leads", 0, *names("bad", 150))
        line.assign(P0)
        await line.run_for(30)
        assert not line.letters
        assert line.told["intake_held dead_letter_ratio"] == 1
        line.produce("leads", 0, *names("a", 200))
        await line.run_for(30)
        assert sum(line.letters.values()) == 150, "good events have come: it was poison after all"
        assert line.lag == 0

    simulate(run())


def test_a_mass_of_bad_events_ends_as_dead_letters_once_good_ones_come_behind_it() -> None:
    async def run() -> None:
        line = Line(always(200), max_buffered_bytes=2**24)
        line.produce("leads", 0, *names("bad", 600), *names("a", 8000))
        line.assign(P0)
        await line.run_for(120)
        assert sum(line.letters.values()) == 600
        assert (line.lag, line.told["intake_held dead_letter_ratio"], line.told["intake_held None"]) == (0, 1, 1)

    simulate(run())


def test_a_mass_of_bad_events_waits_while_bad_ones_come() -> None:
    async def run() -> None:
        line = Line(always(200), max_buffered_bytes=2**24)
        mixed = [name for i in range(1000) for name in (f"bad{i}", f"bad{i}b", f"a{i}")]
        line.produce("leads", 0, *mixed)
        line.assign(P0)
        await line.run_for(300)
        assert sum(line.letters.values()) < 100
        assert line.told["intake_held None"] == 0
        line.produce("leads", 0, *names("c", 80), *names("badc", 40))
        await line.run_for(60)
        assert line.lag, "a third of the last hundred and twenty, but of two hundred more than half"
        line.produce("leads", 0, *names("d", 80))
        await line.run_for(60)
        assert (line.lag, sum(line.letters.values())) == (0, 2040)

    simulate(run())


def test_a_source_has_its_own_ratio_and_a_higher_one_lets_what_waits_go() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.produce("leads", 0, *names("bad", 600))
        line.produce("views", 0, *names("badv", 600))
        line.assign(P0, V0)
        await line.run_for(30)
        assert line.told["intake_held dead_letter_ratio"] == 2
        line.sources["leads"].max_ratio = 1.0
        line._new_pipeline()
        line.assign(P0, V0)
        await line.run_for(30)
        assert (line.store[P0][0], line.letters["bad599"]) == (600, 1)
        assert list(line.pipeline.quarantined_since) == ["views"]

    simulate(run())


def test_at_the_bound_a_source_is_not_held_and_released_many_times_a_second() -> None:
    async def run() -> None:
        line = Line(always(200), max_buffered_bytes=2**27)
        line.chunk = 120
        line.produce("leads", 0, *(f"{'bad' if i % 240 < 120 else 'a'}{i}" for i in range(24_000)))
        line.assign(P0)
        begun = asyncio.get_running_loop().time()
        await line.run_for(600)
        lines = line.told["intake_held dead_letter_ratio"] + line.told["intake_held None"]
        assert lines <= asyncio.get_running_loop().time() - begun
        assert lines < 60
        assert line.lag == 0

    simulate(run())


@pytest.mark.parametrize("status", [401, 403, 404, 302, 308, 410])
def test_a_set_up_fault_holds_the_pixel_and_goes_on_by_itself(status: int) -> None:
    async def run() -> None:
        line = Line(lambda pixel, ids, now: (0.05, Answer(status if now < 300 else 200)))
        line.produce("leads", 0, *names("a", 2000))
        line.assign(P0)
        await line.run_for(290)
        assert not line.letters
        assert not line.accepted
        assert P0 in line.paused
        late = [at for at, *_ in line.requests if at > 5]
        assert 8 <= len(late) <= 10, "one probe each thirty seconds"
        await line.run_for(120)
        assert line.accepted == dict.fromkeys(names("a", 2000), 1)
        assert line.lag == 0

    simulate(run())


def test_a_changed_key_is_tried_at_once() -> None:
    async def run() -> None:
        line = Line(lambda pixel, ids, now: (0.05, Answer(401 if now < 10 else 200)))
        line.produce("leads", 0, "a0")
        line.assign(P0)
        await line.run_for(11)
        line.pipeline.delivery.probe_at_once("main")
        await line.run_for(2)
        assert line.accepted == {"a0": 1}

    simulate(run())


def test_a_held_pixel_stops_no_other() -> None:
    async def run() -> None:
        other = Lane("second", EventName.GENERATE_LEAD)
        topics = {"leads": Lane("main", EventName.GENERATE_LEAD), "views": other}
        line = Line(lambda pixel, ids, now: (0.05, Answer(401 if pixel == "main" else 200)), topics)
        line.produce("leads", 0, *names("a", 3000))
        line.produce("views", 0, *names("b", 3000))
        line.assign(P0, V0)
        await line.run_for(60)
        assert line.accepted == dict.fromkeys(names("b", 3000), 1)

    simulate(run())


def test_a_page_view_fault_does_not_hold_up_leads() -> None:
    async def run() -> None:
        for answer in (Answer(400), Answer(500), Answer(fault="timeout")):
            line = Line(lambda pixel, ids, now, a=answer: (0.05, a if ids[0].startswith("v") else Answer(200)))  # type: ignore[misc]
            line.produce("leads", 0, *names("a", 500))
            line.produce("views", 0, *names("v", 500))
            line.assign(P0, V0)
            await line.run_for(60)
            assert line.accepted == dict.fromkeys(names("a", 500), 1), answer
            assert sum(line.letters.values()) < 100, "below a hundred events there is no share to speak of"

    simulate(run())


def test_one_slow_lane_leaves_room_for_the_others() -> None:
    async def run() -> None:
        line = Line(lambda pixel, ids, now: (1000.0 if ids[0].startswith("v") else 0.05, Answer(200)))
        line.produce("leads", 0, *names("a", 500))
        line.produce("views", 0, *names("v", 5000))
        line.assign(V0, P0)
        await line.run_for(60)
        assert line.accepted == dict.fromkeys(names("a", 500), 1)

    simulate(run())


def test_a_pause_that_is_asked_for_is_kept() -> None:
    async def run() -> None:
        line = Line(lambda pixel, ids, now: (0.05, Answer(429, retry_after="20") if now < 5 else Answer(200)))
        line.produce("leads", 0, *names("a", 100))
        line.assign(P0)
        await line.run_for(60)
        times = [at for at, *_ in line.requests]
        assert not [at for at in times if 2 < at < 20]
        assert line.accepted == dict.fromkeys(names("a", 100), 1)

    simulate(run())


def test_a_pause_is_kept_although_the_rest_of_the_wave_is_answered_well() -> None:
    async def run() -> None:
        def some_throttled(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
            if now < 5 and ids[0].endswith("0") and int(ids[0][1:]) % 20 == 0:
                return 0.05, Answer(429, retry_after="40")
            return 0.3, Answer(200)  # later than the pause was asked for

        line = Line(some_throttled)
        line.produce("leads", 0, *names("a", 400))
        line.assign(P0)
        await line.run_for(120)
        assert not [at for at, *_ in line.requests if 2 < at < 40]
        assert line.accepted == dict.fromkeys(names("a", 400), 1)

    simulate(run())


def test_a_storm_of_faults_loses_nothing_and_goes_on_without_end() -> None:
    async def run() -> None:
        def storm(pixel: str, ids: Sequence[str], now: float) -> tuple[float, Answer]:
            faults = [Answer(503), Answer(500), Answer(fault="reset"), Answer(202), Answer(fault="timeout")]
            return 0.05, faults[int(now * 20) % 5] if now < 86_400 else Answer(200)

        line = Line(storm)
        line.produce("leads", 0, *names("a", 200))
        line.assign(P0)
        await line.run_for(86_400)
        assert not line.accepted
        assert 1000 < len(line.requests) < 10_000, "backoff keeps a day of failures to about one probe a minute"
        await line.run_for(300)
        assert line.accepted == dict.fromkeys(names("a", 200), 1)
        assert line.lag == 0

    simulate(run())


def test_memory_is_bounded_while_nothing_moves() -> None:
    async def run() -> None:
        line = Line(always(500), max_buffered_bytes=400_000)
        line.produce("leads", 0, *names("a", 5000))
        line.produce("leads", 1, *names("b", 5000))
        line.assign(P0, P1)
        await line.run_for(120)
        chunk = 50 * 1100
        assert line.pipeline.buffered_bytes <= 400_000 + 2 * chunk
        line.answering = always(200)
        await line.run_for(300)
        assert line.lag == 0

    simulate(run())


def test_a_partition_that_stands_still_leaves_the_others_their_memory() -> None:
    async def run() -> None:
        line = Line(always(200, 1.0), max_in_flight=1, max_buffered_bytes=400_000)

        async def load(key: object) -> str:
            raise RegistryUnavailable("the registry does not answer")

        line.sources["leads"].load = load
        line.produce("leads", 0, *names("a", 5000))
        line.assign(P0, V0)
        await line.run_for(60)
        chunk = 50 * 1100
        still = line.pipeline.partitions[P0]
        assert 200_000 <= still.buffered_bytes <= 200_000 + chunk, "half of it all, which is for whoever comes first"
        assert line.paused == {P0}
        line.produce("views", 0, *names("b", 2000))
        await line.run_for(300)
        assert sum(line.accepted.values()) == 2000

    simulate(run())


def test_a_partition_that_was_paused_is_read_again_when_there_is_room_for_some_time() -> None:
    async def run() -> None:
        line = Line(always(200, 1.0), {"leads": LEADS}, max_in_flight=1, max_buffered_bytes=400_000)
        line.chunk = 5
        line.produce("leads", 0, *names("a", 5000))
        line.assign(P0)
        await line.run_for(300)
        assert 2500 < sum(line.accepted.values()) <= 3000
        assert 10 < line.told["pause"] < 100, "a pause throws away what was prefetched"

    simulate(run())


def test_many_partitions_are_not_paused_while_there_is_memory() -> None:
    """A chunk of each of them is more than its share."""

    async def run() -> None:
        partitions = [TopicPartition("leads", number) for number in range(40)]
        line = Line(always(200, 0.05), max_buffered_bytes=2**20)
        for tp in partitions:
            line.produce("leads", tp.partition, *names(f"a{tp.partition}-", 500))
        line.assign(*partitions)
        await line.run_for(120)
        assert line.lag == 0
        assert not line.told["pause"], "a pause throws away what was prefetched"

    simulate(run())


def test_memory_is_bounded_however_many_partitions_there_are() -> None:
    """A chunk of each of them as large as the client likes would be fourteen times the budget."""

    async def run() -> None:
        partitions = [TopicPartition("leads", number) for number in range(100)]
        line = Line(always(200, 1.0), max_in_flight=2, max_buffered_bytes=400_000)
        for tp in partitions:
            line.produce("leads", tp.partition, *names(f"a{tp.partition}-", 200))
        line.assign(*partitions)
        await line.run_for(600)
        assert len(line.paused) > 50
        assert 200_000 < line.pipeline.buffered_bytes <= 800_000, "half of it, and no more than two shares of each"
        assert sum(line.accepted.values()) > 5000, "as many as one in flight delivers"

    simulate(run())


def test_no_more_is_read_than_can_be_sent_soon() -> None:
    async def run() -> None:
        line = Line(always(200, 0.05), {"leads": LEADS}, max_in_flight=2, max_buffered_bytes=2**30)
        line.chunk = 38  # from both 760 a second, of which 400 can be sent
        line.produce("leads", 0, *names("a", 9000))
        line.produce("leads", 1, *names("b", 9000))
        line.assign(P0, P1)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                await asyncio.sleep(0.1)
                most = max(most, sum(partition.offsets.unresolved for partition in line.pipeline.partitions.values()))

        watching = asyncio.create_task(watch())
        await line.run_for(20)
        watching.cancel()
        assert sum(line.accepted.values()) > 7000
        assert not line.told["pause"], "a pause throws away what was prefetched"
        assert most <= 150, "what is in flight, ready for the next slots, and a chunk of each"

    simulate(run())


def test_a_poisoned_partition_takes_no_more_than_its_share() -> None:
    async def run() -> None:
        line = Line(always(200), max_buffered_bytes=400_000)
        line.write_seconds = 10_000.0
        line.produce("leads", 0, "bad0", *names("a", 5000))
        line.produce("leads", 1, *names("b", 5000))
        line.assign(P0, P1)
        await line.run_for(120)
        assert line.store[P1][0] == 5000
        assert line.store[P0][0] == 0

    simulate(run())


def test_revoke_awaits_what_is_in_flight_and_commits_it() -> None:
    async def run() -> None:
        line = Line(always(200, 3.0))
        line.produce("leads", 0, *names("a", 25))
        line.produce("leads", 1, *names("b", 25))
        line.assign(P0, P1)

        async def hand_over() -> None:
            await asyncio.sleep(0.5)
            await line.revoke(P0)

        handing = asyncio.create_task(hand_over())
        await line.run_for(20)
        await handing
        assert line.store[P0][0] == 25
        assert P0 not in line.pipeline.partitions
        assert line.accepted == dict.fromkeys(names("a", 25) + names("b", 25), 1)

    simulate(run())


def test_a_hand_over_takes_no_longer_than_what_is_in_flight_however_much_was_read_ahead() -> None:
    async def run() -> None:
        line = Line(always(200, 3.0), max_in_flight=2, max_buffered_bytes=2**22)
        line.produce("leads", 0, *names("a", 2000))
        line.produce("leads", 1, *names("b", 2000))
        line.assign(P0, P1)
        took = 0.0

        async def hand_over() -> None:
            nonlocal took
            await asyncio.sleep(10)
            assert line.pipeline.partitions[P0].offsets.unresolved > 500, "or nothing was read ahead"
            begun = asyncio.get_running_loop().time()
            await line.revoke(P0)
            took = asyncio.get_running_loop().time() - begun

        handing = asyncio.create_task(hand_over())
        await line.run_for(40)
        await handing
        assert took <= 3.0
        mine = sum(name.startswith("a") for name in line.accepted)
        assert 0 < mine == line.store[P0][0], "what was answered is committed, and nothing was sent after the hand-over"
        assert max(line.accepted.values()) == 1

    simulate(run())


def test_a_late_answer_after_a_revoke_changes_nothing() -> None:
    async def run() -> None:
        line = Line(always(200, 100.0))
        line.produce("leads", 0, *names("a", 25))
        line.assign(P0)

        async def hand_over() -> None:
            await asyncio.sleep(2)
            await line.revoke(P0, seconds=5)

        handing = asyncio.create_task(hand_over())
        await line.run_for(300)
        await handing
        assert line.accepted
        assert line.store.get(P0, (0, ""))[0] == 0, "the next owner decides"

    simulate(run())


def test_what_was_fenced_is_not_sent_again() -> None:
    async def run() -> None:
        line = Line(always(500))
        line.produce("leads", 0, *names("a", 25))
        line.produce("leads", 1, *names("b", 25))
        line.assign(P0, P1)
        await line.run_for(10)
        line.pipeline.lost([P0])
        line.unassign(P0)
        before = len(line.requests)
        line.answering = always(200)
        await line.run_for(200)
        sent = {event for _, _, ids, _ in line.requests[before:] for event in ids}
        assert sent == set(names("b", 25))

    simulate(run())


def test_outcomes_beyond_the_watermark_survive_a_hand_over() -> None:
    async def run() -> None:
        line = Line(lambda pixel, ids, now: (0.05, Answer(200) if "a0" not in ids else Answer(500)))
        line.produce("leads", 0, *names("a", 200))
        line.assign(P0)
        await line.run_for(20)
        assert line.store[P0][0] == 0
        line.pipeline.lost([P0])  # a crash: nothing is committed on the way out
        line.answering = always(200)
        line.assign(P0)
        await line.run_for(60)
        assert line.lag == 0
        assert line.accepted == dict.fromkeys(names("a", 200), 1)

    simulate(run())


def test_records_wait_for_their_schema_while_the_registry_is_down() -> None:
    async def run() -> None:
        line = Line(always(200))
        source = line.sources["leads"]

        async def load(key: object) -> str:
            if asyncio.get_running_loop().time() < 60:
                raise RegistryUnavailable("the registry does not answer")
            source.load = None
            return "codec"

        source.load = load
        line.produce("leads", 0, *names("a", 60))
        line.produce("views", 0, *names("b", 60))
        line.assign(P0, V0)

        async def look() -> None:
            await asyncio.sleep(50)
            assert line.accepted == dict.fromkeys(names("b", 60), 1)
            assert line.pipeline.partitions[P0].offsets.watermark == 0

        looking = asyncio.create_task(look())
        await line.run_for(90)
        await looking
        assert line.lag == 0
        assert line.told["registry"] == 2, "told when it began and when it ended, not each time"

    simulate(run())


async def drained(line: Line, after: float, seconds: float) -> bool:
    """What a drain says that begins after a while, while the line goes on for as long as it may take."""

    async def stop() -> bool:
        await asyncio.sleep(after)
        return await line.pipeline.drain(seconds)

    stopping = asyncio.create_task(stop())
    await line.run_for(after + seconds)
    return await stopping


def test_a_drain_sends_the_open_batch_and_waits_for_its_answer() -> None:
    async def run() -> None:
        line = Line(always(200, 2.0))
        line.sources["leads"].window = 3600.0
        line.produce("leads", 0, "a0")
        line.assign(P0)
        assert await drained(line, after=1, seconds=20)
        assert line.accepted == {"a0": 1}

    simulate(run())


def test_a_stop_with_much_read_ahead_takes_as_long_as_its_requests_and_leaves_no_duplicate() -> None:
    async def run() -> None:
        line = Line(always(200, 2.0), max_in_flight=2)
        line.produce("leads", 0, *names("a", 2000))
        line.assign(P0)

        async def stop() -> bool:
            await asyncio.sleep(10)
            begun = asyncio.get_running_loop().time()
            assert await line.pipeline.drain(9), "no request was cut off"
            took = asyncio.get_running_loop().time() - begun
            await line.revoke(P0, seconds=6)
            return took <= 2.0

        stopping = asyncio.create_task(stop())
        await line.run_for(30)
        assert await stopping, "what was read ahead is the next owner's"
        assert len(line.accepted) < 2000
        assert 0 < len(line.accepted) == line.store[P0][0]
        assert max(line.accepted.values()) == 1

    simulate(run())


def test_a_drain_whose_last_answer_comes_late_but_in_time_was_not_cut() -> None:
    async def run() -> None:
        line = Line(always(200, 8.0))
        line.produce("leads", 0, *names("a", 25))
        line.assign(P0)
        assert await drained(line, after=2, seconds=9)
        assert line.accepted == dict.fromkeys(names("a", 25), 1)

    simulate(run())


def test_a_drain_waits_for_nothing_that_is_held_and_says_when_it_was_cut() -> None:
    async def run() -> None:
        for answer, seconds, whole, most in ((Answer(401), 0.05, True, 2.0), (Answer(200), 100.0, False, 21.0)):
            line = Line(lambda pixel, ids, now, a=answer, s=seconds: (s, a))  # type: ignore[misc]
            line.produce("leads", 0, *names("a", 20))
            line.assign(P0)

            async def stop(line: Line = line) -> tuple[bool, float]:
                await asyncio.sleep(2)
                begun = asyncio.get_running_loop().time()
                return await line.pipeline.drain(20), asyncio.get_running_loop().time() - begun

            stopping = asyncio.create_task(stop())
            await line.run_for(30)
            cleanly, took = await stopping
            assert (cleanly, took <= most) == (whole, True)

    simulate(run())


async def hand_overs(line: Line, times: int) -> None:
    """The partitions come and go, each time long enough to be read."""
    for _ in range(times):
        line.assign(P0)
        await asyncio.sleep(3)
        line.pipeline.lost([P0])
        line.unassign(P0)


def test_what_waits_for_a_schema_goes_with_its_partition() -> None:
    async def run() -> None:
        line = Line(always(200))

        async def load(key: object) -> str:
            raise RegistryUnavailable("the registry does not answer")

        line.sources["leads"].load = load
        line.produce("leads", 0, *names("a", 100))
        coming_and_going = asyncio.create_task(hand_overs(line, 20))
        await line.run_for(70)
        await coming_and_going
        assert not list(line.pipeline.without_schema), "twenty hand-overs would have kept twenty times the memory"

    simulate(run())


def test_quarantined_events_go_with_their_partition_and_so_does_the_hold() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.chunk = 150
        line.produce("leads", 0, *names("bad", 150))
        coming_and_going = asyncio.create_task(hand_overs(line, 1))
        await line.run_for(2)
        assert len(list(line.pipeline.quarantined)) == 150
        assert line.pipeline.quarantined_since
        await line.run_for(3)
        await coming_and_going
        assert not list(line.pipeline.quarantined)
        assert not line.pipeline.quarantined_since
        assert line.told["intake_held None"] == 0, "nothing is written of them here"
        assert line.told["hold_over events that waited are left to the next owner"] == 1
        assert not line.letters

    simulate(run())


def test_batches_that_wait_for_their_backoff_go_with_their_partition() -> None:
    async def run() -> None:
        line = Line(always(500))
        line.produce("leads", 0, *names("a", 300))
        coming_and_going = asyncio.create_task(hand_overs(line, 1))
        await line.run_for(3.01)
        await coming_and_going
        assert line.requests
        assert not [batch for lane in line.pipeline.delivery.lanes.values() for batch in lane.batches()]

    simulate(run())


def test_a_split_that_is_judged_after_its_partition_left_holds_nothing() -> None:
    async def run() -> None:
        line = Line(always(400, 2.0), max_events=100, max_split_requests=2)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 100))
        coming_and_going = asyncio.create_task(hand_overs(line, 1))  # it leaves while both halves are under way
        await line.run_for(30)
        await coming_and_going
        assert [len(ids) for _, _, ids, _ in line.requests] == [100, 50, 50]
        assert not held(line.pipeline), "it would have had nothing to probe with"
        assert not line.letters

    simulate(run())


def test_a_spent_budget_is_told_when_it_holds_the_lane() -> None:
    async def run() -> None:
        line = Line(always(400), max_events=100, max_split_requests=8, max_in_flight=1)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 100))
        line.assign(P0)
        await line.run_for(20)
        assert [one.reason for one in held(line.pipeline)] == ["split_budget"]
        assert line.told["main/generate_lead held split_budget"] == 1

    simulate(run())


def test_a_burst_of_poison_holds_its_lane_only_until_good_events_show_it_for_poison() -> None:
    """More than the budget of a split can find out; and after the good events of its batch nothing but poison is in hand."""

    async def run() -> None:
        poison = [f"a{i}" for i in range(400, 480)]
        line = Line(refusing(*poison), max_events=100)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 1000))
        line.assign(P0)
        await line.run_for(900)
        assert [one.reason for one in held(line.pipeline)] == ["split_budget"]
        assert not line.letters, "nothing came that could tell poison from a fault of all events"
        for i in range(60):
            line.produce("leads", 0, f"b{i}")
            await line.run_for(10)
        assert line.letters == dict.fromkeys(poison, 1)
        assert line.lag == 0

    simulate(run())


def test_a_refusing_api_is_probed_once_in_a_while_and_fills_no_more_than_the_memory() -> None:
    async def run() -> None:
        line = Line(always(400), max_events=100, max_buffered_bytes=400_000)
        line.chunk = 100
        line.produce("leads", 0, *names("a", 5000))
        line.assign(P0)
        await line.run_for(3600)
        assert not line.letters
        assert len([at for at, *_ in line.requests if at > 60]) <= 120
        assert line.pipeline.buffered_bytes <= 400_000 + 100 * 1100
        line.answering = always(200)
        await line.run_for(120)
        assert line.lag == 0

    simulate(run())


def test_a_schema_that_raises_when_it_is_loaded_dead_letters_its_records_alone() -> None:
    async def run() -> None:
        line = Line(always(200))

        async def load(key: object) -> object:
            await asyncio.sleep(1)
            raise RecursionError("c4n4ry@person.example")

        line.sources["views"].load = load
        line.produce("leads", 0, *names("a", 20))
        line.produce("views", 0, "b0", "b1")
        line.assign(P0, V0)
        await line.run_for(5)
        assert (line.accepted, line.letter_codes, line.lag) == (
            dict.fromkeys(names("a", 20), 1),
            {"internal_error": 2},
            0,
        )
        (told,) = [one for one in line.told if one.startswith("internal_error")]
        assert told.startswith("internal_error RecursionError at ")

    simulate(run())


@pytest.mark.parametrize("error", [RegistryUnavailable, MemoryError])
def test_what_is_no_schema_s_fault_is_not_its_records(error: type[Exception]) -> None:
    async def run() -> None:
        line = Line(always(200))

        async def load(key: object) -> object:
            raise error("not now")

        line.sources["views"].load = load
        line.produce("views", 0, "b0")
        line.assign(V0)
        if error is MemoryError:
            with pytest.raises(ExceptionGroup):
                await line.run_for(5)
        else:
            await line.run_for(5)
        assert (line.letter_codes, line.lag) == ({}, 1)

    simulate(run())


def test_a_letter_that_can_not_be_written_as_it_came_is_written_by_reference() -> None:
    async def run() -> None:
        line = Line(always(200))
        line.unwritable = "bad1"
        line.produce("leads", 0, *names("a", 20), "bad0", "bad1")
        line.assign(P0)
        await line.run_for(5)
        assert (line.letter_codes, line.lag) == ({"missing_field": 1, "internal_error": 1}, 0)
        assert line.by_reference == ["bad1"]
        assert [one for one in line.told if one.startswith("internal_error SystemError at ")]

    simulate(run())


@pytest.mark.parametrize("handed_over", [True, False], ids=["revoked", "lost"])
def test_a_stop_owes_the_last_commit_until_the_broker_has_confirmed_it(handed_over: bool) -> None:
    async def run() -> None:
        line = Line(always(200, 2.0))
        line.produce("leads", 0, "a0")
        line.assign(P0)
        assert await drained(line, after=1, seconds=20)
        line.pipeline.partitions[P0].committed = (
            0,
            "",
        )  # as it was before the answer: no commit has come through since
        commits = line.pipeline.unconfirmed
        assert [commit.offset for commit in commits] == [1], "it is owed while the partition is still held"
        if handed_over:
            assert await line.pipeline.revoke([P0], 1) == commits
        else:
            line.pipeline.lost([P0])
        line.pipeline.committed([CommitResult(commit, "timeout") for commit in commits])
        assert line.pipeline.unconfirmed == commits
        line.pipeline.committed([CommitResult(commit, None) for commit in commits])
        assert line.pipeline.unconfirmed == []

    simulate(run())
