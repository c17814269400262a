"""Looks for records of the sources' topics: by key, by the ids that the mapping gives them, or by one field.

All partitions are read at once, by one client that joins no group and commits nothing. Memory is bounded: a chunk of a
partition at a time is decoded, and the newest records that match are kept, ``most`` of them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.config import Settings
from stream_capi.errors import FieldsEncrypted
from stream_capi.events.paths import MissingPath, Schema
from stream_capi.events.rules import SourceRules
from stream_capi.events.selecting import PICKED, Selection, Wanted, by_field, by_id
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import Moment, Range, TopicLog, total
from stream_capi.kafka.scan import chunks
from stream_capi.model import Record, Records, TopicPartition, place_of
from stream_capi.operations.topic_selector import Selected, TopicSelector


class Match(NamedTuple):
    """A record that was found. ``by_key``: it has nothing to read, and its key is the text that was looked for."""

    record: Record
    by_key: bool = False

    @property
    def tp(self) -> TopicPartition:
        """Its partition."""
        return place_of(self.record)

    @property
    def offset(self) -> int:
        """Its offset."""
        return self.record.offset() or 0

    @property
    def written(self) -> int:
        """Its timestamp, epoch milliseconds."""
        return self.record.timestamp()[1]


@dataclass(slots=True)
class Scanned:
    """What was looked through. ``hidden``: offsets behind the end of what can be read, where a transaction is open.

    ``undecoded`` counts the records that could not be decoded, by the code of why; ``missing`` is why no schema had the
    field that was looked for.
    """

    ranges: Mapping[TopicPartition, Range]
    hidden: Mapping[TopicPartition, int]
    records: int = 0
    matches: int = 0
    first: int | None = None
    last: int | None = None
    undecoded: Counter[str] = field(default_factory=Counter)
    missing: MissingPath | None = None
    has_field: bool = False
    done: dict[TopicPartition, int] = field(default_factory=dict)

    @property
    def offsets(self) -> int:
        """How many offsets the ranges have."""
        return total(self.ranges)

    @property
    def passed(self) -> int:
        """How many of them have been passed."""
        return sum(at - self.ranges[tp].start for tp, at in self.done.items())

    def count(self, chunk: Records) -> None:
        """A chunk more was read."""
        self.records += len(chunk.records)
        self.done[TopicPartition(chunk.topic, chunk.partition)] = chunk.columns.offsets[-1] + 1
        times = [at for record in chunk.records if (at := record.timestamp()[1]) > 0]
        if times:
            self.first = min(times) if self.first is None else min(self.first, *times)
            self.last = max(times) if self.last is None else max(self.last, *times)


def scope(admin: KafkaAdmin, topics: Iterable[str], since: int | None) -> Scanned:
    """What there is to look through since a time (epoch milliseconds; None: all of it). Raises Unavailable, KafkaLost."""
    ranges: dict[TopicPartition, Range] = {}
    hidden: dict[TopicPartition, int] = {}
    for topic in topics:
        start = Moment("earliest") if since is None else Moment("time", since)
        ranges |= TopicLog(admin, topic).ranges(start, Moment("latest"))
        written = admin.written_offsets([topic])
        hidden |= {tp: at - ranges[tp].end for tp, at in written.items() if tp in ranges and at > ranges[tp].end}
    return Scanned(ranges, hidden)


async def search(
    settings: Settings, wanted: Wanted, scanned: Scanned, most: int, show: Callable[[Scanned], None]
) -> list[Match]:
    """The newest ``most`` records that are wanted, in the order of their times. ``scanned`` is brought up to date.

    Raises RegistryUnavailable, Unavailable, KafkaLost, ConfigurationError.
    """
    schemas = SchemaSources(settings)
    newest: list[tuple[int, int, Match]] = []
    try:
        topics = {tp.topic for tp in scanned.ranges}
        readers = {
            topic: _TopicSearch(settings, wanted, schemas, topic, scanned) for topic in topics if wanted.kind != "key"
        }
        for chunk in chunks(settings.kafka, scanned.ranges):
            scanned.count(chunk)
            reader, records = readers.get(chunk.topic), chunk.records
            matches = (
                await reader.matches(records) if reader else [Match(one) for one in records if one.key() == wanted.key]
            )
            for match in matches:
                scanned.matches += 1
                entry = (match.written, scanned.matches, match)
                (heapq.heappush if len(newest) < most else heapq.heappushpop)(newest, entry)
            show(scanned)
    finally:
        await schemas.aclose()
    return [match for *_, match in sorted(newest, key=lambda entry: entry[:2])]


class _TopicSearch:
    """Finds what is wanted among the records of one topic, by what they hold."""

    def __init__(
        self, settings: Settings, wanted: Wanted, schemas: SchemaSources, topic: str, scanned: Scanned
    ) -> None:
        self._wanted = wanted
        self._scanned = scanned
        self._selector = TopicSelector(settings, schemas, topic, self._selection)

    def _selection(self, rules: Sequence[SourceRules], schema: Schema) -> Selection:
        wanted = self._wanted
        if wanted.kind == "event_id" or wanted.kind == "dedupe_id":
            return by_id(rules, schema, wanted.kind, wanted.text)
        selection = by_field(schema, wanted.path, wanted.text)
        if isinstance(selection, MissingPath):
            self._scanned.missing = selection
            return Selection([], frozenset(), wanted.text)
        self._scanned.has_field = True
        return selection

    async def matches(self, records: Sequence[Record]) -> list[Match]:
        """Those that are wanted, of a chunk of one partition."""
        found = map(self._judged, records, await self._selector.of(records))
        return [match for match in found if match is not None]

    def _judged(self, record: Record, made: Selected) -> Match | None:
        if isinstance(made, bytes):
            return Match(record) if made == PICKED else None
        code = getattr(made, "code", None)
        if code is not None:
            self._scanned.undecoded[code.value] += 1
        elif isinstance(made, FieldsEncrypted):
            self._scanned.undecoded["encrypted"] += 1
        return self._by_key(record)

    def _by_key(self, record: Record) -> Match | None:
        """Of a record without anything to read, the key may still be what is looked for."""
        is_id = self._wanted.kind in ("event_id", "dedupe_id")
        return Match(record, by_key=True) if is_id and record.key() == self._wanted.key else None
