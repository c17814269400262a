"""What a commit that failed means: a rebalance, which passes by itself, or something that a person must mend.

The results are the client's own names of Kafka's errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import structlog

from stream_capi.observe.what_to_do import COMMITS_FAIL, REBALANCE_LASTS, what_to_do

log = structlog.get_logger("stream_capi")

_LASTING_SECONDS = 60.0  # without a commit: the longest rebalance after a member's death took 48 s
_REPEAT_SECONDS = 10.0  # a commit of many partitions may be refused for some and taken for others, again and again
_APART_SECONDS = 75.0  # between two refusals of different rebalances: more than kafka.commit_interval_ms can be


class CommitFault(NamedTuple):
    """Why commits fail, in words, and the reason to look up."""

    reason: str
    key: str


class _Passing(NamedTuple):
    """How a failure that passes by itself is logged."""

    event: str
    level: str = "info"


_TOO_LATE = _Passing("commit came too late for the group's rebalance")
_REMOVED = _Passing("the group removed this member", "warning")
_PASSING: Mapping[str, _Passing] = MappingProxyType(
    {
        "REBALANCE_IN_PROGRESS": _Passing("commit waits for the group's rebalance"),
        "ILLEGAL_GENERATION": _TOO_LATE,
        "STALE_MEMBER_EPOCH": _TOO_LATE,
        "UNKNOWN_MEMBER_ID": _REMOVED,
        "FENCED_MEMBER_EPOCH": _REMOVED,
        "_ASSIGNMENT_LOST": _REMOVED,
        "OFFSET_METADATA_TOO_LARGE": _Passing("commit had more metadata than the brokers take"),
    }
)
_FENCED = "FENCED_INSTANCE_ID"


class CommitReports:
    """Logs when commits begin to fail and when they succeed again: each reason once in between.

    A fault stays until a commit succeeds. A rebalance is none before it has lasted for a minute, and ceases to be one
    with the last refusal: a member that was left without partitions commits nothing more.

    :param now: seconds of a monotonic clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._fault: CommitFault | None = None
        self._logged_at: dict[str, float] = {}
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._logged: set[str] = set()
        self._lasts = ""  # the last refusal of a rebalance that has lasted too long
        self._first = self._last = -math.inf  # when a rebalance refused

    @property
    def fault(self) -> CommitFault | None:
        """What should be looked at, None where nothing is."""
        if self._fault is None and self._lasts and self._now() - self._last <= _APART_SECONDS:
            return CommitFault(f"no commit for {self._last - self._first:.0f} s: {self._lasts}", REBALANCE_LASTS)
        return self._fault

    def ended(self, result: str) -> None:
        """A commit ended, with ``ok`` or an error's name."""
        if result == "ok":
            if self._logged:
                log.info("commits succeed again")
            self._fault = None
            self._begin_anew()
        elif result in _PASSING:
            self._refused(result)
        elif result == _FENCED:
            self._fault = CommitFault(f"commits fail: {result}", _FENCED)
            self._log(result, "another member has this group.instance.id", "error", _FENCED)
        else:
            self._fault = CommitFault(f"commits fail: {result}", COMMITS_FAIL)
            self._log(result, "commits fail", "warning", COMMITS_FAIL)

    def _refused(self, result: str) -> None:
        now = self._now()
        if now - self._last > _APART_SECONDS:
            kept = self._fault
            self._begin_anew()
            self._logged = {kept.key} if kept else set()
            self._first = now
        self._last = now
        self._log(result, _PASSING[result].event, _PASSING[result].level, result)
        if now - self._first >= _LASTING_SECONDS:
            self._lasts = result
            self._log(result, "the group's rebalance does not end", "warning", REBALANCE_LASTS)

    def _log(self, result: str, event: str, level: str, key: str) -> None:
        now = self._now()
        if key not in self._logged and now - self._logged_at.get(key, -math.inf) >= _REPEAT_SECONDS:
            self._logged.add(key)
            self._logged_at[key] = now
            getattr(log, level)(event, reason=result, action=what_to_do(key))
