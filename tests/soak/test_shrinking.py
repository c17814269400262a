"""Delta debugging, with a runner that records its calls in place of running episodes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.cluster import Beds, Found, figures
from tests.soak.episode import Report
from tests.soak.plan import Fault, Plan, Topic, draw, kept
from tests.soak.shrink import Shrunk, shrink
from tests.stack import Cluster, Registry
from tests.stack.process import ServerFailed

Numbers = tuple[int, ...]


class Runner:
    """Fails if ``guilty`` says so, and records its calls."""

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
    """Any two of three faults fail, unless two others are present: so parts may pass although the whole fails."""
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


# An episode that failed


class Fake(Beds):
    """Runs no episode: a function of the faults says what it breaks."""

    def __init__(self, broken: Callable[[tuple[Fault, ...]], set[str]]) -> None:
        super().__init__(Path(), Cluster.__new__(Cluster), Registry.__new__(Registry))
        self._broken = broken

    def run(self, plan: Plan) -> Report:
        return Report(plan, (), frozenset(self._broken(plan.faults)), 0, 0, 0, 0, 0, 0, Counter(), 0, 0, 0.0, 0.0)


PLAN = draw(7)


def test_an_episode_is_shrunk_to_the_faults_of_the_gravest_that_it_broke() -> None:
    """Another property is broken even without any fault, but that is no reason to leave these faults out."""
    guilty = PLAN.faults[2]
    beds = Fake(lambda faults: {"open", "repeated", *(["lost"] if guilty in faults else [])})
    found = beds.shrink(beds.run(PLAN), 100)
    assert (found.broken, found.shrunk.left) == ("lost", (2,))


def test_what_is_no_property_of_the_history_is_shrunk_too() -> None:
    beds = Fake(lambda faults: {"died"} if {PLAN.faults[0], PLAN.faults[4]} <= set(faults) else set())
    assert beds.shrink(beds.run(PLAN), 100).shrunk.left == (0, 4)


def test_a_run_without_a_judgement_has_not_failed() -> None:
    def broken(faults: tuple[Fault, ...]) -> set[str]:
        if len(faults) < len(PLAN.faults):
            raise ServerFailed("kafka-3 was not ready")
        return {"lost"}

    beds = Fake(broken)
    assert beds.shrink(beds.run(PLAN), 100).shrunk.left == tuple(range(len(PLAN.faults)))


def test_the_row_is_the_episode_that_is_left() -> None:
    found = Found("lost", PLAN, Shrunk((1, 3), 5, True))
    (row,) = eval(f"[{found.row}\n]", {}, {"Plan": Plan, "Topic": Topic, "Fault": Fault})  # noqa: S307 -- printed to be pasted
    assert row == kept(PLAN, (1, 3))


def test_the_figures_are_sums() -> None:
    one = Report(PLAN, (), frozenset(), 100, 5, 98, 2, 0, 3, Counter(node_killed=2), 1, 2, 60.0, 3.5)
    other = Report(
        draw(8),
        ("lost: …",),
        frozenset({"lost"}),
        50,
        0,
        48,
        1,
        1,
        0,
        Counter(node_killed=1, node_ended=1),
        0,
        0,
        90.0,
        2.5,
    )
    assert figures([one, other]) == {
        "seeds": [7, 8], "minutes": 2.5, "load": [2.5, 3.5], "acknowledged": 150, "aborted": 5, "delivered": 146,
        "dead_lettered": 3, "lost": 1, "repeated": 3, "not_done": 1, "restarts": 2, "faults": {"node_killed": 3, "node_ended": 1},
        "failures": ["lost: …"],
    }  # fmt: skip
