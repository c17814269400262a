"""Faults of the machine that the program runs on: who reads its log, and what the system lets it have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scene import Scene
from tests.stack import Broker, Registry

pytestmark = pytest.mark.real


def test_a_log_that_nobody_reads_stops_neither_delivery_nor_probes_nor_the_stop(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        member = scene.member(module="tests.faults.doubles.unread")
        scene.produce(600, bad=4)
        scene.ledger.await_all(30)
        assert member.is_alive()
        assert member.is_ready()
        assert member.terminate(15) == 0
        scene.close(duplicates=0)
