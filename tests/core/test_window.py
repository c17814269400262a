"""The limit on how often something may happen within a period."""

from __future__ import annotations

from stream_capi.core.window import Window


def test_a_window_is_full_at_its_limit_until_its_oldest_moment_has_passed() -> None:
    window = Window(2, 300.0)
    for now in (0.0, 10.0):
        assert window.full_until(now) is None
        window.add(now)
    assert (window.room(299.9), window.full_until(299.9)) == (0, 300.0)
    assert (window.room(300.0), window.full_until(300.0)) == (1, None)
    window.add(300.0)
    assert window.full_until(300.0) == 310.0


def test_a_limit_of_nothing_is_none() -> None:
    window = Window(0, 1.0)
    for _ in range(100):
        window.add(0.0)
    assert (window.room(0.0), window.full_until(0.0)) == (float("inf"), None)
