"""The pipeline's observer: one log line for each change of state, counters for each chunk or batch. No line per event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from stream_capi.core.flow import Gate, GateState
from stream_capi.core.held_reason import HeldReason
from stream_capi.events.drift import MappedPath
from stream_capi.model import (
    HANGING_TRANSACTION,
    NOT_READ,
    OUT_OF_REACH,
    REQUESTS_TIME_OUT,
    ApiError,
    Code,
    TopicPartition,
)
from stream_capi.observe.api_words import fields_of
from stream_capi.observe.commit_words import CommitFault, CommitReports
from stream_capi.observe.masking import scrub
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.what_to_do import (
    CERTIFICATES_UNREADABLE,
    CLOCK_DIFFERS,
    FIELDS_ENCRYPTED,
    KEY_UNREADABLE,
    PASSWORD_UNREADABLE,
    PAUSE_BLOCKS,
    RIGHT_MISSING,
    SCHEMA_LACKS_PATH,
    SUPPRESSION_UNREADABLE,
    dead_letters_reason,
    difference,
    lacks,
    lost_paths,
    schema_reason,
    what_to_do,
)

log = structlog.get_logger("stream_capi")

_GRANTED = "a right is granted again"
_GROUP_DENIED = "GROUP_AUTHORIZATION_FAILED"  # the brokers' own word
_NO_CONNECTION = "no connection to the brokers"
_SAID_SECONDS = 60.0
_MOST_SAID = 64  # pairs of pixel, status and code that are remembered
_WATCHED = frozenset({OUT_OF_REACH, REQUESTS_TIME_OUT, NOT_READ, HANGING_TRANSACTION})
_UNREADABLE = {
    "key file": KEY_UNREADABLE,
    "password file": PASSWORD_UNREADABLE,
    "certificates": CERTIFICATES_UNREADABLE,
    "suppression list": SUPPRESSION_UNREADABLE,
}
_GOOD_NEWS = frozenset(
    {
        *("assigned", "revoked", "brokers answer again"),
        *("broker in reach again", "requests are answered in time", "read again"),
        *("nothing is held back by a transaction", "the group is rebalancing"),
    }
)


class Said(NamedTuple):
    """The API's own words, the status they came with, and when, by a monotonic clock."""

    status: str
    said: ApiError
    at: float


class Telemetry:
    """The pipeline's and the consumer's observer. Only ``kafka`` is called off the event loop.

    ``joined`` says whether the group has given this member its share yet, be it an empty one; ``commits_fail`` why commits
    fail at present, None where they don't; ``cut_off`` whether the brokers don't answer at present, ``refused`` why no
    connection to them comes about; ``lacking`` the rights that this user lacks on topics, ``group_denied`` whether it lacks
    READ on its group.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._commits = CommitReports(now)
        self.consumed = metrics.consumed
        self.delivered = metrics.delivered
        self.dead_lettered = metrics.dead_lettered
        self.skipped = metrics.skipped
        self.request = metrics.request
        self.batch = metrics.batch
        self.joined = False
        self.cut_off = False
        self.refused = ""
        self.group = ""
        self.group_denied = False
        self.lacking: Mapping[str, str] = {}
        self.detail_of: Callable[[str], str] = lambda reason: ""  # more on why the endpoint fails
        self.said: dict[str, Said] = {}  # by pixel: the last words of the API
        self._said_at: dict[tuple[str, str, str], float] = {}  # when a pixel's status and code were logged
        self._internal_at: dict[str, float] = {}  # when the last internal error of a topic was logged

    def commit(self, result: str) -> None:
        """A commit of one partition ended. Log when failures begin and end; a fenced commit says nothing about the broker."""
        self._metrics.commit(result)
        if result != "fenced":
            self._commits.ended(result)
            self._group_heard(result)

    @property
    def commits_fail(self) -> CommitFault | None:
        """Why commits fail."""
        return self._commits.fault

    def gate_changed(self, subject: str, gate: Gate) -> None:
        """A pixel's or lane's gate opened or closed."""
        last = self.said.get(subject.partition("/")[0])
        words = fields_of(last.said) if last is not None and last.status == gate.reason else {}
        if gate.state is GateState.HELD:
            log.error("held", subject=subject, reason=gate.reason, **words, action=what_to_do(gate.reason))
        elif gate.state is GateState.TRIPPED:
            detail = self.detail_of(gate.reason)
            more = {**words, "detail": detail} if detail else words
            log.warning("endpoint fails", subject=subject, reason=gate.reason, **more, action=what_to_do(gate.reason))
        elif gate.state is GateState.THROTTLED:
            log.info("endpoint asks for a pause", subject=subject, reason=gate.reason, **words)
        else:
            log.info("sending", subject=subject)

    def key_taken(self, pixel: str, form: str) -> None:
        """The API takes a pixel's key in this form, which was not known before."""
        log.info("key accepted", pixel=pixel, authorization=form)

    def api_said(self, pixel: str, status: str, said: ApiError) -> None:
        """An answer came with an error text of the API: log it when it is new, and once a minute for each status and code."""
        now = time.monotonic()
        self.said[pixel] = Said(status, said, now)
        kind = pixel, status, said.code
        if now - self._said_at.get(kind, -math.inf) < _SAID_SECONDS:
            return
        if len(self._said_at) >= _MOST_SAID:  # codes are the other side's
            self._said_at.clear()
        if now - max((at for (of, *_), at in self._said_at.items() if of == pixel), default=-math.inf) >= 1.0:
            self._said_at[kind] = now
            log.warning("the API says", pixel=pixel, reason=status, **fields_of(said))

    def file_fault(self, what: str, subject: str, before: str, now: str) -> None:
        """A watched file was read (``now`` is empty) or couldn't be; log it if that changed."""
        if now and now != before:
            log.error(f"{what} unreadable", subject=subject, reason=now, action=what_to_do(_UNREADABLE[what]))
        elif before and not now:
            log.info(f"{what} readable again", subject=subject)

    def schema_lacks(self, topic: str, schema: str, lost: Sequence[MappedPath]) -> None:
        """A new writer's schema lacks mapped paths that the one before had."""
        for field in sorted({one.field for one in lost}):
            self._metrics.schema_lacks(topic, field)
        detail, action = lost_paths(lost), what_to_do(SCHEMA_LACKS_PATH)
        log.warning("schema lacks mapped paths", topic=topic, schema=schema, detail=detail, action=action)

    def suppression_read(self, hashes: int, user_ids: int) -> None:
        """A new version of the suppression list is in use."""
        log.info("suppression list read", hashes=hashes, user_ids=user_ids)

    def chunk_failed(self, partition: TopicPartition, first: int, last: int) -> None:
        """A bug ends the process while it takes in these records; it may come back after the restart."""
        log.critical(
            "a bug while records were processed",
            **partition._asdict(),
            offset=first,
            last_offset=last,
            action="the restart reads them again; inspect them with stream-capi explain, and report the traceback",
        )

    def partition_stopped(self, partition: TopicPartition, reason: HeldReason) -> None:
        """A partition can't go on without a person."""
        log.error(
            "partition stopped",
            **partition._asdict(),
            reason=reason,
            action=what_to_do(reason),
        )

    def pause_blocks(self, partition: TopicPartition) -> None:
        """Events paused by configuration have filled a partition's memory, so its other events wait as well."""
        log.warning("paused events block others", **partition._asdict(), action=what_to_do(PAUSE_BLOCKS))

    def registry(self, topic: str, schema: str, reason: str | None) -> None:
        """Records wait for a schema (``reason``), or wait no more (None)."""
        if reason is None:
            log.info("schema known", topic=topic, schema=schema)
        else:
            why = schema_reason(reason)
            log_at = log.error if why == FIELDS_ENCRYPTED else log.warning
            log_at("records wait for their schema", topic=topic, schema=schema, reason=reason, action=what_to_do(why))

    def intake_held(self, topic: str, mostly: str, reason: HeldReason | None) -> None:
        """A source is held because too many of its events are rejected (``reason``), or no longer (None).

        ``topic`` is the source's name: with its record, where the topic has several sources. ``mostly``: the rule by which
        most of them fail.
        """
        if reason is None:
            log.info("dead letters are written again", topic=topic)
        else:
            log.error("held", topic=topic, reason=reason, detail=mostly, action=what_to_do(reason))

    def hold_over(self, topic: str, why: str) -> None:
        """A topic is no longer held, and no dead letter is written for the events that waited."""
        log.info("no longer held", topic=topic, reason=why)

    def clock_differs(self, of: str, seconds: float | None) -> None:
        """The local clock is ahead of another one by so many seconds (below 0: behind), or no more as far as known (None)."""
        if seconds is None:
            log.info("clock agrees again, or is not known any more", subject=of)
        else:
            log.warning("clock differs", subject=of, reason=difference(of, seconds), action=what_to_do(CLOCK_DIFFERS))

    def internal_error(self, partition: TopicPartition, offset: int, detail: str) -> None:
        """A record raised an unexpected error and is dead-lettered: at most one line a second for each topic."""
        now = time.monotonic()
        if now - self._internal_at.get(partition.topic, -math.inf) >= 1.0:
            self._internal_at[partition.topic] = now
            log.error(
                "internal error",
                **partition._asdict(),
                offset=offset,
                detail=detail,
                action=what_to_do(Code.INTERNAL_ERROR.value),
            )

    def dead_letters_unwritten(self, reason: str | None) -> None:
        """Dead letters can't be written (``reason``), or all of them can be again (None)."""
        if reason is None:
            log.info("dead letters can be written again")
        else:
            log.error("dead letters can't be written", reason=reason, action=what_to_do(dead_letters_reason(reason)))

    def rights(self, lacking: Mapping[str, str]) -> None:
        """The brokers were asked for this user's rights: those that it lacks, by topic."""
        for topic, right in lacking.items() - self.lacking.items():
            _lacks(topic, right, "topic")
        for topic in self.lacking.keys() - lacking.keys():
            log.info(_GRANTED, subject=topic)
        self.lacking = lacking

    def _group_heard(self, answer: str) -> None:
        """The group's coordinator answered: only then it is known whether this user may use the group."""
        denied = answer == _GROUP_DENIED or (self.group_denied and answer != "ok")
        if denied and not self.group_denied:
            _lacks(self.group, "READ", "group")
        elif self.group_denied and not denied:
            log.info(_GRANTED, subject=self.group)
        self.group_denied = denied

    def kafka(self, event: str, **details: object) -> None:
        """Something happened on the consumer's thread."""
        if event in ("assigned", "lost"):
            self.joined = event == "assigned"
        if details.get("reason") == _GROUP_DENIED or event == "assigned":
            self._group_heard(str(details.get("reason", "ok")))
        if event in ("brokers unreachable", "brokers answer again"):
            self.cut_off = event == "brokers unreachable"
        if event in (_NO_CONNECTION, "brokers answer again"):
            self.refused = scrub(str(details.get("detail", "")))  # `/status` shows it
        if details.get("reason") in _WATCHED:
            details["action"] = what_to_do(str(details["reason"]))
        (log.info if event in _GOOD_NEWS else log.warning)(event, **details)


def _lacks(subject: str, right: str, kind: str) -> None:
    log.error("a right is missing", subject=subject, reason=lacks(right, kind), action=what_to_do(RIGHT_MISSING))


def summary(metrics: Metrics, delivered_before: int, seconds: float, held: Sequence[str]) -> int:
    """Log one line for the last interval; return the delivered events so far, for the next call."""
    delivered = sum(metrics.delivered_counts.values())
    log.info(
        "summary",
        delivered=delivered,
        per_second=round((delivered - delivered_before) / seconds, 1),
        dead_lettered=sum(metrics.dead_letter_counts.values()),
        held=list(held),
    )
    return delivered
