"""Faults of Kafka: whatever the broker does, no event is lost and no commit goes too far."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.faults.answers import always, name_of
from tests.faults.budgets import AT_ONCE, SMALL, killed, steady, unhurried
from tests.faults.traffic import await_commits, in_flight_when_lost
from tests.scene import Budget, Scene
from tests.stack import Broker, Proxy, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real
HEALED = 60.0  # seconds within which delivery must go on; 30 are promised, on an idle machine


def progress(scene: Scene, more: int = 100) -> None:
    """Produce events, and wait until all events have their outcome."""
    scene.produce(more)
    scene.ledger.await_all(HEALED)


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_a_broker_killed_in_the_midst_and_started_again(tmp_path: Path, own_broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, own_broker, registry, 3, steady, sections=SMALL) as scene:
        scene.produce(1500, bad=8)
        member = scene.member()
        await_commits(scene)
        own_broker.kill()
        time.sleep(2)
        own_broker.restart()
        progress(scene)
        scene.close(HEALED, in_flight_when_lost(scene))
        assert member.running
        assert "Traceback" not in member.output


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_a_broker_frozen_for_twenty_seconds_repeats_no_more_than_was_in_flight(
    tmp_path: Path, own_broker: Broker, registry: Registry
) -> None:
    """Longer than the session: the member loses its partitions and gets them back, with the offset committed before."""
    with Scene(tmp_path, own_broker, registry, 3, steady, sections=SMALL) as scene:
        scene.produce(1500, bad=4)
        member = scene.member()
        await_commits(scene)
        own_broker.freeze()
        try:
            time.sleep(20)
            assert member.is_alive(), "the program answers its probes while the broker doesn't"
        finally:
            own_broker.thaw()
        progress(scene)
        scene.close(HEALED, in_flight_when_lost(scene))
        assert member.logged("lost"), "the freeze was too short to show anything"


@pytest.mark.cases(1)
@pytest.mark.parametrize("fault", ["cut", "half_open"])
def test_a_connection_to_the_broker_that_is_cut_or_half_open(
    fault: str, tmp_path: Path, own_broker: Broker, own_proxy: Proxy, registry: Registry
) -> None:
    with Scene(tmp_path, own_broker, registry, 3, steady, bootstrap=own_proxy.address, sections=SMALL) as scene:
        scene.produce(800, bad=4)
        member = scene.member()
        await_commits(scene)
        getattr(own_proxy, fault)()
        try:
            time.sleep(6)
            assert member.is_alive()
        finally:
            own_proxy.heal()
        progress(scene)
        scene.close(HEALED, in_flight_when_lost(scene))


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
@pytest.mark.parametrize(("seconds", "code"), [(0.5, 3), (30, 4)], ids=["answered", "cut_off"])
def test_sigterm_with_a_frozen_broker_ends_within_the_deadline(
    seconds: float, code: int, tmp_path: Path, own_broker: Broker, registry: Registry
) -> None:
    """Exit code 4 only if a request was cut off. If all were answered and only the commit failed, it is 3: Kafka lost."""
    delays, leads_arrived = [0.5], threading.Event()

    def answer(request: RequestInfo) -> Action:
        if name_of(request) == "generate_lead":
            leads_arrived.set()
        return Action(delay_seconds=delays[0])

    properties = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}  # its partitions are free again soon
    sections: dict[str, Mapping[str, Any]] = {
        **SMALL,
        "shutdown": {"drain_seconds": 5},
        "kafka": {"properties": properties},
        "endpoint": {"timeout_seconds": 10},
    }
    with Scene(tmp_path, own_broker, registry, 2, answer, sections=sections) as scene:
        scene.produce(400)
        member = scene.member()
        scene.ledger.await_all(60)
        delays[0] = seconds
        leads_arrived.clear()
        scene.produce(400)
        until(lambda: member.metric("stream_capi_in_flight_requests") > 0, 30, "requests in flight")
        assert leads_arrived.wait(30), "no request with leads"
        own_broker.freeze()
        try:
            begun = time.monotonic()
            assert member.terminate(25) == code, member.output[-2000:]
            took = time.monotonic() - begun
            assert took < 15, f"{took:.1f} s; the deadline is 5 s, and the rest is the machine's"
            owed = member.logged("stopped without the last commit: the brokers did not confirm it")
            assert bool(owed) == (code == 3)
            assert all(scene.leads in " ".join(line["uncommitted"]) for line in owed)
        finally:
            own_broker.thaw()
            delays[0] = 0.05
        scene.member()
        scene.close(HEALED, _not_committed("froze"))


def _not_committed(ended: str) -> Budget:
    return Budget(
        2 * AT_ONCE, f"the broker {ended}, and 4 requests of 20 events before and as many after it were answered"
    )


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_sigterm_with_a_killed_broker_tells_that_the_last_commit_is_lacking(
    tmp_path: Path, own_broker: Broker, registry: Registry
) -> None:
    """The client closes at once if nothing listens at the broker's address, so the stop looks like a clean one."""
    sections: dict[str, Mapping[str, Any]] = {
        **SMALL,
        "shutdown": {"drain_seconds": 5},
        "kafka": {"properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}},
    }
    delays = [0.05]
    with Scene(
        tmp_path, own_broker, registry, 2, lambda request: Action(delay_seconds=delays[0]), sections=sections
    ) as scene:
        scene.produce(400)
        member = scene.member()
        scene.ledger.await_all(60)
        delays[0] = 1.0
        scene.produce(400)
        until(lambda: member.metric("stream_capi_in_flight_requests") > 0, 30, "requests in flight")
        own_broker.kill()
        try:
            begun = time.monotonic()
            assert member.terminate(25) == 3, member.output[-2000:]
            assert time.monotonic() - begun < 15, "the deadline is 5 s, and the rest is the machine's"
            (owed,) = member.logged("stopped without the last commit: the brokers did not confirm it")
            assert owed["count"] > 0
            assert not member.logged("stopped")
        finally:
            own_broker.start()
            delays[0] = 0.05
        scene.member()
        scene.close(HEALED, _not_committed("ended"))


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_a_member_killed_many_times_loses_nothing(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    sections = {**SMALL, "kafka": {"properties": {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300}}}
    with Scene(tmp_path, broker, registry, 4, unhurried, sections=sections) as scene:
        for _ in range(5):
            scene.produce(400, bad=2)
            before = sum(scene.ledger.committed.values())
            member = scene.member(ready=False)
            until(lambda b=before: sum(scene.ledger.committed.values()) > b, 60, "commits")  # type: ignore[misc]
            member.kill()
        scene.member()
        scene.close(90, killed(times=5))


def test_sigterm_in_flight_leaves_no_duplicate_behind(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, 4, lambda request: Action(delay_seconds=0.3)) as scene:
        for _ in range(3):
            scene.produce(1500, bad=4)
            before = sum(scene.endpoint.answered().values())
            member = scene.member()
            until(lambda b=before: sum(scene.endpoint.answered().values()) > b, 60, "deliveries")  # type: ignore[misc]
            assert member.terminate() == 0
        scene.member()
        scene.close(90, duplicates=0)


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_sigterm_with_much_read_ahead_leaves_it_to_the_next_owner_without_a_duplicate(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    slow = {"delivery": {"max_in_flight": 4}, "shutdown": {"drain_seconds": 6}}
    with Scene(tmp_path, broker, registry, 4, always(delay_seconds=1.0), sections=slow) as scene:
        scene.produce(6000)
        member = scene.member()
        until(lambda: sum(scene.endpoint.answered().values()) > 400, 60, "deliveries")
        assert member.terminate() == 0, "no request was cut off"
        assert scene.ledger.lag() > 0, "what was read ahead is left"
        scene.endpoint.answer(None)
        scene.member()
        scene.close(90, duplicates=0)
        assert max(scene.endpoint.mock.times_accepted().values()) == 1, (
            "a request that was cut off is taken all the same"
        )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_member_frozen_past_the_poll_interval_comes_back_and_harms_nobody(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    properties = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500, "max.poll.interval.ms": 3000}
    sections = {**SMALL, "kafka": {"properties": properties}}
    with Scene(tmp_path, broker, registry, 4, unhurried, sections=sections) as scene:
        first, second = scene.member(), scene.member()
        scene.produce(1200)
        await_commits(scene)
        first.signal(signal.SIGSTOP)
        try:
            scene.produce(400)
            scene.ledger.await_all(HEALED)  # by the other member alone
        finally:
            first.signal(signal.SIGCONT)
        until(lambda: first.is_ready() and second.is_ready(), 60, "both again")
        progress(scene, 400)
        why = (
            "4 requests of 20 events were in flight when the member froze, as many had been answered since the last commit,"
            " and as many went out before it heard of its loss"
        )
        scene.close(HEALED, Budget(3 * AT_ONCE, why))


@pytest.fixture(scope="module")
def sparing_broker() -> Iterator[Broker]:
    """A broker that accepts little metadata with a commit, and refuses the whole commit if there is more."""
    broker = Broker({"offset.metadata.max.bytes": "120"})
    try:
        yield broker.start()
    finally:
        broker.stop()


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_commits_that_the_broker_refuses_are_counted_and_mended(
    tmp_path: Path, sparing_broker: Broker, registry: Registry
) -> None:
    """Every other event of a partition waits, so that the outcomes beyond the watermark need more metadata than allowed."""
    with Scene(tmp_path, sparing_broker, registry, 1, sections={"batch": {"max_events": 1}}) as scene:
        produced = scene.produce(300)
        waiting = {event.event_id for event in produced if event.offset >= 20 and event.offset % 2}

        def answer(request: RequestInfo) -> Action | None:
            return Action(status=500) if waiting & set(request.dedupe_ids) else None

        scene.endpoint.answer(answer)
        member = scene.member(delivery={"max_in_flight": 300, "backoff_max_ms": 300})
        refused = "OFFSET_METADATA_TOO_LARGE"
        until(lambda: member.metric("stream_capi_commits_total", result=refused) > 0, HEALED, "a refused commit")
        until(lambda: scene.ledger.lag() <= 2 * 300 - 40, HEALED, "commits all the same")
        scene.endpoint.answer(None)
        scene.close(HEALED, duplicates=0)


def test_retention_past_the_committed_offset_stops_the_partition_loudly(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, 2, steady) as scene:
        scene.produce(400)
        scene.member()
        scene.ledger.await_all(60)
        assert scene.members[0].terminate() == 0
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for _ in range(20):
            producer.produce(scene.leads, b"gone", partition=0)
        assert producer.flush(10) == 0
        broker.delete_records(scene.leads, 0, broker.end_offsets(scene.leads)[0] - 5)
        committed = broker.committed(scene.group, scene.leads)[0][0]
        member = scene.member(ready=False)
        until(lambda: "offset_out_of_range" in member.get("/readyz")[1], 60, "the reason at /readyz")
        assert member.get("/readyz")[0] == 503
        assert member.logged("partition stopped")
        scene.produce(200, key=lambda index, event: b"steady")
        time.sleep(2)
        assert broker.committed(scene.group, scene.leads)[0][0] == committed, "nothing is skipped silently"
        assert member.running, "the other partitions go on"
        scene.assert_repeated()


def test_a_topic_made_anew_is_not_skipped_into(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, 1, steady) as scene:
        scene.produce(300)
        first = scene.member()
        scene.ledger.await_all(60)
        assert first.terminate() == 0
        scene.ledger.freeze()
        before = broker.committed(scene.group, scene.leads)[0][0]
        assert before > 0
        broker.delete_topic(scene.leads)
        broker.create_topic(scene.leads)
        scene.produce(600)  # more leads than the old topic had, so that the old offset is within the new log
        # Set the group's offset to its former value, as a late commit does that arrives after the deletion.
        place = TopicPartition(scene.leads, 0, before, metadata=_former_metadata(before))
        broker.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(scene.group, [place])])[
            scene.group
        ].result(10)
        member = scene.member(ready=False)
        until(lambda: "topic_made_anew" in member.get("/readyz")[1], 60, "the reason at /readyz")
        assert broker.committed(scene.group, scene.leads)[0][0] == before
        scene.assert_repeated()


def _former_metadata(offset: int) -> str:
    """Metadata as a member of the former topic would have written it: with an id that the new topic doesn't have."""
    return f"capi1:AAAAAAAAAAAAAAAAAAAAAA:{offset}:"


def test_partitions_added_while_producing_are_read_from_their_beginning(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

    sections = {"kafka": {"properties": {"topic.metadata.refresh.interval.ms": 1000}}}
    with Scene(tmp_path, broker, registry, 2, steady, sections=sections) as scene:
        scene.produce(300)
        scene.member()
        scene.ledger.await_all(60)
        scene.ledger.freeze()
        broker.admin.create_partitions([NewPartitions(scene.leads, 4)])[scene.leads].result(15)
        until(lambda: len(broker.end_offsets(scene.leads)) == 4, 15, "the new partitions")
        produced = scene.produce(600)
        assert {event.partition for event in produced if event.topic == scene.leads} == {0, 1, 2, 3}
        wanted = {event.event_id for event in produced}
        until(lambda: wanted <= set(scene.endpoint.answered()), HEALED, "deliveries from the new partitions")
        scene.assert_repeated()


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_committed_offsets_that_are_deleted_are_committed_again(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, 2, steady) as scene:
        scene.produce(300)
        scene.member()
        scene.ledger.await_all(60)
        assert scene.members[0].terminate() == 0
        scene.ledger.freeze()
        broker.admin.delete_consumer_groups([scene.group])[scene.group].result(15)
        scene.member()
        until(lambda: sum(o for o, _ in broker.committed(scene.group, scene.leads).values()) > 0, HEALED, "commits")
        answered = scene.endpoint.answered()
        assert all(answered[event.event_id] for event in scene.ledger.produced.values()), "from the beginning again"
        scene.assert_repeated(Budget(300, "all is read again where no offset is committed"))


@pytest.mark.repeat(of="test_sigterm_in_flight_leaves_no_duplicate_behind")
def test_one_slow_partition_does_not_stop_the_rest(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    """An event that is never answered holds back the committed offset of its partition, but of no other."""
    with Scene(tmp_path, broker, registry, 3, sections={"batch": {"max_events": 1}}) as scene:
        produced = scene.produce(600)
        victim = produced[0]

        def answer(request: RequestInfo) -> Action | None:
            return Action(status=500) if victim.event_id in request.dedupe_ids else None

        scene.endpoint.answer(answer)
        scene.member()
        others = {(e.topic, e.partition) for e in produced} - {(victim.topic, victim.partition)}
        ends = {tp: max(e.offset for e in produced if (e.topic, e.partition) == tp) + 1 for tp in others}

        def behind(tp: tuple[str, int]) -> int:
            return scene.ledger.committed.get(tp, 0)

        until(lambda: all(behind(tp) == end for tp, end in ends.items()), HEALED, "the other partitions' commits")
        assert behind((victim.topic, victim.partition)) <= victim.offset
        scene.endpoint.answer(None)
        scene.close(HEALED, duplicates=0)
