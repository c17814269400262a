"""What is counted of the events: which identifiers they have, which fields were left out, which are suspect."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Protocol

from stream_capi.model import Lane
from tests.compiled.fields import IDENTIFIER_FIELDS


class CountSink(Protocol):
    """Where the counts go (the metrics)."""

    def mapped(self, pixel: str, event: str, n: int) -> None: ...
    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None: ...
    def dropped(self, field: str, reason: str, n: int) -> None: ...
    def suspect(self, field: str, reason: str, n: int) -> None: ...


class Counts:
    """What is counted an event, kept in plain dictionaries until somebody collects it."""

    def __init__(self) -> None:
        self.identifiers: defaultdict[Lane, Counter[int]] = defaultdict(Counter)
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.suspect: Counter[tuple[str, str]] = Counter()

    def drain_into(self, sink: CountSink) -> None:
        """Hand over what was counted since the last time."""
        for lane, masks in self.identifiers.items():
            if masks:
                sink.mapped(lane.pixel, lane.event.value, masks.total())
            for mask, n in masks.items():
                for bit, field in enumerate(IDENTIFIER_FIELDS):
                    if mask >> bit & 1:
                        sink.identifiers(lane.pixel, lane.event.value, field, n)
            masks.clear()
        for (field, reason), n in self.dropped.items():
            sink.dropped(field, reason, n)
        for (field, reason), n in self.suspect.items():
            sink.suspect(field, reason, n)
        self.dropped.clear()
        self.suspect.clear()
