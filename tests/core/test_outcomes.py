"""The classes of answers and faults, row by row of the contract's outcome table (section 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.core.outcomes import (
    MAX_RETRY_AFTER_SECONDS,
    Delivered,
    RefusedBatch,
    SetUpFault,
    Throttled,
    Transient,
    classify,
    retry_after_seconds,
)
from stream_capi.model import Answer

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([200], Delivered),
        ([400, 413, 422], RefusedBatch),
        ([300, 401, 403, 404, 301, 302, 303, 307, 308, 405, 410, 415, 418, 451, 499], SetUpFault),
        ([429, 503], Throttled),
        ([408, 421, 425, 500, 502, 504, 599, 201, 202, 204, 206, 299, 100, 600], Transient),
    ],
)
def test_each_status_has_its_class(statuses: list[int], kind: type) -> None:
    assert {type(classify(Answer(status), NOW)) for status in statuses} == {kind}


@pytest.mark.parametrize(
    "fault", ["timeout", "reset", "disconnected", "connect", "dns", "tls", "protocol", "early_answer"]
)
def test_no_answer_is_transient(fault: str) -> None:
    assert classify(Answer(fault=fault), NOW) == Transient(fault)


@given(st.integers(100, 999))
def test_only_a_200_is_delivered(status: int) -> None:
    assert isinstance(classify(Answer(status), NOW), Delivered) == (status == 200)


def test_retry_after_in_seconds_and_as_a_date() -> None:
    date = format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after_seconds("7", NOW) == 7.0
    assert retry_after_seconds(date, NOW) == 90.0
    assert classify(Answer(429, retry_after=" 3 "), NOW) == Throttled("429", 3.0)


def test_a_date_of_another_zone_or_of_none_is_read() -> None:
    moment = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert retry_after_seconds(format_datetime(elsewhere), NOW) == 90.0
    assert retry_after_seconds(format_datetime(moment).replace("+0000", "-0000"), NOW) == 90.0, "zone unknown: UTC"


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "1.5", "Wed, 99 Foo 2026", "\u0663"])
def test_what_cannot_be_read_leaves_it_to_the_backoff(text: str | None) -> None:
    assert retry_after_seconds(text, NOW) is None


def test_a_pause_is_capped_and_never_negative() -> None:
    past = format_datetime(datetime.fromtimestamp(NOW, UTC) - timedelta(days=1), usegmt=True)
    assert retry_after_seconds("99999999", NOW) == MAX_RETRY_AFTER_SECONDS == 300.0
    assert retry_after_seconds(past, NOW) == 0.0


def test_a_date_is_measured_by_the_answers_own() -> None:
    def date(seconds: float) -> str:
        return format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=seconds), usegmt=True)

    assert retry_after_seconds(date(3630), NOW, date(3600)) == 30.0
    assert retry_after_seconds(date(90), NOW, "soon") == 90.0
    assert retry_after_seconds(date(90), NOW, "Thu, 01 Jan 1970 00:00:00 GMT") == 90.0
    assert classify(Answer(429, retry_after=date(-3595), date=date(-3600)), NOW) == Throttled("429", 5.0)
