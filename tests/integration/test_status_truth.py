"""``/status`` of real members: what a lag waits for, whose lag it is, and events left out of the latency."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_capi.sandbox.samples import Samples
from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, produce, register
from tests.integration.test_commands import assert_plain, command, write
from tests.ledger import assert_private
from tests.program import Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = pytest.mark.real

SCHEMA: Any = json.loads((Path(__file__).parents[2] / "schemas" / "page_view.avsc").read_text())


def values(registry: Registry, topic: str, count: int) -> list[bytes | None]:
    """Good page views."""
    schema_id = register(registry, f"{topic}-value", SCHEMA)
    now = int(time.time() * 1000)
    rows = (row for event, row in Samples(7, bad_share=0).stream(20_000, now - 20_000) if event.value == "page_view")
    return [confluent(schema_id, encoded(SCHEMA, next(rows))) for _ in range(count)]


def of_partition(status: dict[str, Any], partition: int) -> dict[str, Any]:
    """The status's entry for a partition."""
    (found,) = [one for one in status["partitions"] if one["partition"] == partition]
    return dict(found)


@pytest.mark.repeat(of="test_a_member_tells_its_own_lag_and_the_groups")
def test_records_that_a_hold_keeps_from_being_read_are_said_to_wait_for_it(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic, dead = broker.create_topic(names.topic(), 2), broker.create_topic(names.topic("dead"))
    with Endpoint(keys={}) as endpoint:  # every key is refused
        settings = configuration(
            broker.bootstrap, registry.url, endpoint.url, names.group(), [{"topic": topic, "event": "page_view"}], dead,
            delivery={"probe_seconds": 30},
        )  # fmt: skip
        produce(broker, topic, values(registry, topic, 30), partition=0)
        with Program(tmp_path, settings).start() as member:
            until(lambda: bool(member.status()["held"]), 30, "the refused key")
            time.sleep(1)
            produce(broker, topic, values(registry, topic, 50), partition=1)
            until(lambda: of_partition(member.status(), 1)["lag"] == 50, 30, "the lag of what is not read")
            entry = of_partition(member.status(), 1)
            assert (entry["open_events"], entry["oldest"], entry["paused"]) == (0, None, True)
            assert entry["waits"]["why"].startswith("held (not read yet): 401, next probe in ")
            assert (member.status()["held"][0]["runbook"], member.status()["pixels"][0]["state"]) == ("401", "held")
            status, page = member.get("/runbook")
            assert status == 200
            assert 'id="401"' in page
            file = write(tmp_path, settings)
            waits: dict[str, Any] = {}

            def said() -> bool:
                """Whether the member has learnt of the lag, which takes some seconds."""
                asked = command("status", "--config", file, "--member", f"127.0.0.1:{member.port}", "--json")
                assert_plain(asked, 0)
                waits.update(of_partition(json.loads(asked.stdout), 1)["oldest"])
                return str(waits["why"]).startswith("held (not read yet): 401")

            until(said, 30, "what the lag waits for")
            assert waits["seconds"] > 0, "how old it is, by the broker"
            assert_private(member.output)


def test_a_member_tells_its_own_lag_and_the_groups(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic, dead = broker.create_topic(names.topic(), 4), broker.create_topic(names.topic("dead"))
    with Endpoint(keys={}) as endpoint:
        settings = configuration(
            broker.bootstrap, registry.url, endpoint.url, names.group(), [{"topic": topic, "event": "page_view"}], dead
        )
        for partition in range(4):
            produce(broker, topic, values(registry, topic, 25), partition=partition)
        with Program(tmp_path, settings, name="one").start() as one, Program(tmp_path, settings, name="two").start():
            until(lambda: one.status()["lag"]["partitions"] == 2, 60, "half of the partitions")
            until(lambda: one.status()["lag"]["member"] == 50, 30, "its lag")
            lag = one.status()["lag"]
            assert (lag["group"], lag["group_partitions"]) == (100, 4)
            assert 0 <= lag["group_seconds_ago"] < 90


def test_timestamps_that_cannot_be_true_are_in_no_latency_and_counted(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic = broker.create_topic(names.topic(), 1, {"retention.ms": "-1"})
    dead = broker.create_topic(names.topic("dead"))
    with Endpoint() as endpoint:
        settings = configuration(
            broker.bootstrap, registry.url, endpoint.url, names.group(), [{"topic": topic, "event": "page_view"}], dead
        )
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for number, value in enumerate(values(registry, topic, 40)):
            producer.produce(topic, value, timestamp=1 if number < 3 else int(time.time() * 1000))
        assert producer.flush(10) == 0
        with Program(tmp_path, settings).start(ready=True) as member:
            until(lambda: member.status()["totals"]["delivered"] == 40, 60, "all of them")
            status = member.status()
            assert status["untimed"] == [{"reason": "too_old", "count": 3}]
            assert status["latency"]["end_to_end_seconds"]["count"] == 37
            assert member.metric("stream_capi_delivered_untimed_total", reason="too_old") == 3
            assert member.metric("stream_capi_end_to_end_seconds_count") == 37
            assert member.metric("stream_capi_end_to_end_seconds_sum") < 37 * 120
