"""The demo, which needs nothing else installed: embedded broker, generator, endpoint and pipeline in one process."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from stream_capi.sandbox.demo import Demo
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from stream_capi.sandbox.sample_producer import SampleProducer
from tests.integration.test_commands import assert_plain, command

pytestmark = pytest.mark.slow


def test_the_demo_accounts_for_every_event() -> None:
    done = command("demo", "--events", "1600", "--json", seconds=120)
    assert_plain(done, 0)
    ledger = json.loads(done.stdout)
    assert ledger["holds"] is True
    assert ledger["produced"] == 1600 == ledger["delivered"] + sum(ledger["dead_lettered"].values())
    assert ledger["uncommitted"] == 0
    assert set(ledger["dead_lettered"]) >= {"refused", "missing_field"}, "its bad day is bad enough"
    assert done.stderr == ""


@pytest.mark.repeat(of="test_the_demo_accounts_for_every_event")
def test_the_demo_prints_its_ledger_for_people() -> None:
    done = command("demo", "--events", "200", seconds=120)
    assert_plain(done, 0)
    assert "produced 200 = delivered" in done.stdout
    assert "@example.com" not in done.stdout


@pytest.mark.repeat(of="test_the_demo_accounts_for_every_event")
async def test_the_demo_says_nothing_of_a_clock_that_the_mock_cluster_does_not_have(
    capsys: pytest.CaptureFixture[str],
) -> None:
    demo = Demo(200, lambda progress: None)
    ledger = await demo.run()
    assert ledger.dead_lettered, "a stamp comes with each dead letter"
    assert "clock differs" not in "".join(capsys.readouterr())


async def test_a_demo_that_is_interrupted_ends_its_producer_before_its_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise messages left in the producer would delay the exit until the flush times out."""
    order = []
    begun = asyncio.Event()
    flush, leave = SampleProducer.flush, EmbeddedBroker.__exit__

    def flushed(producer: SampleProducer) -> None:
        flush(producer)
        order.append("flushed")

    def ended(broker: EmbeddedBroker, *error: Any) -> None:
        order.append("broker ended")
        leave(broker, *error)

    monkeypatch.setattr(SampleProducer, "flush", flushed)
    monkeypatch.setattr(EmbeddedBroker, "__exit__", ended)
    demo = Demo(100_000, lambda progress: begun.set() if progress.produced else None)
    running = asyncio.create_task(demo.run())
    await asyncio.wait([running, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert begun.is_set()
    assert order == ["flushed", "broker ended"]
