"""What a member keeps after hours of faults and hand-overs: nothing for an event, a request or an assignment that is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.growth import day
from stream_capi.model import Lane
from stream_capi.observe.metrics import Metrics

pytestmark = pytest.mark.slow

# Objects an hour, in which some 8,000 events come. What is bounded fills up in the first day: the recent rules of a source,
# the values that are looked at, the sums of a day's quarters.
MOST = 250


def grown() -> int:
    """Objects that the third hour has added."""
    _, second, third = day.measured(3)
    return third.objects - second.objects


def test_an_hour_adds_next_to_nothing_to_what_is_held() -> None:
    assert grown() < MOST


def test_what_is_kept_for_each_batch_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered = Metrics.delivered

    def keeping(self: Any, lane: Lane, timestamps_ms: Sequence[int], now_ms: int) -> None:
        vars(self).setdefault("kept", []).append((lane, now_ms))
        delivered(self, lane, timestamps_ms, now_ms)

    monkeypatch.setattr(Metrics, "delivered", keeping)
    assert grown() > MOST
