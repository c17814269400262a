"""The guard takes a few rejected events for poison, and many for a fault that concerns all events."""

from __future__ import annotations

from stream_capi.core.ratio_guard import RatioGuard, SourceGuard


def test_a_few_bad_events_are_poison() -> None:
    guard = RatioGuard(0.5)
    guard.passed(100)
    assert all(guard.admits(1) for _ in range(50))


def test_the_guard_decides_before_anything_is_written() -> None:
    assert not RatioGuard(0.5).admits(100)
    assert RatioGuard(0.5).admits(99)


def test_what_was_not_admitted_does_not_count_so_that_good_events_can_open_it_again() -> None:
    guard = RatioGuard(0.5)
    assert not guard.admits(150)
    guard.passed(149)
    assert not guard.admits(150)
    guard.passed(1)
    assert guard.admits(150)


def test_the_last_two_hundred_events_are_the_recent_ones() -> None:
    guard = RatioGuard(0.5)
    guard.passed(10_000)
    assert guard.admits(201) is False
    assert guard.admits(200) is True


def test_rejected_events_fade_too() -> None:
    guard = RatioGuard(0.5, window=200)
    guard.passed(200)
    assert guard.admits(100), "a third, and now 133 good ones and 67 bad ones are remembered"
    assert not guard.admits(67)
    assert guard.admits(66)


def test_old_events_fade() -> None:
    guard = RatioGuard(0.5, window=1000)
    guard.passed(1_000_000)
    assert not all(guard.admits(100) for _ in range(20))


def test_a_held_source_is_judged_by_what_came_since_however_many_wait() -> None:
    guard = SourceGuard(0.5)
    assert guard.admits(99)
    assert not guard.admits(1000)
    assert not guard.over()
    assert not guard.admits(1), "held: not even one"
    guard.passed(98)
    assert not guard.over(), "below a hundred there is no share to speak of"
    guard.passed(1)
    assert guard.over()
    assert not guard.admits(101)
    assert not guard.over(), "what came since counts, good and bad, the last two hundred of it"
    guard.passed(1)
    assert not guard.over()
    guard.passed(20)
    assert guard.over()


def test_a_source_remembers_two_hundred_events_too() -> None:
    guard = SourceGuard(0.5)
    guard.passed(10_000)
    assert guard.admits(200) is True
    guard = SourceGuard(0.5)
    guard.passed(10_000)
    assert guard.admits(201) is False


def test_a_hold_is_over_at_the_very_bound() -> None:
    guard = SourceGuard(0.5)
    assert guard.admits(100) is False
    assert guard.admits(50) is False
    guard.passed(50)
    assert guard.over()


def test_a_thousand_bad_events_of_a_held_source_fade_to_two_hundred() -> None:
    guard = SourceGuard(0.5)
    assert not guard.admits(100)
    assert not guard.admits(1000)
    guard.passed(199)
    assert not guard.over()
    guard.passed(1)
    assert guard.over()


def test_a_paused_guard_counts_nothing() -> None:
    guard = SourceGuard(0.5)
    assert not guard.admits(100)
    guard.pause(True)
    guard.passed(100)
    assert not guard.admits(1)
    assert not guard.over(), "none has come since"
    guard.pause(False)
    assert not guard.admits(50)
    guard.passed(49)
    assert not guard.over(), "99 have come since"
    guard.passed(1)
    assert guard.over(), "50 of 100"
