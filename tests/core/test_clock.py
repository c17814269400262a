"""The estimate of another machine's clock from the ``Date`` headers of its answers."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.core.clock import RemoteClock, clock_date, http_date

NOW = 1_800_000_000.0


def date(moment: float) -> str:
    return formatdate(moment, usegmt=True)


@pytest.mark.parametrize("text", [None, "", "soon", "Wed, 99 Foo 2026", "Thu, 01 Jan 1970 00:00:00 GMT", date(5e9)])
def test_what_no_clock_would_say_is_ignored(text: str | None) -> None:
    clock = RemoteClock()
    clock.answered(text, 1.0, 1.1, NOW)
    assert (clock_date(text), clock.at(2.0, NOW + 0.9)) == (None, None)


def test_a_date_is_read_in_any_zone_and_to_the_second() -> None:
    assert http_date("Fri, 15 Jan 2027 08:00:00 GMT") == http_date("Fri, 15 Jan 2027 13:30:00 +0530") == NOW
    assert http_date("Fri, 15 Jan 2027 08:00:00 -0000") == NOW, "zone unknown: UTC"


@given(st.floats(-1e6, 1e6), st.floats(0, 10), st.floats(0, 1))
def test_the_estimate_is_within_a_second_and_half_a_request(ahead: float, seconds: float, part: float) -> None:
    clock, sent = RemoteClock(), 1000.0
    written = NOW + sent + seconds * part - ahead
    clock.answered(date(int(written)), sent, sent + seconds, NOW + sent + seconds)
    offset = clock.offset(sent + seconds, NOW + sent + seconds)
    assert offset == pytest.approx(ahead, abs=0.5 + seconds / 2 + 1e-3)


def test_one_wrong_clock_among_many_moves_nothing() -> None:
    clock = RemoteClock()
    for at in range(10):
        wrong = 7200.0 if at == 4 else 0.0
        clock.answered(date(NOW + at + wrong), at, at, NOW + at)
        assert clock.offset(at, NOW + at) == pytest.approx(0.0, abs=0.6)


def test_a_clock_that_was_set_or_a_machine_that_slept_ends_the_estimate() -> None:
    clock = RemoteClock()
    clock.answered(date(NOW), 0.0, 0.0, NOW)
    assert clock.at(100.0, NOW + 104.9) == pytest.approx(NOW + 100.5), "slewed, not set"
    assert clock.at(100.0, NOW + 105.1) is None
    clock.answered(date(NOW + 200), 200.0, 200.0, NOW + 3800.0)
    assert clock.offset(200.0, NOW + 3800.0) == pytest.approx(3599.5)
    clock.answered(date(NOW + 300), 300.0, 300.0, NOW + 300.0)
    assert clock.offset(300.0, NOW + 300.0) == pytest.approx(-0.5), "what was before counts no more"
