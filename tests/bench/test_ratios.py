"""Guard against a slow-down: a ratio of two processor times of one process, so that it is the same on any machine.

The ratio is about 0.8 and may fall to 0.6. A slower machine doesn't change it, a mistake on the hot path does. The
second test makes such a mistake, to show that the guard can fail.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks import inside
from stream_capi.core.offsets import PartitionOffsets

pytestmark = [pytest.mark.slow, pytest.mark.repeat]

LEAST = 0.6
# The least of ten: on a busy machine, all of only three longer runs might be disturbed.
EVENTS, REPEATS = 12_000, 10


@pytest.mark.timeout(300)
def test_the_promises_cost_no_more_than_two_fifths_of_the_parts_they_are_kept_with() -> None:
    cost = inside.compared(EVENTS, REPEATS)
    assert cost.ratio >= LEAST, f"whole {cost.whole:.1f} µs, bare parts {cost.bare:.1f} µs an event"


@pytest.mark.timeout(300)
def test_the_guard_sees_a_scan_of_a_thousand_events_for_each_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan has a fixed length, since the number of open events depends on how busy the machine is."""
    thousand = range(1000)

    def scanning(self: PartitionOffsets, offsets: Sequence[int]) -> None:
        for offset in offsets:
            assert sum(1 for other in thousand if other < offset) >= 0
            self.resolve(offset)

    monkeypatch.setattr(PartitionOffsets, "resolve_all", scanning)
    assert inside.compared(EVENTS, 1).ratio < LEAST
