"""A stateful model of several members with the real pipeline, and a simulated broker, endpoint and clock.

``tests/proof/world`` checks the promises after each step. A failure prints the calls that lead to it, and a blob that
replays them exactly.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.proof import mutants
from tests.proof.profile import tries
from tests.proof.world import World
from tests.proof.world.days import under_fire
from tests.proof.world.simulated_endpoint import MODES, PACES
from tests.proof.world.world import COMMIT_FAULTS

SUBJECTS = ("main", "second", "main/generate_lead", "main/page_view")
SOME = st.integers(0, 5)


class PipelineModel(RuleBasedStateMachine):
    """The rules are few and broad, so that each is chosen often."""

    @initialize(seed=st.integers(0, 2**16), eager=st.booleans(), members=st.integers(1, 3))
    def begin(self, seed: int, eager: bool, members: int) -> None:
        self.world = World(seed, eager)
        for which in range(6):
            self.world.produce(which, 30)
        for which in range(members):
            self.world.start(which)

    @rule(which=st.integers(0, 8), count=st.integers(1, 80))
    def produce(self, which: int, count: int) -> None:
        for partition in (which,) if which < 6 else range(6):
            self.world.produce(partition, count)

    @rule(seed=st.integers(0, 2**16))
    def hand_over_under_fire(self, seed: int) -> None:
        under_fire(self.world, Random(seed))

    @rule(seconds=st.sampled_from((0.2, 1.0, 3.0, 8.0, 30.0, 120.0)))
    def time_goes_by(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(
        turn=st.one_of(
            st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(MODES)),
            st.tuples(st.just("pace"), st.sampled_from(tuple(PACES))),
            st.tuples(st.just("key"), st.just("main")),
        )
    )
    def endpoint(self, turn: tuple[str, str]) -> None:
        subject, mode = turn
        if subject == "key":
            self.world.change_key(mode)
        else:
            self.world.endpoint_turns(subject, mode)

    @rule(what=st.sampled_from(("rebalance", "rebalance", "crash", "start", "start", "stop", "evict")), which=SOME)
    def group(self, what: str, which: int) -> None:
        if what == "evict":
            self.world.evict(which, 4.0 * which)
        elif what == "rebalance":
            self.world.rebalance(which)
        else:
            {"crash": self.world.crash, "start": self.world.start, "stop": self.world.stop}[what](which)

    @rule(
        what=st.sampled_from(
            ("letters", "letters", "registry", "registry", "commits", "retention", "anew", "operator")
        ),
        which=SOME,
    )
    def neighbours(self, what: str, which: int) -> None:
        if what == "letters":
            self.world.dead_letters_turn(("quick", "slow", "shut")[which % 3])
        elif what == "registry":
            self.world.registry_turns(which % 2 == 0)
        elif what == "commits":
            self.world.commits_turn(which % (len(COMMIT_FAULTS) + 1))
        elif what == "retention":
            self.world.retention(which, 0.5)
        elif what == "anew":
            self.world.make_anew(which)
        else:
            self.world.operator_goes_on()

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        try:
            if not world.broken:
                world.heal()
        finally:
            world.close()


@pytest.mark.slow
def test_whatever_happens_nothing_is_lost_and_all_ends_well() -> None:
    run_state_machine_as_test(PipelineModel, settings=tries(40, steps=30))


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant",
    [
        mutants.commit_on_dispatch,
        mutants.watermark_over_highest_seen,
        mutants.resolve_before_answer,
        mutants.split_judged_one_by_one,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_the_model_can_fail(mutant: mutants.Patch) -> None:
    few = tries(500, steps=30, database=None)
    with mutants.broken(mutant), pytest.raises(AssertionError):
        run_state_machine_as_test(PipelineModel, settings=few)
