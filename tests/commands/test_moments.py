"""Option values for a time or a position in a topic."""

from __future__ import annotations

import pytest

from stream_capi.errors import ConfigurationError
from stream_capi.kafka.ranges import Moment, moment, shown_time, time_of
from stream_capi.operations.dead_letters import first

TUESDAY = 1_794_873_600_000  # 2026-11-17T00:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", Moment("earliest")),
        ("latest", Moment("latest")),
        ("0", Moment("offset", 0)),
        (" 12345 ", Moment("offset", 12345)),
        ("20261117", Moment("offset", 20261117)),
        ("2026-11-17", Moment("time", TUESDAY)),
        ("2026-11-17T00:00", Moment("time", TUESDAY)),
        ("2026-11-17 00:00:00Z", Moment("time", TUESDAY)),
        ("2026-11-17T01:00:00.250+01:00", Moment("time", TUESDAY + 250)),
        ("2026-11-16T19:00:00-05:00", Moment("time", TUESDAY)),
    ],
)
def test_digits_are_an_offset_and_a_time_without_an_offset_is_utc(text: str, expected: Moment) -> None:
    assert moment("--from", text) == expected


@pytest.mark.parametrize("text", ["", "tuesday", "-1", "2026-13-01", "1.5", "2026-11-17T25:00", "1969-12-31", "٣"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"--from: (must be earliest, latest, an offset or a time|lies before)"
    ):
        moment("--from", text)


def test_since_takes_a_time_only() -> None:
    assert time_of("--since", "2026-11-17") == TUESDAY
    for text in ("earliest", "12"):
        with pytest.raises(ConfigurationError, match="--since: must be a time like"):
            time_of("--since", text)


def test_times_are_shown_in_utc() -> None:
    assert shown_time(TUESDAY) == "2026-11-17T00:00:00Z"
    assert shown_time(TUESDAY + 7) == "2026-11-17T00:00:00.007Z"
    assert shown_time(-1) == "no time"
    assert str(moment("--to", "2026-11-17T01:00+01:00")) == "2026-11-17T00:00:00Z"


def test_a_limit_beyond_all_counts_is_none() -> None:
    assert first([], 10**30) == []
