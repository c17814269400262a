"""Commits refused because of a rebalance are logged as such, without an alarm, since they soon succeed again."""

from __future__ import annotations

import pytest
import structlog.testing

from stream_capi.observe.metrics import Metrics
from stream_capi.observe.telemetry import Telemetry

PASSING = {
    "REBALANCE_IN_PROGRESS": ("commit waits for the group's rebalance", "info"),
    "ILLEGAL_GENERATION": ("commit came too late for the group's rebalance", "info"),
    "STALE_MEMBER_EPOCH": ("commit came too late for the group's rebalance", "info"),
    "UNKNOWN_MEMBER_ID": ("the group removed this member", "warning"),
    "FENCED_MEMBER_EPOCH": ("the group removed this member", "warning"),
    "_ASSIGNMENT_LOST": ("the group removed this member", "warning"),
    "OFFSET_METADATA_TOO_LARGE": ("commit had more metadata than the brokers take", "info"),
}


class Told:
    """A telemetry with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.telemetry = Telemetry(Metrics(()), lambda: self.now)

    def after(self, seconds: float, *results: str) -> list[tuple[str, str, str]]:
        """Report these commit results after so many seconds; return the event, level and reason of each log line."""
        self.now += seconds
        with structlog.testing.capture_logs() as lines:
            for result in results:
                self.telemetry.commit(result)
        for line in lines:
            assert "rights" not in str(line.get("action", "")) or line["event"] == "commits fail"
        return [(line["event"], line["log_level"], line.get("reason", "")) for line in lines]


@pytest.mark.parametrize("result", PASSING)
def test_what_a_rebalance_refuses_has_its_own_words_and_is_no_alarm(result: str) -> None:
    told = Told()
    event, level = PASSING[result]
    assert told.after(0, result, result) == [(event, level, result)]
    assert told.after(20, result) == [], "once, however often it is repeated"
    assert told.telemetry.commits_fail is None
    assert told.after(1, "ok") == [("commits succeed again", "info", "")]
    assert told.after(1, "ok") == []


def test_each_kind_is_told_once_until_commits_succeed() -> None:
    told = Told()
    first, second = "REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION"
    assert [reason for *_, reason in told.after(0, first, second, first, second)] == [first, second]
    told.after(0, "ok")
    assert told.after(1, first, "ok", first, "ok") == [], "for some partitions so, for others so"
    assert [reason for *_, reason in told.after(10, first)] == [first]


def test_a_fenced_static_id_is_an_error_of_its_own() -> None:
    told = Told()
    assert told.after(0, "FENCED_INSTANCE_ID") == [
        ("another member has this group.instance.id", "error", "FENCED_INSTANCE_ID")
    ]
    found = told.telemetry.commits_fail
    assert found is not None
    assert (found.reason, found.key) == ("commits fail: FENCED_INSTANCE_ID", "FENCED_INSTANCE_ID")


def test_a_rebalance_that_does_not_end_is_noticed_and_a_later_one_begins_anew() -> None:
    told = Told()
    told.after(0, "REBALANCE_IN_PROGRESS")
    for _ in range(5):
        assert told.after(10, "REBALANCE_IN_PROGRESS") == []
        assert told.telemetry.commits_fail is None
    assert told.after(10, "ILLEGAL_GENERATION", "ILLEGAL_GENERATION") == [
        ("commit came too late for the group's rebalance", "info", "ILLEGAL_GENERATION"),
        ("the group's rebalance does not end", "warning", "ILLEGAL_GENERATION"),
    ]
    found = told.telemetry.commits_fail
    assert found is not None
    assert (found.reason, found.key) == ("no commit for 60 s: ILLEGAL_GENERATION", "rebalance_lasts")
    told.now += 80
    assert told.telemetry.commits_fail is None, "whoever has nothing to commit any more is not asked again"
    assert told.after(0, "ILLEGAL_GENERATION")[0][1] == "info"
    assert told.telemetry.commits_fail is None


def test_what_only_a_person_mends_stays_an_alarm() -> None:
    told = Told()
    assert told.after(0, "fenced", "REQUEST_TIMED_OUT", "REQUEST_TIMED_OUT") == [
        ("commits fail", "warning", "REQUEST_TIMED_OUT")
    ]
    told.now += 3600
    assert told.after(0, "REBALANCE_IN_PROGRESS")[0][1] == "info"
    found = told.telemetry.commits_fail
    assert found is not None
    assert (found.reason, found.key) == ("commits fail: REQUEST_TIMED_OUT", "commits_fail")
    assert told.after(1, "ok") == [("commits succeed again", "info", "")]
    assert told.telemetry.commits_fail is None
