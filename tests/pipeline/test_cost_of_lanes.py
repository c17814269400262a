"""The cost of a request with many lanes, in bytecode instructions: lanes with nothing to send cost little."""

from __future__ import annotations

import pytest

from stream_capi.model import EventName, Lane, TopicPartition
from tests.pipeline.given import names
from tests.simulation import Line, always, simulate
from tests.steps import Steps

pytestmark = pytest.mark.slow  # counting instructions is slow


def cost(lanes: int) -> tuple[int, int]:
    """Instructions and requests of a run in which one lane of so many has something to send."""

    async def run() -> tuple[int, int]:
        topics = {f"topic-{number}": Lane(f"pixel-{number}", EventName.PAGE_VIEW) for number in range(lanes)}
        line = Line(always(200), topics, max_events=100, max_in_flight=16)
        line.produce("topic-0", 0, *names("a", 2000))
        line.assign(TopicPartition("topic-0", 0))
        with Steps() as counted:
            await line.run_for(5)
        assert sum(line.accepted.values()) == 2000
        return counted.count, len(line.requests)

    return simulate(run())


def test_a_request_costs_little_for_each_lane_that_has_nothing_to_send() -> None:
    (one, requests), (fifty, of_fifty) = cost(1), cost(50)
    assert requests == of_fifty == 20
    assert (fifty - one) / (49 * requests) < 700
