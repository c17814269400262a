"""Finds what became of events: the records that are meant, and for each what commits, dead letters and members say."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its own docs say so

from stream_capi.config import Settings, SourceSection
from stream_capi.errors import CheckFailed, StreamCapiError
from stream_capi.events.selecting import Wanted
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import Moment, Range, TopicLog, total
from stream_capi.kafka.scan import scan
from stream_capi.model import TopicPartition, epoch_number, place_of
from stream_capi.observe.what_to_do import PAUSED_BY_CONFIGURATION
from stream_capi.operations import group_status, purge_mark
from stream_capi.operations.dead_letters import Redriven, StoredDeadLetter, StoredDeadLetters, dead_letter_of
from stream_capi.operations.event_state import (
    EventPlace,
    EventState,
    GroupCommits,
    KeptLetters,
    Mapped,
    held_for,
    is_resolved,
    state_of,
)
from stream_capi.operations.explain import ExplainedRecord, explain_records
from stream_capi.operations.group_status import GroupStatus, PartitionStatus
from stream_capi.operations.search import Match, Scanned, search

_CLOCKS_MS = 24 * 3600 * 1000  # by which the clocks of producers and members may differ


class FoundEvent(NamedTuple):
    """A record that is meant, and what became of it."""

    match: Match
    schema: str
    state: EventState


class FoundEvents(NamedTuple):
    """The events that are meant, and the group by its members: None if no event is open, since then none is asked."""

    events: list[FoundEvent]
    group: GroupStatus | None


class _Letters(NamedTuple):
    """The dead letters of the matches, and since when none can be missing (see ``KeptLetters``)."""

    naming: Mapping[tuple[TopicPartition, int], Sequence[tuple[StoredDeadLetter, bool]]]
    since: float | None
    why_not: str

    def of(self, match: Match) -> KeptLetters:
        """Those that name a record."""
        naming = [one for one in self.naming.get((match.tp, match.offset), ()) if one[0].is_of(match.record)]
        return KeptLetters(naming, self.since, self.why_not)


async def find(
    settings: Settings,
    admin: KafkaAdmin,
    wanted: Wanted,
    scanned: Scanned,
    most: int,
    members: Sequence[str],
    show: Callable[[Scanned], None],
    show_letters: Callable[[int, int], None],
) -> FoundEvents:
    """The newest ``most`` events that are wanted, in the order of their times. ``members``: addresses to ask for why.

    Raises RegistryUnavailable, Unavailable, KafkaLost, ConfigurationError.
    """
    matches = await search(settings, wanted, scanned, most, show)
    if not matches:
        return FoundEvents([], None)
    topics = sorted({match.tp.topic for match in matches})
    # Before the dead letters: an event is committed only after its dead letter was written, so that none is missed.
    commits = _commits(settings, admin, topics)
    letters = _letters(settings, admin, matches, show_letters)
    explained = [one for topic in topics for one in await _explained(settings, topic, matches)]
    mapped = {id(match): one for match, one in explained}
    places = {id(match): _place(match) for match in matches}
    is_open = any(is_resolved(places[id(match)], commits[match.tp])[0] is False for match in matches)
    status = _status(settings, admin, topics, members) if is_open else None
    events = []
    for match in matches:
        schema, outcome = mapped[id(match)]
        why = _why_open(settings, status, match, outcome) if status else ""
        state = state_of(places[id(match)], commits[match.tp], letters.of(match), outcome, why)
        events.append(FoundEvent(match, schema, state))
    return FoundEvents(events, status)


def _place(match: Match) -> EventPlace:
    return EventPlace(match.offset, epoch_number(match.record.leader_epoch()), match.written)


def _commits(settings: Settings, admin: KafkaAdmin, topics: Sequence[str]) -> dict[TopicPartition, GroupCommits]:
    committed = admin.committed(settings.kafka.group_id, topics)
    ids = admin.topic_ids(topics)
    return {
        tp: GroupCommits(committed.get(tp), ids.get(topic, ""), bounds)
        for topic in topics
        for tp, bounds in TopicLog(admin, topic).bounds.items()
    }


async def _explained(
    settings: Settings, topic: str, matches: Sequence[Match]
) -> list[tuple[Match, tuple[str, Mapped]]]:
    """What the current settings make of each of the topic's matches, with the schema's name."""
    of_topic = [match for match in matches if match.tp.topic == topic]
    sources = settings.sources_of(topic)
    try:
        made = await explain_records(settings, sources, [match.record for match in of_topic])
        return [(match, _as_mapped(one)) for match, one in zip(of_topic, made, strict=True)]
    except (
        CheckFailed
    ):  # one of them has a schema that the registry's rules encrypt: the others are mapped all the same
        return [(match, await _explained_alone(settings, sources, match)) for match in of_topic]
    except StreamCapiError as error:
        return [(match, ("", Mapped(None, str(error)))) for match in of_topic]


async def _explained_alone(settings: Settings, sources: Sequence[SourceSection], match: Match) -> tuple[str, Mapped]:
    try:
        (made,) = await explain_records(settings, sources, [match.record])
    except StreamCapiError as error:
        return "", Mapped(None, str(error))
    return _as_mapped(made)


def _as_mapped(made: ExplainedRecord) -> tuple[str, Mapped]:
    lane = made.explanation.lane if made.explanation is not None else None
    return made.schema, Mapped(made.outcome, lane=lane)


# Dead letters


def _letters(
    settings: Settings, admin: KafkaAdmin, matches: Sequence[Match], show: Callable[[int, int], None]
) -> _Letters:
    """Read the dead-letter topic; kept is only what names one of the matches."""
    topic = settings.dead_letter.topic
    if admin.describe([topic])[topic] is None:
        return _Letters({}, None, f"the topic {topic} is not there")
    log = TopicLog(admin, topic)
    ranges = log.ranges(first_letter(matches, int(time.time() * 1000)), Moment("latest"))
    wanted = {(match.tp, match.offset) for match in matches}
    found: list[StoredDeadLetter] = []
    whole = total(ranges)
    for read, record in enumerate(scan(settings.kafka, ranges), 1):
        stored = dead_letter_of(record)
        if stored is not None and (stored.source, stored.source_offset) in wanted:
            found.append(stored)
        if read % 1000 == 0:
            show(read, whole)
    naming: dict[tuple[TopicPartition, int], list[tuple[StoredDeadLetter, bool]]] = defaultdict(list)
    if found:
        found.sort(key=lambda one: (one.at, one.offset))
        redriven = Redriven(settings, admin, StoredDeadLetters(found, 0, {}))
        for one in sorted(found, key=lambda letter: (letter.written, letter.at, letter.offset)):
            naming[one.source, one.source_offset].append((one, one in redriven))
    return _Letters(naming, *_kept_since(settings, admin, log.bounds))


def first_letter(matches: Sequence[Match], now_ms: int) -> Moment:
    """Where dead letters of these records begin: none is written before its record, but clocks differ.

    A record without a time, or from the future, could be of any time.
    """
    times = [match.written for match in matches]
    if min(times) <= _CLOCKS_MS or max(times) > now_ms:
        return Moment("earliest")
    return Moment("time", min(times) - _CLOCKS_MS)


def _kept_since(
    settings: Settings, admin: KafkaAdmin, bounds: Mapping[TopicPartition, Range]
) -> tuple[float | None, str]:
    """Since when no dead letter can be missing, and why one of before can; None where it can be one of any time."""
    topic = settings.dead_letter.topic
    written = admin.written_offsets([topic])
    if any(written.get(tp, 0) > of_one.end for tp, of_one in bounds.items()):
        return None, f"a transaction that is still open hides the newest records of {topic}"
    kept = admin.configuration(ResourceType.TOPIC, topic)
    if "compact" in kept.get("cleanup.policy", ""):
        return None, f"{topic} is compacted"
    why = f"older dead letters of {topic} are deleted"
    cut = {tp: of_one for tp, of_one in bounds.items() if of_one.start > 0}
    firsts = {place_of(one): one.timestamp()[1] for one in scan(settings.kafka, cut, each=1)}
    # Of a partition without any dead letter, only its retention and the last purge say how old the deleted ones were.
    if firsts.keys() != cut.keys():
        emptied = _emptied_since(settings, admin, int(kept.get("retention.ms", "-1")))
        return None if emptied is None else max([emptied, *firsts.values()]), why
    return max(firsts.values(), default=0), why


def _emptied_since(settings: Settings, admin: KafkaAdmin, retention: int) -> float | None:
    """Since when dead letters of a partition that has none can't have been deleted; None where nobody knows.

    A mark of a purge is forgotten after a while, so that older dead letters may be gone without one.
    """
    topic, now = settings.dead_letter.topic, time.time() * 1000
    purged = purge_mark.read(settings, admin, admin.topic_ids([topic]).get(topic, ""))
    if retention < 0:
        return purged
    return max(purged, now - retention) if purged is not None else now - min(retention, 1000 * purge_mark.KEPT_SECONDS)


# Why an event is open


def _status(settings: Settings, admin: KafkaAdmin, topics: Sequence[str], members: Sequence[str]) -> GroupStatus:
    sources = tuple(source for source in settings.sources if source.topic in topics)
    return group_status.look(settings.model_copy(update={"sources": sources}), admin, members)


def _why_open(settings: Settings, status: GroupStatus, match: Match, mapped: Mapped) -> str:
    (partition,) = (one for one in status.partitions if one.tp == match.tp)
    if partition.stopped:
        return f"its partition is stopped: {partition.stopped}"
    sources = settings.sources_of(match.tp.topic)
    if all(map(settings.is_paused, sources)) or (mapped.lane and mapped.lane.pixel in settings.paused_pixels):
        return PAUSED_BY_CONFIGURATION
    if partition.member is None:
        return _unread(settings, status, partition)
    names = held_for(mapped, sources)
    held = next((one for one in status.held if one["subject"] in names), None)
    if held is not None:
        return f"{names[held['subject']]} is held: {held['reason']}"
    oldest = partition.oldest
    if oldest is None or oldest.offset > match.offset:
        return "its partition is read, and no reason for the wait is known"
    if oldest.offset == match.offset:
        return oldest.why
    return f"behind {match.offset - oldest.offset:,} offsets of its partition, of which the oldest waits: {oldest.why}"


def _unread(settings: Settings, status: GroupStatus, partition: PartitionStatus) -> str:
    why = "no member of the group reads its partition" if status.group.members else "the group has no member"
    if partition.committed is None and settings.kafka.start != "earliest":
        end = "begins at the end of the log, past it" if settings.kafka.start == "latest" else "stops here"
        return f'{why}; no offset is committed, and with start = "{settings.kafka.start}" a member {end}'
    return why
