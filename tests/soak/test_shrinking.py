"""Delta debugging, with a runner that only counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.soak.shrink import shrink

Numbers = tuple[int, ...]


class Runner:
    """Fails where ``guilty`` says so, and keeps what it was asked."""

    def __init__(self, guilty: Callable[[set[int]], bool]) -> None:
        self.guilty = guilty
        self.asked: list[Numbers] = []

    def __call__(self, numbers: Numbers) -> bool:
        self.asked.append(numbers)
        return self.guilty(set(numbers))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_one_fault_alone_is_found(count: int) -> None:
    for guilty in range(count):
        runner = Runner(lambda numbers, guilty=guilty: guilty in numbers)  # type: ignore[misc]
        assert shrink(count, runner, 1000)[::2] == ((guilty,), True)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_two_faults_that_fail_together_are_found(count: int) -> None:
    for pair in itertools.combinations(range(count), 2):
        runner = Runner(lambda numbers, pair=pair: set(pair) <= numbers)  # type: ignore[misc]
        assert shrink(count, runner, 1000)[::2] == (pair, True)


def test_what_is_left_fails_and_nothing_of_it_can_be_left_out() -> None:
    """Any two of these three, and one that makes good what another broke: no part is smaller because its whole is."""
    runner = Runner(lambda numbers: (len(numbers & {1, 5, 9}) >= 2 and not {3, 4} <= numbers) or len(numbers) == 12)
    left, _, whole = shrink(12, runner, 1000)
    assert whole
    assert runner.guilty(set(left))
    assert not any(runner.guilty(set(left) - {one}) for one in left)


def test_a_program_that_fails_without_any_fault_needs_one_run() -> None:
    runner = Runner(lambda numbers: True)
    assert shrink(9, runner, 1000) == ((), 1, True)
    assert runner.asked == [()]


def test_nothing_is_run_twice() -> None:
    runner = Runner(lambda numbers: {2, 13} <= numbers)
    shrink(16, runner, 1000)
    assert len(runner.asked) == len(set(runner.asked))
    assert tuple(range(16)) not in runner.asked, "the whole has failed already"


def test_when_the_runs_are_used_up_what_failed_last_is_left() -> None:
    full = Runner(lambda numbers: {2, 13} <= numbers)
    shrink(16, full, 1000)
    for runs in range(len(full.asked)):
        runner = Runner(full.guilty)
        left, used, whole = shrink(16, runner, runs)
        assert (used, whole) == (runs, False)
        assert len(runner.asked) == runs
        assert full.guilty(set(left))


def test_a_failure_that_does_not_come_again_is_left_whole() -> None:
    assert shrink(4, Runner(lambda numbers: False), 1000).left == (0, 1, 2, 3)
