"""The limits on a member's requests: how many a second, and how many refusals before the pixel pauses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_capi.model import Code
from stream_capi.sandbox.fault_script import Script
from tests.faults.answers import expect
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
MOST_REFUSALS = 20
BLOCKED_AT = 30


def reasons(member: Program) -> list[str]:
    held: list[dict[str, Any]] = member.status()["held"]
    return [one["reason"] for one in held]


def test_no_second_has_more_requests_than_the_limit(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        scene.produce(1500)
        scene.member(delivery={"max_requests_per_second": 5})
        scene.close(90)
        requests = sorted(scene.endpoint.mock.requests, key=lambda request: request.number)
        assert len(requests) >= 15
        # Of six requests in a row the first and last are a second apart, less half a second of transmission delay.
        assert all(later.at - earlier.at > 0.5 for earlier, later in zip(requests, requests[5:], strict=False))


@pytest.mark.repeat(of="test_no_second_has_more_requests_than_the_limit")
def test_at_the_limit_of_refusals_the_pixel_pauses_before_the_api_blocks_it(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """The endpoint blocks a key after a number of errors. Without the limit a second member passes that number."""
    with Scene(tmp_path, broker, registry) as scene:
        poison = scene.produce(1000)[::10]
        expect(scene, poison, Code.REFUSED)
        refusal = {"dedupe_ids": [event.event_id for event in poison], "status": 400}
        block = {"status": 403, "blocks_at": BLOCKED_AT}
        scene.endpoint.mock.script = Script.parse({"rules": [block, refusal]})
        limited = scene.member(delivery={"max_refusals": MOST_REFUSALS})
        until(lambda: reasons(limited) == ["refusals"], 60, "the pause")
        statuses = scene.endpoint.mock.counts.statuses
        assert statuses["400"] == MOST_REFUSALS
        assert statuses["403"] == 0
        assert not limited.is_ready()
        assert limited.terminate() == 0
        scene.endpoint.mock.script = Script.parse({"rules": [refusal]})
        scene.member()
        scene.close(90)
        assert statuses["400"] > BLOCKED_AT, "without the limit the block would have come"
