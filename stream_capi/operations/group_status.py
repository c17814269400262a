"""The group as it is now: by the broker, and by its members, who alone know why an event waits (contract, section 2).

A member reports its own partitions only. Of those that no member was reached for, the broker has the age of the event at
the committed offset.
"""

from __future__ import annotations

import errno
import http.client
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from stream_capi.config import Settings
from stream_capi.kafka.admin import Group, KafkaAdmin, Member
from stream_capi.kafka.ranges import Range, TopicLog, total
from stream_capi.kafka.scan import scan
from stream_capi.model import TopicPartition, place_of
from stream_capi.observe.record_age import age_of
from stream_capi.observe.rejected_rules import held_joined
from stream_capi.observe.status_document import HeldEntry, NoticeEntry, PartitionEntry, PausedEntry, StatusDocument
from stream_capi.observe.what_to_do import PAUSED_BY_CONFIGURATION

_Entry = TypeVar("_Entry", NoticeEntry, PausedEntry)

_SECONDS = 3.0
_NOT_READ = "not read yet"
_MOST_BYTES = 64 << 20
_TEXTS = ("subject", "reason", "what_to_do")  # of what is held, and of a notice
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1", "": "127.0.0.1"}  # noqa: S104 -- not to listen on, but to ask
# A member that isn't to be asked under its name answers no browser; this is none.
_NAMES: tuple[dict[str, str], ...] = ({}, {"Host": "localhost"})


class OldestEvent(NamedTuple):
    """The oldest event without an outcome; ``seconds`` since its Kafka timestamp, None where it has none."""

    offset: int
    seconds: float | None
    why: str


class PartitionStatus(NamedTuple):
    """One partition. ``stopped`` is why it is not read, where a member reported it; ``member`` who owns it.

    ``paused``: how much of it is paused by configuration, as its member reported it.
    """

    tp: TopicPartition
    committed: int | None
    end: int
    lag: int
    member: Member | None
    stopped: str
    paused: str | None
    oldest: OldestEvent | None


class MemberAnswer(NamedTuple):
    """What came of asking a member at an address: its ``/status``, or why there is none."""

    address: str
    status: StatusDocument | None
    fault: str = ""

    @property
    def members(self) -> int:
        """How many members it speaks of: of workers, those that answer the program that watches them."""
        if self.status is None:
            return 0
        return sum(worker["answers"] for worker in self.status["workers"]) if "workers" in self.status else 1

    @property
    def silent_workers(self) -> list[int]:
        """The workers that don't answer the program that watches them."""
        workers = self.status.get("workers", []) if self.status is not None else []
        return [worker["worker"] for worker in workers if not worker["answers"]]


class GroupStatus(NamedTuple):
    """All of it. ``dead_letters`` counts the dead-letter topic's records, None where it isn't there."""

    group: Group
    partitions: list[PartitionStatus]
    answers: list[MemberAnswer]
    dead_letters: int | None

    @property
    def held(self) -> list[HeldEntry]:
        """What waits for a person, by the members that were reached; each thing once, with the rules of all of them."""
        return held_joined(entry for status in self._statuses for entry in status.get("held", ()))

    @property
    def asked(self) -> int:
        """How many of the group's members were reached; one that was reached under two addresses is one member."""
        found = {_identity(one.status): one.members for one in self.answers if one.status is not None}
        return min(sum(found.values()), len(self.group.members))

    @property
    def unknown(self) -> str:
        """What is not known of the members, in words; empty where all of them were asked."""
        members = len(self.group.members)
        if self.asked == members:
            return ""
        return f"asked {self.asked} of {members} members; what the others hold is not known here"

    @property
    def paused(self) -> list[PausedEntry]:
        """What is paused by configuration, by the members that were reached."""
        return _distinct(entry for status in self._statuses for entry in status.get("paused", ()))

    @property
    def notices(self) -> list[NoticeEntry]:
        """What goes wrong without being held, by the members that were reached."""
        return _distinct(entry for status in self._statuses for entry in status.get("notices", ()))

    @property
    def _statuses(self) -> Iterator[StatusDocument]:
        return (answer.status for answer in self.answers if answer.status is not None)


def look(settings: Settings, admin: KafkaAdmin, members: Sequence[str] = ()) -> GroupStatus:
    """Ask everybody. ``members`` are further addresses, ``host:port``. Raises Unavailable, KafkaLost."""
    topics = settings.topics
    answers = [ask_member(address, settings.kafka.group_id) for address in addresses(settings, members)]
    group = admin.group_members(settings.kafka.group_id)
    owners = {tp: member for member in group.members for tp in member.partitions}
    by_member = _by_partition(answers)
    committed = admin.committed(settings.kafka.group_id, topics)
    partitions, unexplained = [], {}
    whys: dict[TopicPartition, str] = {}  # by the members, of what they don't know the age of
    for topic in topics:
        for tp, bounds in TopicLog(admin, topic).bounds.items():
            at = committed[tp].offset if tp in committed else None
            start = at if at is not None else bounds.end if settings.kafka.start == "latest" else bounds.start
            known = by_member.get(tp)
            oldest = known.get("oldest") if known else None
            waiting = OldestEvent(oldest["offset"], oldest["seconds"], oldest["why"]) if oldest else None
            waits = known.get("waits") if known else None
            lag = max(0, bounds.end - max(start, bounds.start))
            stopped = (known and known.get("stopped")) or ""
            paused = known.get("paused_by_configuration") if known else None
            partitions.append(PartitionStatus(tp, at, bounds.end, lag, owners.get(tp), stopped, paused, waiting))
            if lag and not stopped and (waiting is None or waiting.seconds is None):
                unexplained[tp] = Range(max(start, bounds.start), bounds.end)
                unread = _NOT_READ if known else ""  # a member that has not heard of the lag yet
                whys[tp] = waits["why"] if waits else PAUSED_BY_CONFIGURATION if paused else unread
    by_broker = _by_broker(settings, unexplained, owners)
    partitions = [_completed(one, by_broker.get(one.tp), whys.get(one.tp, "")) for one in partitions]
    return GroupStatus(group, partitions, answers, _dead_letters(settings, admin))


def _completed(one: PartitionStatus, by_broker: OldestEvent | None, why: str) -> PartitionStatus:
    """With the oldest event by the broker, where its member has none open or doesn't know how old it is."""
    if by_broker is None:
        return one
    return one._replace(oldest=by_broker._replace(why=why or by_broker.why))


def ask_member(address: str, group: str) -> MemberAnswer:
    """Ask a member for its ``/status``; one of another group is no member."""
    try:
        with closing(http.client.HTTPConnection(address, timeout=_SECONDS)) as connection:
            for headers in _NAMES:
                connection.request("GET", "/status", headers=headers)
                answer = connection.getresponse()
                text = _body(answer)
                if answer.status != HTTPStatus.MISDIRECTED_REQUEST:
                    break
            status: Any = json.loads(text) if answer.status == HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return MemberAnswer(address, None, f"no answer ({why})")
    if not _is_status(status):
        return MemberAnswer(address, None, "what answers there is not stream-capi")
    if status["group"] != group:
        return MemberAnswer(address, None, f"answers for group {status['group']}")
    return MemberAnswer(address, status)


def _body(answer: http.client.HTTPResponse) -> bytes:
    """Anything may listen at the address: within a bound of bytes and time."""
    text, until = bytearray(), time.monotonic() + _SECONDS
    while piece := answer.read1(65_536):
        text += piece
        if len(text) > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"more than {_MOST_BYTES} bytes")
        if time.monotonic() > until:
            raise TimeoutError
    answer.close()  # the connection may have a second question
    return bytes(text)


def _is_status(found: Any) -> bool:
    """Whether an answer's JSON has the shape of all that is used of it."""
    try:
        held, lag = _entries(found, "held"), found.get("lag", {})
        texts = [*held, *_entries(found, "paused"), *_entries(found, "notices")]
        return (
            isinstance(found["group"], str)
            and all(isinstance(one[key], str) for one in texts for key in _TEXTS)
            and all(isinstance(one.get(key, ""), str) for one in held for key in ("pixel", "detail"))
            and all(map(_is_rule, [rule for one in held for rule in _entries(one, "rejected")]))
            and all(map(_is_partition, [*found["partitions"]]))
            and all(isinstance(client, str) for client in _entries(found, "clients"))
            and all(map(_is_worker, _entries(found, "workers")))
            and all(map(_is_count, [*_entries(found, "skipped"), *_entries(found, "left_out")]))
            and isinstance(lag, dict)
            and all(isinstance(value, int | float | None) for value in lag.values())
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _entries(found: Any, key: str) -> list[Any]:
    """A list that an older version may not have."""
    entries = found.get(key, [])
    if not isinstance(entries, list):
        raise TypeError
    return entries


def _is_rule(found: Any) -> bool:
    return all(isinstance(found[key], str) for key in ("code", "field", "source")) and isinstance(found["count"], int)


def _is_worker(found: Any) -> bool:
    return isinstance(found["worker"], int) and isinstance(found["answers"], bool)


def _is_count(found: Any) -> bool:
    texts = (found.get(key, "") for key in ("topic", "field", "reason"))
    return isinstance(found["count"], int) and all(isinstance(text, str) for text in texts)


def _is_partition(found: Any) -> bool:
    oldest: Any = found.get("oldest") or {"offset": 0, "seconds": 0, "why": ""}
    waits: Any = found.get("waits") or {"why": ""}
    return (
        isinstance(found["topic"], str)
        and isinstance(found["partition"], int)
        and isinstance(found.get("stopped"), str | None)
        and isinstance(found.get("paused_by_configuration"), str | None)
        and isinstance(oldest["offset"], int)
        and isinstance(oldest["seconds"], int | float | None)
        and isinstance(oldest["why"], str)
        and isinstance(waits["why"], str)
    )


def addresses(settings: Settings, members: Sequence[str] = ()) -> list[str]:
    """Where to ask: the members that are named, else the settings' own address; none where its port is any."""
    if members:
        return list(dict.fromkeys(members))
    host, port = _ANY_ADDRESS.get(settings.admin.host, settings.admin.host), settings.admin.port
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"] if port else []


def _by_partition(answers: Sequence[MemberAnswer]) -> dict[TopicPartition, PartitionEntry]:
    return {
        TopicPartition(one["topic"], one["partition"]): one
        for answer in answers
        if answer.status is not None
        for one in answer.status["partitions"]
    }


def _by_broker(
    settings: Settings, unexplained: Mapping[TopicPartition, Range], owners: Mapping[TopicPartition, Member]
) -> dict[TopicPartition, OldestEvent]:
    found = {}
    now = time.time()
    for record in scan(settings.kafka, unexplained, each=1):
        tp = place_of(record)
        age = age_of(record.timestamp()[1], int(now * 1000))
        why = "not known here: its member was not reached" if tp in owners else "nobody reads this partition"
        found[tp] = OldestEvent(record.offset() or 0, None if age is None else age / 1000, why)
    return found


def _dead_letters(settings: Settings, admin: KafkaAdmin) -> int | None:
    topic = settings.dead_letter.topic
    return total(TopicLog(admin, topic).bounds) if admin.describe([topic])[topic] is not None else None


def _identity(status: StatusDocument) -> tuple[tuple[str, ...], frozenset[TopicPartition]]:
    """What no two members have alike at a time: of an older version's status the partitions alone."""
    partitions = frozenset(TopicPartition(one["topic"], one["partition"]) for one in status["partitions"])
    return tuple(status.get("clients", ())), partitions


def _distinct(entries: Iterable[_Entry]) -> list[_Entry]:
    return list({(entry["subject"], entry["reason"]): entry for entry in entries}.values())
