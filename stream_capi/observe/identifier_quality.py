"""What the events of each source carried over the last hour and the last day: identifiers, and values that look wrong.

Sums alone, in a ring of minutes and one of quarters of an hour for each field that was seen: 630 bytes each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

from stream_capi.events.counts import OF_EVERY_EVENT, Counts
from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.rules import SourceRules
from stream_capi.events.shared_values import LOOKS, SHARES, SharedValues
from stream_capi.events.suspects import SHARED, WHY, source_of_values
from stream_capi.observe.histogram import RecentSums
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.status_document import CarriedEntry, IdentifiersEntry, PartEntry, SourceEntry, SuspectEntry

HOUR, DAY = 3600.0, 86_400.0
_RUNBOOK, _RUNBOOK_OF_ADDRESSES = "streamcapisuspectidentifiers", "streamcapisuspectaddresses"  # anchors
_MINUTE, _QUARTER = 60.0, 900.0
_Key = tuple[str, str, str]  # event; field, or "" for all events; reason, or "" for all values


class SourceQuality:
    """Takes what was counted of one source, and hands it on to the metrics.

    :param name: of the source, with its record where the topic has several.
    :param key: drawn at random by this process, for the hashes of values.
    :param clock: gives monotonic seconds.
    """

    def __init__(self, name: str, rules: SourceRules, metrics: Metrics, key: bytes, clock: Callable[[], float]) -> None:
        self.name = name
        self.shared = SharedValues(key)
        self.counts: list[Counts] = []  # one for each schema
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        self._sums: dict[_Key, tuple[RecentSums, RecentSums]] = {}
        self._fields: dict[str, list[str]] = {}  # by event: the identifiers that some lane sends
        for lane in rules.lanes():
            known, sent = self._fields.get(lane.event.value, []), rules.targets(lane)
            self._fields[lane.event.value] = [
                name for name in IDENTIFIER_FIELDS if name in known or f"user_data.{name}" in sent
            ]

    def collect(self, looks: float) -> None:
        """Take what was counted since the last time; so many more events may be looked at for shared values."""
        for counts in self.counts:
            counts.drain_into(self)
        for event, field, n in self.shared.suspects():
            self.suspect(event, field, SHARED, n)
        self.shared.allow(looks)

    # What the transforms have counted

    def mapped(self, pixel: str, event: str, n: int) -> None:
        """Events were mapped."""
        self._metrics.mapped(pixel, event, n)
        self._add((event, "", ""), n)

    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None:
        """Events carried this identifier."""
        self._metrics.identifiers(pixel, event, field, n)
        self._add((event, field, ""), n)

    def dropped(self, field: str, reason: str, n: int) -> None:
        """An optional field was wrong and left out."""
        self._metrics.dropped(field, reason, n)

    def suspect(self, event: str, field: str, reason: str, n: int) -> None:
        """A field was delivered as it came, though it looks wrong."""
        self._metrics.suspect(field, reason, n)
        self._add((event, field, reason), n)

    def _add(self, key: _Key, n: int) -> None:
        now = self._clock()
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = (
                RecentSums(int(HOUR / _MINUTE) + 1, _MINUTE),
                RecentSums(int(DAY / _QUARTER) + 1, _QUARTER),
            )
        for one in sums:
            one.add(n, now)

    # For the status

    def sources(self) -> list[SourceEntry]:
        """How many events carried each identifier, by event."""
        return [
            {
                "source": self.name,
                "event": event,
                "hour": self._carried(event, fields, 0),
                "day": self._carried(event, fields, 1),
            }
            for event, fields in self._fields.items()
            if (event, "", "") in self._sums
        ]

    def _carried(self, event: str, fields: Sequence[str], period: int) -> CarriedEntry:
        return {
            "events": self._sum((event, "", ""), period),
            "carry": {field: self._sum((event, field, ""), period) for field in fields},
        }

    def suspects(self) -> list[SuspectEntry]:
        """The values that look wrong. One value in too few events of both the hour and the day is none of them."""
        return [
            {
                "source": self.name,
                "event": event,
                "field": f"user_data.{field}",
                "path": source_of_values(field, self._rules.rule(f"user_data.{field}")),
                "reason": reason,
                "why": WHY[reason],
                "hour": parts[0],
                "day": parts[1],
                "runbook": _RUNBOOK if field != "client_ip_address" or reason == SHARED else _RUNBOOK_OF_ADDRESSES,
            }
            for event, field, reason in self._sums
            if reason and any(map(_is_told, (parts := self._parts(event, field, reason)), repeat((field, reason))))
        ]

    def _parts(self, event: str, field: str, reason: str) -> tuple[PartEntry, PartEntry]:
        """What looks wrong, of how many, in the hour and in the day."""
        carrying = (event, "" if field in OF_EVERY_EVENT else field, "")
        hour, day = (
            # Of a shared value it is an estimate, of events that may have come before.
            PartEntry(count=min(self._sum((event, field, reason), period), of), of=of)
            for period in (0, 1)
            for of in (self._sum(carrying, period),)
        )
        return hour, day

    def _sum(self, key: _Key, period: int) -> int:
        sums = self._sums.get(key)
        return sums[period].total(self._clock()) if sums else 0


def collect(every: Sequence[SourceQuality]) -> None:
    """Take what was counted of all sources; they share the looks at values, so that it costs the same for however many."""
    active = [one for one in every if one.counts]
    for one in active:
        one.collect(LOOKS / len(active))


def identifiers_entry(every: Iterable[SourceQuality], uptime: float) -> IdentifiersEntry:
    """What there is to tell of all sources: the most suspect values first."""
    known = list(every)
    return {
        "hour_seconds": round(min(HOUR, uptime), 1),
        "day_seconds": round(min(DAY, uptime), 1),
        "sources": [entry for one in known for entry in one.sources()],
        "suspects": worst_first([entry for one in known for entry in one.suspects()]),
    }


def added_up(every: Sequence[IdentifiersEntry]) -> IdentifiersEntry:
    """What several workers have. What one that has ended had counted is gone; the time is that of the oldest one."""
    sources: dict[tuple[str, str], SourceEntry] = {}
    for source in (source for one in every for source in one["sources"]):
        known = sources.setdefault((source["source"], source["event"]), source)
        if known is not source:
            hour, day = _carried_both(known["hour"], source["hour"]), _carried_both(known["day"], source["day"])
            sources[source["source"], source["event"]] = {**known, "hour": hour, "day": day}
    suspects: defaultdict[tuple[str, ...], list[SuspectEntry]] = defaultdict(list)
    for suspect in (suspect for one in every for suspect in one["suspects"]):
        suspects[suspect["source"], suspect["event"], suspect["field"], suspect["reason"]].append(suspect)
    return {
        "hour_seconds": max((one["hour_seconds"] for one in every), default=0.0),
        "day_seconds": max((one["day_seconds"] for one in every), default=0.0),
        "sources": list(sources.values()),
        "suspects": worst_first(_suspect_in_all(some, sources[place[0], place[1]]) for place, some in suspects.items()),
    }


def _carried_both(one: CarriedEntry, other: CarriedEntry) -> CarriedEntry:
    carry = {field: n + other["carry"].get(field, 0) for field, n in one["carry"].items()}
    return {"events": one["events"] + other["events"], "carry": carry}


def _suspect_in_all(some: Sequence[SuspectEntry], source: SourceEntry) -> SuspectEntry:
    """A field's suspect values of the workers that have some, of the events of all workers."""
    field = some[0]["field"].rpartition(".")[2]
    hour, day = source["hour"], source["day"]
    return {
        **some[0],
        "hour": {"count": sum(one["hour"]["count"] for one in some), "of": hour["carry"].get(field, hour["events"])},
        "day": {"count": sum(one["day"]["count"] for one in some), "of": day["carry"].get(field, day["events"])},
    }


def worst_first(entries: Iterable[SuspectEntry]) -> list[SuspectEntry]:
    """By the share of the last hour, and of the day."""
    return sorted(entries, key=lambda one: (_share(one["hour"]), _share(one["day"])), reverse=True)


def _is_told(part: PartEntry, place: tuple[str, str]) -> bool:
    field, reason = place
    return part["count"] > 0 and (reason != SHARED or _share(part) >= SHARES[field])


def _share(part: PartEntry) -> float:
    return part["count"] / part["of"] if part["of"] else 0.0
