"""Faults of the machine: a log that nobody reads, and too few file descriptors or threads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.answers import always, notices
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

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


@pytest.mark.repeat(of="test_a_log_that_nobody_reads_stops_neither_delivery_nor_probes_nor_the_stop")
def test_without_a_free_descriptor_the_log_and_the_page_name_it_and_delivery_goes_on(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "delivery": {"max_in_flight": 200},
        "batch": {"max_events": 1},
        "log": {"level": "info"},
    }
    with Scene(tmp_path, broker, registry, sections=sections, answer=always(delay_seconds=2.0)) as scene:
        member = scene.member()
        few = member.process.num_fds() + 40
        member.process.rlimit(psutil.RLIMIT_NOFILE, (few, few))
        before = len(member.output.splitlines())
        scene.produce(600)
        until(lambda: "descriptors" in member.output, 30, "a line that names it")
        until(lambda: "descriptors" in notices(member), 15, "a notice that names it")
        for _ in range(20):
            assert member.is_alive()
            time.sleep(0.1)
        scene.endpoint.answer(None)
        scene.ledger.await_all(90)
        assert member.is_alive()
        assert len(member.output.splitlines()) - before < 60
        assert member.terminate(20) == 0
        scene.close(duplicates=0)


@pytest.mark.repeat(of="test_a_log_that_nobody_reads_stops_neither_delivery_nor_probes_nor_the_stop")
def test_a_soft_limit_of_open_files_is_raised_to_what_is_needed(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, sections={"delivery": {"max_in_flight": 200}}) as scene:
        member = scene.member(
            module="tests.faults.doubles.short", env={"CAPI_TEST_SOFT": "64", "CAPI_TEST_HARD": "4096"}
        )
        soft, hard = member.process.rlimit(psutil.RLIMIT_NOFILE)
        assert (soft >= 464, hard) == (True, 4096)
        assert not member.logged("limit of open files is low")
        low = scene.member(module="tests.faults.doubles.short", env={"CAPI_TEST_SOFT": "200", "CAPI_TEST_HARD": "300"})
        assert low.process.rlimit(psutil.RLIMIT_NOFILE)[0] == 300
        (line,) = low.logged("limit of open files is low")
        assert line["limit"] == 300
        scene.produce(200)
        scene.close()
