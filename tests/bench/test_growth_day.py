"""After hours of faults and rebalances a member keeps nothing of finished events, requests and assignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.growth import day
from stream_capi.model import Lane
from stream_capi.observe.metrics import Metrics

pytestmark = pytest.mark.slow

# Objects per hour of some 8,000 events. Bounded structures still fill up during the first day: the recent rules of a
# source, the values counted as shared, the counts of each quarter of an hour.
MOST = 250


def grown() -> int:
    """Objects that the third hour added."""
    _, second, third = day.measured(3)
    return third.objects - second.objects


def test_an_hour_adds_next_to_nothing_to_what_is_held() -> None:
    assert grown() < MOST


@pytest.mark.repeat(of="test_an_hour_adds_next_to_nothing_to_what_is_held")
def test_what_is_kept_for_each_batch_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered = Metrics.delivered

    def keeping(self: Any, lane: Lane, timestamps_ms: Sequence[int], now_ms: int) -> None:
        vars(self).setdefault("kept", []).append((lane, now_ms))
        delivered(self, lane, timestamps_ms, now_ms)

    monkeypatch.setattr(Metrics, "delivered", keeping)
    assert grown() > MOST
