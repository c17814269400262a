"""What became of one event, out of what Kafka keeps: the group's commits, the dead letters, and the mapping of now.

Only dead letters are recorded one by one. "Delivered" is therefore reported only where everything else is ruled out:
members have resolved the offset, no dead letter of that time can be missing, none names the event, and it is not skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from stream_capi.config import SourceSection
from stream_capi.core.offset_metadata import decode_outcomes, resolved_since, topic_id_of
from stream_capi.kafka.admin import GroupOffset
from stream_capi.kafka.ranges import Range, shown_time
from stream_capi.model import NO_LEADER_EPOCH, Code, EventName, Lane, Rejection, Skipped, Transformed
from stream_capi.operations.dead_letters import StoredDeadLetter

_BY_TIME = (Code.TOO_OLD, Code.IN_FUTURE)  # what these say now says nothing of the time when the event was mapped


class State(StrEnum):
    """Where an event is."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"
    OPEN = "open"
    NOT_RECORDED = "no_outcome_recorded"
    UNKNOWN = "unknown"


class EventState(NamedTuple):
    """A state and why. ``code``: of the dead letter; ``reason``: of a skip; ``redriven``: whether the dead letter was."""

    state: State
    why: str
    code: str | None = None
    reason: str | None = None
    dead_letter: StoredDeadLetter | None = None
    redriven: bool | None = None


class EventPlace(NamedTuple):
    """Where a record is: what identifies it within its partition."""

    offset: int
    leader_epoch: int
    written: int


class GroupCommits(NamedTuple):
    """What the group has committed for the record's partition, and the log as it is there."""

    committed: GroupOffset | None
    topic_id: str
    log: Range


class KeptLetters(NamedTuple):
    """The dead letters that name the event, oldest first, each with whether it was redriven.

    ``since``: dead letters written since then (epoch milliseconds) are all there, ``why_not`` says why not those before; None
    where it can't be said of any.
    """

    naming: Sequence[tuple[StoredDeadLetter, bool]]
    since: float | None = 0
    why_not: str = ""


class Mapped(NamedTuple):
    """What the current settings make of the record; None where that isn't known, for the reason ``why_not``.

    ``lane``: where it goes; None where it goes nowhere, or where that isn't known.
    """

    outcome: Transformed | None
    why_not: str = ""
    lane: Lane | None = None


def is_resolved(place: EventPlace, commits: GroupCommits) -> tuple[bool | None, str]:
    """Whether members have given the record an outcome; None where that is not recorded, with the reason."""
    committed, topic_id, log = commits
    if committed is None:
        return False, ""
    of_commit = topic_id_of(committed.metadata)
    if of_commit and topic_id and of_commit != topic_id:
        return False, ""  # committed for the topic's former self; members stop there
    if place.offset >= committed.offset:
        ranges = decode_outcomes(committed.metadata, committed.offset, topic_id)
        return any(of.first <= place.offset < of.last and of.leader_epoch == place.leader_epoch for of in ranges), ""
    if committed.offset > log.end or NO_LEADER_EPOCH < committed.leader_epoch < place.leader_epoch:
        return None, "the log was truncated since, and written again"
    since = resolved_since(committed.metadata, committed.offset, topic_id)
    if since is None:
        return None, (
            "the committed offset was set by a reset, or by a release that didn't record from where on all is resolved"
        )
    if place.offset < since:
        return (
            None,
            f"members have resolved all from offset {since} on; what lies before was passed over, or was not recorded",
        )
    return True, ""


def state_of(
    place: EventPlace, commits: GroupCommits, letters: KeptLetters, mapped: Mapped, why_open: str
) -> EventState:
    """Judge one event. ``why_open`` is what it waits for, where it is open."""
    resolved, doubt = is_resolved(place, commits)
    if letters.naming:
        return _dead_lettered(letters.naming, resolved)
    if resolved is None:
        return EventState(State.NOT_RECORDED, f"below the committed offset, no outcome recorded: {doubt}")
    if not resolved:
        return EventState(State.OPEN, "; ".join(filter(None, (why_open, _will_be(mapped.outcome)))))
    beyond = commits.committed is not None and place.offset >= commits.committed.offset
    where = "among the outcomes beyond the committed offset" if beyond else "its offset is committed"
    return _resolved(place, letters, mapped, where)


def _dead_lettered(naming: Sequence[tuple[StoredDeadLetter, bool]], resolved: bool | None) -> EventState:
    letter, redriven = naming[-1]
    times = f" for the {len(naming)}. time" if len(naming) > 1 else ""
    why = f"{letter.kind.code.value}, as {letter.at}@{letter.offset}, {shown_time(letter.written)}{times}"
    why += ": redriven since, without a new dead letter" if redriven else ", not redriven"
    if resolved is False:
        why += "; its offset is not committed, so that it is read again"
    return EventState(State.DEAD_LETTERED, why, letter.kind.code.value, None, letter, redriven)


def _resolved(place: EventPlace, letters: KeptLetters, mapped: Mapped, where: str) -> EventState:
    outcome = mapped.outcome
    if isinstance(outcome, Skipped):
        why = f"{outcome.reason}, by the current settings; {where}"
        return EventState(State.SKIPPED, why, reason=outcome.reason)
    if letters.since is None or place.written < letters.since:
        return EventState(State.UNKNOWN, f"{where}, but its dead letter could be missing: {letters.why_not}")
    if outcome is None:
        return EventState(
            State.UNKNOWN, f"{where} and no dead letter names it: delivered or skipped, since {mapped.why_not}"
        )
    if isinstance(outcome, Rejection) and outcome.code not in _BY_TIME:
        why = (
            f"{where} and no dead letter names it, but the current settings would dead-letter it ({outcome.code.value})"
        )
        return EventState(State.UNKNOWN, f"{why}: delivered or skipped by others", outcome.code.value)
    return EventState(State.DELIVERED, f"{where}, and no dead letter names it")


def _will_be(outcome: Transformed | None) -> str:
    if isinstance(outcome, Skipped):
        return f"it will be skipped ({outcome.reason})"
    return f"it will be dead-lettered ({outcome.code.value})" if isinstance(outcome, Rejection) else ""


def held_for(mapped: Mapped, sources: Sequence[SourceSection]) -> dict[str, str]:
    """What keeps the event where it is held: the subject in a member's status, and its name for people.

    An event that is sent waits for its lane and its pixel; one that is to be a dead letter for the source that it is of.
    """
    topics = {name: name for one in sources for name in (one.topic, f"{one.topic} ({one.record})")}
    if isinstance(mapped.outcome, Rejection):
        return topics
    lanes = [Lane(one.pixel, EventName(one.event)) for one in sources if one.pixel and one.event]
    lanes = lanes if mapped.lane is None else [mapped.lane]
    pixels = {lane.pixel: f"pixel {lane.pixel}" for lane in lanes}
    return pixels | {str(lane): f"lane {lane}" for lane in lanes}
