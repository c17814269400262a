"""What a dry run counts of one configuration. No value of an event is kept, and the counts are bounded by the settings."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from stream_capi.config import Settings
from stream_capi.events.fields import IDENTIFIER_FIELDS, RESTRICTED_IDENTIFIERS
from stream_capi.events.rejected_field import field_of
from stream_capi.events.rules import SourceRules
from stream_capi.events.suspects import source_of_values
from stream_capi.model import Lane, Rejection, Routed, Skipped, TopicPartition
from stream_capi.operations.dry_run_mapper import MappedPart, NoSource, Outcome, Waits


class SentKey(NamedTuple):
    """What sent events are counted by."""

    topic: str
    pixel: str
    event: str


class DeadLetterKey(NamedTuple):
    """What dead letters are counted by. ``source`` are the paths that the field was looked for at."""

    topic: str
    code: str
    field: str
    source: str


class ReasonKey(NamedTuple):
    """What is counted by a reason, of a topic."""

    topic: str
    reason: str


class FieldKey(NamedTuple):
    """What is counted by a field and a reason, of a topic."""

    topic: str
    field: str
    reason: str


class SuspectKey(NamedTuple):
    """What suspect values are counted by. ``source`` are the paths that they come from."""

    topic: str
    field: str
    source: str
    reason: str


class DryRunTally:
    """Counts of what would become of records, and for each kind but the sent ones the place of the first that was read."""

    def __init__(self) -> None:
        self.read = 0
        self.without_source = 0
        self.sent: Counter[SentKey] = Counter()
        self.dead_lettered: Counter[DeadLetterKey] = Counter()
        self.skipped: Counter[ReasonKey] = Counter()
        self.waiting: Counter[ReasonKey] = Counter()
        self.dropped: Counter[FieldKey] = Counter()
        self.suspect: Counter[SuspectKey] = Counter()
        self.mapped: Counter[SentKey] = Counter()  # events that the identifiers were counted of
        self.identifiers: Counter[tuple[SentKey, str]] = Counter()
        self.first: dict[NamedTuple, str] = {}

    def add(self, tp: TopicPartition, part: MappedPart) -> None:
        """Count the outcomes of one source's records."""
        self.read += len(part.outcomes)
        lane = part.lane
        if lane is not None and set(map(type, part.outcomes)) == {bytes}:
            self._sent(tp.topic, lane, len(part.outcomes))
            return
        for offset, outcome in zip(part.offsets, part.outcomes, strict=True):
            self._add_one(tp, lane, offset, outcome)

    def _sent(self, topic: str, lane: Lane, count: int) -> None:
        self.sent[SentKey(topic, lane.pixel, lane.event.value)] += count

    def _add_one(self, tp: TopicPartition, lane: Lane | None, offset: int, outcome: Outcome) -> None:
        if isinstance(outcome, Rejection):
            rejected = DeadLetterKey(tp.topic, outcome.code.value, *field_of(outcome))
            self.dead_lettered[rejected] += 1
            self.first.setdefault(rejected, f"{tp}@{offset}")
        elif isinstance(outcome, Skipped):
            self.skipped[ReasonKey(tp.topic, outcome.reason)] += 1
        elif isinstance(outcome, Waits):
            self.waiting[ReasonKey(tp.topic, outcome.reason)] += 1
        elif isinstance(outcome, NoSource):
            self.without_source += 1
        else:
            of = outcome.lane if isinstance(outcome, Routed) else lane
            assert of is not None  # noqa: S101 -- bytes come only from a source with one lane
            self._sent(tp.topic, of, 1)

    def of_source(self, rules: SourceRules) -> _OfSource:
        """Where the counts of a source's mapping go."""
        return _OfSource(self, rules)

    def coverage(self, settings: Settings) -> list[tuple[SentKey, str, int, int]]:
        """Of each pixel and event: each identifier, the events that carry it, and all events."""
        found = []
        for key, count in sorted(self.mapped.items()):
            restricted = settings.pixel(key.pixel).profile == "restricted"
            for field in RESTRICTED_IDENTIFIERS if restricted else IDENTIFIER_FIELDS:
                found.append((key, field, self.identifiers[key, field], count))
        return found


class _OfSource:
    """The sink of a source's counts."""

    def __init__(self, tally: DryRunTally, rules: SourceRules) -> None:
        self._tally = tally
        self._topic = rules.topic
        self._rules = rules

    def mapped(self, pixel: str, event: str, n: int) -> None:
        self._tally.mapped[SentKey(self._topic, pixel, event)] += n

    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None:
        self._tally.identifiers[SentKey(self._topic, pixel, event), field] += n

    def dropped(self, field: str, reason: str, n: int) -> None:
        self._tally.dropped[FieldKey(self._topic, field, reason)] += n

    def suspect(self, event: str, field: str, reason: str, n: int) -> None:
        path = source_of_values(field, self._rules.rule(f"user_data.{field}"))
        self._tally.suspect[SuspectKey(self._topic, field, path, reason)] += n
