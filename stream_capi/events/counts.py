"""What is counted of the events: which identifiers they have, which fields were left out, which are suspect."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from stream_capi.model import Lane


class CountSink(Protocol):
    """Where the counts go (the metrics)."""

    def mapped(self, pixel: str, event: str, n: int) -> None: ...
    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None: ...
    def dropped(self, field: str, reason: str, n: int) -> None: ...
    def suspect(self, field: str, reason: str, n: int) -> None: ...


class Counts:
    """What is counted of the events, kept in plain dictionaries until somebody collects it."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, Counter[str]] = {}  # events under "", and how many of them have each identifier
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.suspect: Counter[tuple[str, str]] = Counter()

    def of_lane(self, lane: Lane) -> Counter[str]:
        """The counts of a lane: looked up once for each plan, since to hash a lane takes as long as to count it."""
        return self.lanes.setdefault(lane, Counter())

    def drain_into(self, sink: CountSink) -> None:
        """Hand over what was counted since the last time."""
        for lane, counted in self.lanes.items():
            for field, n in counted.items():
                if field:
                    sink.identifiers(lane.pixel, lane.event.value, field, n)
                else:
                    sink.mapped(lane.pixel, lane.event.value, n)
            counted.clear()
        for (field, reason), n in self.dropped.items():
            sink.dropped(field, reason, n)
        for (field, reason), n in self.suspect.items():
            sink.suspect(field, reason, n)
        self.dropped.clear()
        self.suspect.clear()
