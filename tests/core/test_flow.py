"""Backoff, concurrency limit and gate, over simulated years."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.core.flow import Announced, Backoff, Gate, GateState, Limiter, SizeLimit

BACKOFF = Backoff(0.5, 60.0)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_backoff_has_full_jitter_below_a_doubling_ceiling(attempt: int, rnd: float) -> None:
    ceiling = min(60.0, 0.5 * 2 ** min(attempt - 1, 20))
    assert BACKOFF.delay(attempt, rnd) == pytest.approx(ceiling * rnd)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_less_jitter_leaves_less_to_chance(attempt: int, rnd: float) -> None:
    ceiling = min(60.0, 0.5 * 2 ** min(attempt - 1, 20))
    assert Backoff(0.5, 60.0, jitter=0.0).delay(attempt, rnd) == ceiling
    assert Backoff(0.5, 60.0, jitter=0.5).delay(attempt, rnd) == pytest.approx(ceiling * (0.5 + rnd / 2))


def test_the_limit_halves_once_per_wave_and_comes_back_slowly() -> None:
    limiter = Limiter(16)
    for _ in range(16):  # all were in flight at the same time
        limiter.failed(sent_at=0.0, now=1.0)
    assert limiter.limit == 8
    limiter.failed(sent_at=1.0, now=2.0)
    assert limiter.limit == 4
    for _ in range(5):
        limiter.succeeded()
    assert limiter.limit == 5
    for _ in range(10_000):
        limiter.succeeded()
    assert limiter.limit == 16


def test_the_limit_never_falls_below_one() -> None:
    limiter = Limiter(16)
    for at in range(100):
        limiter.failed(at, at)
    assert limiter.limit == 1


def test_the_ceiling_doubles_sixty_times_and_then_stands() -> None:
    years = Backoff(1.0, 1e30)
    assert [years.delay(attempt, 1.0) for attempt in (1, 2, 60, 61, 62, 10**9)] == [1.0, 2.0, 2.0**59, *[2.0**60] * 3]


def gate() -> Gate:
    return Gate(BACKOFF, probe_seconds=30.0, threshold=3)


def test_a_held_gate_lets_one_probe_through_each_interval() -> None:
    held = gate()
    held.hold("401", 100.0)
    assert not held.admits(129.9)
    assert held.admits(130.0)
    held.sent(130.0)
    assert not held.admits(131.0), "one probe at a time"
    held.hold("401", 132.0)
    assert held.since == 100.0
    assert not held.admits(161.9)
    assert held.admits(162.0)


def test_a_probe_that_succeeds_opens_the_gate() -> None:
    held = gate()
    held.hold("401", 0.0)
    held.sent(30.0)
    held.succeeded(30.0)
    assert held.state is GateState.PASSING
    assert held.admits(30.0)
    held.sent(30.0)
    assert held.admits(30.0), "not a probe any more"


def test_a_changed_key_is_tried_at_once() -> None:
    held = gate()
    held.hold("401", 0.0)
    held.probe_at_once(5.0)
    assert held.admits(5.0)
    open_gate = gate()
    open_gate.throttle("429", 10.0, 0.0, 0.5)
    open_gate.probe_at_once(5.0)
    assert not open_gate.admits(5.0), "a new key doesn't undo a throttle"


def test_throttled_closes_for_the_longest_time_asked_and_then_opens_wholly() -> None:
    throttled = gate()
    throttled.throttle("429", 10.0, 0.0, 0.5)
    throttled.throttle("429", 2.0, 1.0, 0.5)
    assert not throttled.admits(9.9)
    assert throttled.admits(10.0)
    throttled.sent(10.0)
    assert throttled.admits(10.0), "not a probe"


def test_a_pause_goes_on_whatever_else_is_answered_meanwhile() -> None:
    """Of requests in flight some succeed, some fail, and some have their key refused: none of these ends the pause."""
    throttled = gate()
    throttled.throttle("429", 60.0, 0.0, 0.5)
    throttled.succeeded(1.0)
    assert (throttled.state, throttled.reason) == (GateState.THROTTLED, "429")
    for _ in range(4):
        throttled.fail("timeout", 2.0, 0.5)
    assert (throttled.state, throttled.reason) == (GateState.TRIPPED, "timeout")
    assert not throttled.admits(59.9)
    throttled.hold("401", 3.0)
    throttled.probe_at_once(4.0)
    assert throttled.held
    assert not throttled.admits(59.9)
    throttled.unsent(5.0)
    assert not throttled.admits(59.9)
    throttled.succeeded(6.0)
    assert (throttled.state, throttled.reason, throttled.opens_at) == (GateState.THROTTLED, "429", 60.0)
    throttled.sent(60.0)
    assert (throttled.state, throttled.admits(60.0)) == (GateState.PASSING, True), "it has opened by itself"
    throttled.succeeded(61.0)
    assert throttled.admits(61.0)


def test_a_pause_asked_of_a_held_gate_is_kept_and_so_is_the_hold() -> None:
    held = gate()
    held.hold("401", 0.0)
    held.throttle("429", 90.0, 1.0, 0.5)
    assert (held.state, held.reason, held.opens_at) == (GateState.HELD, "401", 91.0)
    held.fail("timeout", 2.0, 0.5)
    assert held.opens_at == 91.0
    held.throttle("429", 1.0, 80.0, 0.5)
    assert held.opens_at == 110.0, "no probe before its time either"


def test_throttled_without_a_time_backs_off() -> None:
    throttled = gate()
    throttled.throttle("503", None, 0.0, 0.5)
    assert throttled.opens_at == pytest.approx(0.25)
    throttled.sent(1.0)
    throttled.throttle("503", None, 1.0, 0.5)
    assert throttled.opens_at == pytest.approx(1.5)


def test_the_gate_trips_when_all_fail_and_lets_probes_through() -> None:
    breaker = gate()
    breaker.fail("timeout", 0.0, 0.5)
    breaker.fail("timeout", 0.0, 0.5)
    assert breaker.admits(0.0)
    breaker.fail("timeout", 0.0, 0.5)
    assert breaker.state is GateState.TRIPPED
    assert not breaker.admits(0.2)
    breaker.sent(0.3)
    assert not breaker.admits(0.3)
    breaker.fail("timeout", 0.4, 0.5)
    assert breaker.opens_at == pytest.approx(0.9), "each failed probe waits longer"
    breaker.sent(1.0)
    breaker.succeeded(1.0)
    assert (breaker.state, breaker.admits(1.0)) == (GateState.PASSING, True)


def test_single_failures_between_successes_break_nothing() -> None:
    breaker = gate()
    for _ in range(100):
        breaker.fail("500", 0.0, 0.5)
        breaker.fail("500", 0.0, 0.5)
        assert breaker.admits(0.0)
        breaker.succeeded(0.0)
        assert breaker.state is GateState.PASSING


@pytest.mark.slow
def test_a_year_of_failures_still_probes_each_minute() -> None:
    breaker = gate()
    now, probes = 0.0, 0
    while now < 365 * 86400:
        breaker.fail("timeout", now, 0.999)
        now = max(now + 10.0, breaker.opens_at)
        probes += 1
    assert probes > 365 * 86400 / 70


def test_a_probe_that_says_nothing_of_this_gate_may_be_repeated() -> None:
    held = gate()
    held.hold("split_budget", 0.0)
    held.sent(30.0)
    held.unsent(31.0)
    assert held.held
    assert held.admits(31.0)


def test_a_transient_failure_of_a_held_gates_probe_leaves_it_held() -> None:
    held = gate()
    held.hold("401", 0.0)
    held.sent(30.0)
    held.fail("timeout", 40.0, 0.5)
    assert held.held
    assert held.opens_at == 70.0


def test_a_gate_begins_open_and_lets_everything_through() -> None:
    new = Gate(BACKOFF, probe_seconds=30.0)
    assert (new.state, new.reason, new.since, new.failures, new.held) == (GateState.PASSING, "", 0.0, 0, False)
    assert new.admits(0.0)
    new.sent(0.0)
    assert new.admits(0.0), "no probe"
    new.succeeded(0.0)
    assert (new.state, new.admits(0.0)) == (GateState.PASSING, True)


def test_five_failures_with_no_success_between_them_break_it_unless_told_otherwise() -> None:
    breaker = Gate(BACKOFF, probe_seconds=30.0)
    for _ in range(4):
        breaker.fail("500", 1.0, 0.5)
    assert (breaker.state, breaker.since) == (GateState.PASSING, 0.0)
    breaker.succeeded(1.0)
    for _ in range(4):
        breaker.fail("500", 2.0, 0.5)
    assert (breaker.state, breaker.admits(2.0)) == (GateState.PASSING, True)
    breaker.fail("500", 3.0, 0.5)
    assert (breaker.state, breaker.since) == (GateState.TRIPPED, 3.0)
    breaker.fail("500", 4.0, 0.5)
    assert breaker.since == 3.0, "broken since the first time"


def test_a_hold_lasts_since_its_first_reason_and_has_its_last() -> None:
    held = gate()
    for at, reason in enumerate(("401", "401", "403", "403"), 1):
        held.hold(reason, float(at))
        assert (held.since, held.reason) == (1.0, reason)


def test_a_probe_that_says_nothing_may_be_followed_from_that_moment_on() -> None:
    held = gate()
    held.hold("split_budget", 0.0)
    held.sent(30.0)
    held.unsent(31.0)
    assert held.opens_at == 31.0


def test_a_pause_has_ended_at_its_end() -> None:
    throttled = gate()
    throttled.throttle("429", 10.0, 0.0, 0.5)
    throttled.succeeded(9.9)
    assert (throttled.state, throttled.reason) == (GateState.THROTTLED, "429")
    throttled.succeeded(10.0)
    assert (throttled.state, throttled.reason) == (GateState.PASSING, "")


def test_a_pause_is_never_shorter_than_the_own_backoff_and_grows_once_a_wave() -> None:
    throttled = gate()
    throttled.throttle("429", 0.0, 0.0, 0.5, sent_at=0.0)
    for _ in range(15):
        throttled.throttle("429", 0.0, 0.0, 0.5, sent_at=-0.1)
    assert throttled.opens_at == pytest.approx(0.25), "sixteen answers of one wave"
    throttled.throttle("429", 0.0, 1.0, 0.5, sent_at=0.9)
    assert throttled.opens_at == pytest.approx(1.5)
    throttled.throttle("429", 40.0, 2.0, 0.5, sent_at=1.9)
    assert throttled.opens_at == 42.0
    throttled.sent(50.0)
    throttled.succeeded(50.0)
    throttled.throttle("429", 0.0, 60.0, 0.5, sent_at=59.0)
    assert throttled.opens_at == pytest.approx(60.25), "a success ends the growth"


def test_pauses_break_nothing() -> None:
    throttled = gate()
    for at in range(10):
        throttled.throttle("429", 0.0, float(at), 0.0)
    throttled.fail("timeout", 100.0, 0.5)
    assert throttled.state is GateState.THROTTLED


def test_an_opening_is_news_once_it_has_lasted_a_second() -> None:
    one = gate()
    news = Announced(one)
    assert not news.due(0.0)
    one.throttle("429", 0.0, 1.0, 0.5)
    assert news.due(1.0)
    one.sent(2.0)
    assert not news.due(2.0)
    assert news.again() == 3.0
    one.throttle("429", 0.0, 2.5, 0.5)
    assert not news.due(2.5)
    assert news.again() == float("inf"), "it is as it was told"
    one.sent(10.0)
    assert not news.due(10.0)
    assert news.due(11.0)
    one.hold("401", 11.5)
    assert not news.due(11.5)
    assert news.again() == 12.0, "at most a line a second"
    assert news.due(12.0)


def test_three_time_outs_in_a_row_halve_what_a_request_carries_and_each_further_one_again() -> None:
    size = SizeLimit(100)
    for at in (0.0, 10.0):
        for _ in range(16):
            size.timed_out(100, 10.0, at, at + 10.0)
    assert size.limit == 100, "two waves, whatever they have of requests"
    size.succeeded(99, 1.0)
    size.timed_out(100, 10.0, 20.0, 30.0)
    assert size.limit == 50, "a smaller one that arrived says nothing"
    for at, limit in ((30.0, 25), (40.0, 12), (50.0, 6), (60.0, 3), (70.0, 1), (80.0, 1)):
        size.timed_out(size.limit, 10.0, at, at + 10.0)
        assert size.limit == limit


def test_a_time_out_after_a_success_of_its_size_begins_a_new_row() -> None:
    size = SizeLimit(100)
    for at in range(0, 1000, 10):
        size.timed_out(40, 10.0, at, at + 10.0)
        if at % 20:
            size.succeeded(40, 9.0)
    assert size.limit == 100


def test_the_size_grows_as_the_time_of_its_successes_allows() -> None:
    size = SizeLimit(100)
    for at in (0.0, 10.0, 20.0, 30.0):
        size.timed_out(size.limit, 10.0, at, at + 10.0)
    assert size.limit == 25
    size.succeeded(10, 0.1)
    assert size.limit == 25, "it was no full one"
    size.succeeded(25, 3.2)
    assert size.limit == 50
    size.succeeded(50, 5.0)
    assert size.limit == 51
    size.timed_out(51, 10.0, 50.0, 60.0)
    assert size.limit == 50, "back to what arrived"
    for _ in range(7):
        size.succeeded(50, 9.9)
        assert size.limit == 50, "one more would not arrive in time"
    size.succeeded(50, 9.9)
    assert size.limit == 51, "tried all the same, now and then: the time may be another's"
    for _ in range(3):
        size.succeeded(size.limit, 0.1)
    assert size.limit == 100
