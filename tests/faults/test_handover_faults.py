"""Hand-overs with every group protocol: members come and go, no event is lost, and only owners commit."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.faults.budgets import SMALL, killed, steady, unhurried
from tests.scene import Budget, Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until
from tests.standstill import BURST, assert_replaced

pytestmark = pytest.mark.real

_TIMES = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 300}
PROTOCOLS: dict[str, Mapping[str, Any]] = {
    "eager": {"partition.assignment.strategy": "range", **_TIMES},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky", **_TIMES},
    "consumer": {"group.protocol": "consumer"},
}


@pytest.mark.cases(1)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_that_join_and_leave_in_order_hand_over_without_a_duplicate(
    protocol: str, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, 4, steady, sections={"kafka": {"properties": PROTOCOLS[protocol]}}) as scene:
        scene.member()
        scene.produce(800, bad=4)
        second = scene.member()
        scene.produce(800, bad=4)
        until(lambda: second.metric("stream_capi_delivered_total") > 0, 60, "deliveries of the second member")
        assert second.terminate() == 0
        scene.produce(300)
        scene.close(90, duplicates=0)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_that_join_leave_and_die_at_random_lose_nothing(
    protocol: str, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    sections = {**SMALL, "kafka": {"properties": PROTOCOLS[protocol]}}
    with Scene(tmp_path, broker, registry, 6, unhurried, sections=sections) as scene:
        scene.notes.append(f"seed {seed}")
        living, deaths = [scene.member()], 0
        for _ in range(10):
            scene.produce(200, bad=2)
            step = chance.choice(("join", "leave", "die")) if living else "join"
            if step == "join" and len(living) < 3:
                living.append(scene.member(ready=False))
            elif step != "join":
                gone = living.pop(chance.randrange(len(living)))
                if step == "leave":
                    assert gone.terminate() == 0
                else:
                    gone.kill()
                    deaths += 1
            time.sleep(chance.random() * 2)  # random times, by the seed
        if not living:
            scene.member()
        scene.close(120, killed(deaths))


@pytest.mark.repeat(of="test_members_that_join_and_leave_in_order_hand_over_without_a_duplicate")
def test_a_killed_member_is_replaced_within_fifteen_seconds_and_the_others_commit_all_the_while(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """With the program's default time-outs, as in production."""
    with Scene(tmp_path, broker, registry, 2) as scene:
        killed, survivor = scene.member(), scene.member()
        until(lambda: len(killed.owned()) == len(survivor.owned()) == 2, 60, "an even share")
        assert_replaced(scene, killed.kill, killed.owned(), survivor.owned())
        scene.close(60, BURST)


def test_a_static_member_that_restarts_keeps_its_partitions(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, 4, steady) as scene:
        scene.settings["kafka"]["properties"] |= {"session.timeout.ms": 20_000}
        first = scene.member(kafka={"properties": {"group.instance.id": "one", "session.timeout.ms": 20_000}})
        scene.member(kafka={"properties": {"group.instance.id": "two", "session.timeout.ms": 20_000}})
        scene.produce(400)
        scene.ledger.await_all(60)

        def owned() -> list[str]:
            return sorted(str(p["topic"]) + str(p["partition"]) for p in scene.members[-1].status()["partitions"])

        until(lambda: len(first.status()["partitions"]) == 4, 60, "an even share")
        kept = sorted(str(p["topic"]) + str(p["partition"]) for p in first.status()["partitions"])
        assert first.terminate() == 0
        again = scene.member(kafka={"properties": {"group.instance.id": "one", "session.timeout.ms": 20_000}})
        until(lambda: len(again.status()["partitions"]) == 4, 60, "its share again")
        assert owned() == kept
        scene.produce(400)
        scene.close(90, duplicates=0)


@pytest.mark.repeat(of="test_members_that_join_and_leave_in_order_hand_over_without_a_duplicate")
def test_an_answer_that_comes_after_the_revocation_changes_nothing(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """The former owner's requests last longer than the drain; the new owner sends them again, the former one can't commit."""
    sections = {"endpoint": {"timeout_seconds": 20}, "batch": {"max_events": 10}}
    with Scene(tmp_path, broker, registry, 2, sections=sections) as scene:
        slow = {event.event_id for event in scene.produce(40)}
        asked: set[str] = set()

        def answer(request: RequestInfo) -> Action | None:
            first = slow & set(request.dedupe_ids) - asked
            asked.update(request.dedupe_ids)
            return Action(delay_seconds=14) if first else None

        scene.endpoint.answer(answer)
        first = scene.member(endpoint={"timeout_seconds": 16}, shutdown={"drain_seconds": 3})
        until(lambda: bool(asked), 30, "requests in flight")
        scene.member(ready=False)
        scene.close(90, Budget(len(slow), "in flight past the drain when their partitions went to the other member"))
        assert first.running
