"""Finds the dead letters of people who asked to be forgotten, by the mapping of now and the list, as a redrive does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.config import Settings
from stream_capi.errors import FieldsEncrypted
from stream_capi.events.paths import Schema
from stream_capi.events.rules import SourceRules
from stream_capi.events.selecting import PICKED, Selection, by_people
from stream_capi.events.suppression import People
from stream_capi.kafka.originals import Originals
from stream_capi.model import Record, Rejection
from stream_capi.operations.dead_letters import StoredDeadLetter
from stream_capi.operations.redrive_source import Event
from stream_capi.operations.topic_selector import TopicSelector

_AT_ONCE = 16  # events of dead letters by reference that are in memory together

Letter = tuple[StoredDeadLetter, Record]


class SuppressedLetters:
    """Finds the dead letters of people on the list. ``unseen`` counts those that can't be judged, by reason. Close it."""

    def __init__(self, settings: Settings, people: People) -> None:
        self.unseen: Counter[str] = Counter()
        self._settings = settings
        self._people = people
        self._schemas = SchemaSources(settings)
        self._originals = Originals(settings.kafka)
        self._selectors: dict[str, TopicSelector] = {}

    async def among(self, letters: Sequence[Letter]) -> set[int]:
        """The indexes of those that are of people on the list. Raises Unavailable, KafkaLost, ConfigurationError."""
        topics: dict[str, list[int]] = defaultdict(list)
        for at, (stored, _) in enumerate(letters):
            topics[stored.kind.topic].append(at)
        found: set[int] = set()
        for topic, indexes in topics.items():
            if not self._settings.sources_of(topic):
                self.unseen["no source"] += len(indexes)
                continue
            here = [at for at in indexes if not letters[at][0].by_reference]
            found |= await self._among(topic, {at: _event(*letters[at]) for at in here})
            away = [at for at in indexes if letters[at][0].by_reference]
            for first in range(0, len(away), _AT_ONCE):
                found |= await self._among(
                    topic, self._referred({at: letters[at][0] for at in away[first : first + _AT_ONCE]})
                )
        return found

    async def _among(self, topic: str, events: dict[int, Event]) -> set[int]:
        if topic not in self._selectors:
            self._selectors[topic] = TopicSelector(self._settings, self._schemas, topic, self._select)
        found = set()
        for at, said in zip(events, await self._selectors[topic].of(list(events.values())), strict=True):
            if said == PICKED:
                found.add(at)
            elif isinstance(said, Rejection):
                self.unseen[said.code.value] += 1
            elif isinstance(said, FieldsEncrypted):
                self.unseen["encrypted"] += 1
        return found

    def _select(self, rules: Sequence[SourceRules], schema: Schema) -> Selection:
        return by_people(rules, schema, self._people)

    def _referred(self, letters: dict[int, StoredDeadLetter]) -> dict[int, Event]:
        """The events of dead letters by reference, of those that are still there."""
        records = self._originals.read([(one.source, one.source_offset) for one in letters.values()])
        there = {at: records.get((one.source, one.source_offset)) for at, one in letters.items()}
        events = {at: _event(letters[at], one) for at, one in there.items() if one and letters[at].is_of(one)}
        self.unseen["gone"] += len(letters) - len(events)
        return events

    async def aclose(self) -> None:
        """Close the clients."""
        self._originals.close()
        await self._schemas.aclose()


def _event(stored: StoredDeadLetter, record: Record) -> Event:
    return Event(record, record.value(), stored, at_source=True)
