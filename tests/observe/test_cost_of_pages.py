"""The cost of ``/metrics`` and ``/status`` with many partitions, sources and pixels, in interpreter steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import generate_latest

from stream_capi.config import Settings
from stream_capi.model import TopicPartition
from stream_capi.observe.health import Health
from stream_capi.observe.snapshot import Snapshot
from tests.observe.simulated_app import SETTINGS, Watched
from tests.simulation import always, simulate
from tests.steps import steps

pytestmark = pytest.mark.slow  # the steps are counted one by one

FEW, MANY = 10, 300
OTHERS = [f"topic-{number}" for number in range(50)]


def many_others() -> Settings:
    """Settings with fifty more sources and pixels, for which this member has no partition."""
    document = SETTINGS.model_dump(exclude_defaults=True)
    pixels = [{"name": name, "pixel_id": name, "api_key_env": "KEY"} for name in OTHERS]
    sources = [{"topic": name, "event": "page_view", "pixel": name} for name in OTHERS]
    return Settings.model_validate(
        {"pixels": [*document["pixels"], *pixels], "sources": [*document["sources"], *sources]}
    )


def cost(partitions: int, page: Callable[[Watched], object], settings: Settings = SETTINGS) -> int:
    """The steps for one answer, when each partition has had events and has some open."""

    async def run() -> int:
        line = Watched(always(200, 5.0))
        for number in range(partitions):
            line.produce("leads", number, f"a{number}", f"b{number}")
        line.assign(*(TopicPartition("leads", number) for number in range(partitions)))
        line.app.keys = dict.fromkeys((pixel.name for pixel in settings.pixels), line.app.keys["main"])
        line.app.settings = settings
        line.snapshot = Snapshot(line.app, Health(line.app))
        line.metrics.gauges = line.snapshot.gauges
        return steps(lambda: page(line))

    return simulate(run())


def metrics(line: Watched) -> object:
    return generate_latest(line.metrics.registry)


def status(line: Watched) -> object:
    return line.snapshot.status()


@pytest.mark.parametrize(("page", "most"), [(metrics, 1300), (status, 500)])
def test_an_answer_costs_the_same_for_each_partition(page: Callable[[Watched], object], most: int) -> None:
    few, some, many = (cost(partitions, page) for partitions in (FEW, FEW * 10, MANY))
    first, further = (some - few) / (9 * FEW), (many - some) / (MANY - 10 * FEW)
    assert first < most
    assert further < 1.2 * first


@pytest.mark.parametrize("page", [metrics, status])
def test_a_partition_costs_the_same_however_many_sources_and_pixels_there_are(
    page: Callable[[Watched], object],
) -> None:
    settings = many_others()
    alone = cost(MANY, page) - cost(FEW, page)
    among_others = cost(MANY, page, settings) - cost(FEW, page, settings)
    assert among_others < 1.1 * alone
