"""``find`` on the real stack for events that wait, and for events that no member will read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_capi.sandbox.fault_script import Action
from tests.endpoint_thread import Endpoint
from tests.integration.test_find import KEY, Stage, of
from tests.program import KEY as API_KEY
from tests.program import PIXEL_ID, Program
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]


def whys(stage: Stage, member: Program | None = None) -> dict[str, Any]:
    """The state of each event, and its reason."""
    words = () if member is None else ("--member", f"127.0.0.1:{member.port}")
    return of(stage.find("--key", KEY, *words)[0], "state", "why")


@pytest.mark.repeat(of="test_what_an_open_transaction_hides_is_counted")
def test_an_event_of_a_held_pixel_and_one_behind_it(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    with Endpoint(lambda _: Action(status=401), keys={PIXEL_ID: API_KEY}) as endpoint:
        stage = Stage(tmp_path, broker, registry, endpoint, names)
        stage.produce(0, {"first": stage.event("first"), "second": stage.event("second")})
        with Program(tmp_path, stage.settings, name="held").start() as member:
            until(lambda: "is held" in whys(stage, member)["first"][1], 60, "the held pixel in find's words")
            found = whys(stage, member)
            assert found["first"] == found["second"]
            assert found["first"][0] == "open"
            assert found["first"][1].startswith("pixel main is held: ")
            events, document = stage.find("--key", KEY, "--member", "127.0.0.1:1")
            assert of(events, "state", "why")["first"] == ("open", "not known here: its member was not reached")
            (asked,) = document["asked"]
            assert asked == {"address": "127.0.0.1:1", "answered": False, "fault": "no answer (Connection refused)"}
            assert document["unknown"] == "asked 0 of 1 members; what the others hold is not known here"
            member.terminate()
        assert whys(stage)["first"] == ("open", "the group has no member")


@pytest.mark.repeat(of="test_what_an_open_transaction_hides_is_counted")
def test_an_event_of_a_paused_pixel_and_one_behind_a_lag(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    with Endpoint(lambda _: Action(hang=True), keys={PIXEL_ID: API_KEY}) as endpoint:
        stage = Stage(tmp_path, broker, registry, endpoint, names)
        stage.produce(0, {name: stage.event(name) for name in ("one", "two", "three")})
        stage.settings["delivery"] = {"max_in_flight": 1}
        with stage.member("lag") as member:
            until(lambda: "behind" in whys(stage, member)["three"][1], 30, "the one that waits behind another")
            found = whys(stage, member)
            assert "behind 2 offsets of its partition, of which the oldest waits: " in found["three"][1]
            assert found["one"][0] == "open"
            assert "behind" not in found["one"][1]
            member.terminate()
        stage.settings["pixels"][0]["paused"] = True
        with Program(tmp_path, stage.settings, name="paused").start() as member:
            assert whys(stage, member)["one"] == ("open", "paused by configuration")
            member.terminate()


@pytest.mark.repeat(of="test_what_an_open_transaction_hides_is_counted")
def test_an_event_before_the_place_where_a_group_began(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    with Endpoint(keys={PIXEL_ID: API_KEY}) as endpoint:
        stage = Stage(tmp_path, broker, registry, endpoint, names)
        stage.settings["kafka"]["start"] = "latest"
        stage.produce(0, {"early": stage.event("early")})
        state, why = whys(stage)["early"]
        assert (state, 'with start = "latest"' in why) == ("open", True)
        with stage.member("latest") as member:
            state, why = whys(stage, member)["early"]  # a member commits its start offset at once
            assert (state, "members have resolved all from offset 1 on" in why) == ("no_outcome_recorded", True)
            stage.produce(0, {"late": stage.event("late")})
            stage.await_commits({0: 2})
            found = of(stage.find("--key", KEY)[0], "state")
            assert found == {"early": "no_outcome_recorded", "late": "delivered"}
            assert member.terminate() == 0


def test_what_an_open_transaction_hides_is_counted(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    with Endpoint(keys={PIXEL_ID: API_KEY}) as endpoint:
        stage = Stage(tmp_path, broker, registry, endpoint, names)
        stage.produce(0, {"before": stage.event("before")})
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": stage.topic, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(stage.topic, stage.event("inside"), KEY.encode(), partition=0)
        assert producer.flush(30) == 0
        stage.offsets[0] += 1
        stage.produce(0, {"behind": stage.event("behind")})
        found, document = stage.find("--key", KEY)
        assert of(found, "state") == {"before": "open"}
        assert document["scanned"]["partitions"][0]["behind_open_transaction"] == 2
        nothing, _ = stage.find("--event-id", "behind", code=1)
        assert nothing == {}
        producer.abort_transaction(30)
