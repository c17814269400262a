"""Simulated days of faults, each drawn from one seed; and the check that they detect every mutant.

The seed is in the test's name: running the test of that name again replays a failure exactly.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from tests.proof.mutants import MUTANTS, Patch, broken
from tests.proof.profile import LONG
from tests.proof.world import World
from tests.proof.world.days import DAY, live

# The long profile uses new seeds each time; the first one can be given by PROOF_SEED.
FIRST = int(os.environ.get("PROOF_SEED", time.time_ns() % 10**6 if LONG else 1))
HOURS = range(FIRST, FIRST + (400 if LONG else 3))
DAYS = range(FIRST, FIRST + (20 if LONG else 1))


@contextlib.contextmanager
def world_of(seed: int) -> Iterator[World]:
    """The world of a seed; with even seeds, groups rebalance eagerly."""
    world = World(seed, eager=seed % 2 == 0)
    try:
        yield world
    finally:
        world.close()


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("seed", HOURS)
def test_an_hour_under_fire_ends_well(seed: int) -> None:
    with world_of(seed) as world:
        live(world, seed, 3600.0, between=60.0)
        world.heal()


@pytest.mark.repeat(of="test_an_hour_under_fire_ends_well")
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", DAYS)
def test_a_day_of_faults_ends_well(seed: int) -> None:
    with world_of(seed) as world:
        live(world, seed, DAY, between=2000.0)
        world.heal()
        assert {"missing_field", "refused", "decode_error", "unknown_schema", "too_large"} <= world.ledger.codes.keys()


@pytest.mark.slow
def test_a_seed_replays_exactly() -> None:
    def footprints(seed: int) -> tuple[object, ...]:
        with world_of(seed) as world:
            live(world, seed, 900.0, between=60.0)
            store = sorted(world.broker.store.items())
            return (
                world.now,
                world.endpoint.requests,
                world.broker.commits,
                store,
                sorted(world.ledger.answered.items()),
            )

    assert footprints(7) == footprints(7)
    assert footprints(7) != footprints(8)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_promise_does_not_survive_the_hours(mutant: Patch) -> None:
    def hours() -> None:
        for seed in range(FIRST, FIRST + 40):
            with world_of(seed) as world:
                live(world, seed, 1800.0, between=60.0)
                world.heal()

    with broken(mutant), pytest.raises(AssertionError):
        hours()
