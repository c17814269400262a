"""A transaction that a producer leaves open: the lag behind it is reported as such, and read once it has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_capi.model import HANGING_TRANSACTION
from stream_capi.observe.what_to_do import what_to_do
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real


@pytest.mark.repeat(of="tests/integration/test_find_waiting.py::test_what_an_open_transaction_hides_is_counted")
def test_an_open_transaction_is_named_and_not_shown_as_plain_lag(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        scene.produce(100)
        member = scene.member()
        scene.ledger.await_all(60)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": scene.group, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(scene.leads, b"never committed", partition=1)
        assert producer.flush(30) == 0
        scene.produce(100)

        def notices() -> dict[str, str]:
            return {notice["subject"]: notice["reason"] for notice in member.status()["notices"]}

        until(lambda: scene.leads in notices(), 25, "the notice at /status")
        assert "the last stable offset stands still for" in notices()[scene.leads]
        assert f"{scene.leads}[1]" in notices()[scene.leads]
        assert [notice["what_to_do"] for notice in member.status()["notices"]] == [what_to_do(HANGING_TRANSACTION)]
        assert f"{scene.leads}[1]" in str(member.logged("an open transaction holds records back"))
        assert member.metric("stream_capi_hanging_transaction", topic=scene.leads, partition="1") == 1
        assert not member.logged("behind, and nothing is read")
        producer.abort_transaction(30)
        until(lambda: notices() == {}, 30, "the end of the notice")
        assert member.logged("nothing is held back by a transaction")
        scene.close(60)
