"""Counts of mapped events: which identifiers they have, which fields were left out, which values are suspect."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from stream_capi.events.shared_values import SharedValues
from stream_capi.model import Lane

OF_EVERY_EVENT = ("client_ip_address", "client_user_agent")


class CountSink(Protocol):
    """Where the counts go (the metrics)."""

    def mapped(self, pixel: str, event: str, n: int) -> None: ...
    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None: ...
    def dropped(self, field: str, reason: str, n: int) -> None: ...
    def suspect(self, event: str, field: str, reason: str, n: int) -> None: ...


class Counts:
    """Counts of mapped events, kept in plain dictionaries until they are collected.

    ``shared`` is told how many events have each of the fields that it inspects.
    """

    def __init__(self, shared: SharedValues | None = None) -> None:
        self.shared = shared
        self.lanes: dict[Lane, Counter[str]] = {}  # all events under "", those with an identifier under its name
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.suspect: Counter[tuple[str, str, str]] = Counter()  # by event, field and reason

    def of_lane(self, lane: Lane) -> Counter[str]:
        """The counts of a lane. Looked up once for each plan, because hashing a lane takes as long as counting it."""
        return self.lanes.setdefault(lane, Counter())

    def drain_into(self, sink: CountSink) -> None:
        """Pass on what was counted since the last call, and reset it."""
        for lane, counted in self.lanes.items():
            for field, n in counted.items():
                if field:
                    sink.identifiers(lane.pixel, lane.event.value, field, n)
                else:
                    sink.mapped(lane.pixel, lane.event.value, n)
                if self.shared is not None:
                    for one in (field,) if field else OF_EVERY_EVENT:
                        self.shared.carried(lane.event.value, one, n)
            counted.clear()
        for (field, reason), n in self.dropped.items():
            sink.dropped(field, reason, n)
        for (event, field, reason), n in self.suspect.items():
            sink.suspect(event, field, reason, n)
        self.dropped.clear()
        self.suspect.clear()
