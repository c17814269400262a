"""Random events and faults of a simulated day, all drawn from one seed."""

from __future__ import annotations

from random import Random

from tests.proof.world.simulated_endpoint import MODES, PACES
from tests.proof.world.world import COMMIT_FAULTS, World

DAY = 86_400.0
_WEIGHTS = {
    "produce": 30,
    "answers": 22,
    "fine again": 12,
    "pace": 6,
    "key": 2,
    "rebalance": 8,
    "under fire": 10,
    "crash": 4,
    "start": 8,
    "stop": 3,
    "evict": 3,
    "letters": 5,
    "registry": 5,
    "commits": 4,
    "retention": 1,
    "anew": 1,
    "operator": 2,
}
_SUBJECTS = ("main", "second", "main/generate_lead", "main/page_view")


def live(world: World, seed: int, seconds: float, between: float = 400.0) -> None:
    """Do random things to the world, at most ``between`` seconds apart, until ``seconds`` have passed."""
    rng = Random(seed)
    for which in range(3):
        world.start(which)
    while world.now < seconds:
        happen(world, rng, rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0])
        # Mostly in quick succession, since faults that coincide are most likely to break something.
        world.run(rng.choice((0.1, 1.0, 5.0, 20.0, between)) * rng.random())


def happen(world: World, rng: Random, what: str) -> None:
    """Do one random thing of this kind."""
    which = rng.randrange(6)
    if what == "produce":
        for at in rng.sample(range(6), rng.randint(1, 6)):
            world.produce(at, rng.randint(1, 60))
    elif what == "under fire":
        under_fire(world, rng)
    elif what == "answers":
        world.endpoint_turns(rng.choice(_SUBJECTS), rng.choice(MODES))
    elif what == "fine again":
        for subject in _SUBJECTS:
            world.endpoint_turns(subject, "fine")
    elif what == "pace":
        world.endpoint_turns("pace", rng.choice(list(PACES)))
    elif what == "key":
        world.change_key("main")
    elif what == "rebalance":
        world.rebalance(rng.randrange(1000))
    elif what == "evict":
        world.evict(which, rng.uniform(0.0, 60.0))
    elif what == "letters":
        world.dead_letters_turn(rng.choice(("quick", "quick", "slow", "shut")))
    elif what == "registry":
        world.registry_turns(rng.random() < 0.6)
    elif what == "commits":
        world.commits_turn(rng.choice((0, 0, 0, *range(len(COMMIT_FAULTS) + 1))))
    elif what == "retention":
        world.retention(which, rng.random())
    elif what == "anew":
        world.make_anew(which)
    elif what == "operator":
        world.operator_goes_on()
    else:
        {"crash": world.crash, "start": world.start, "stop": world.stop}[what](which)


def under_fire(world: World, rng: Random) -> None:
    """A hand-over while many requests are in flight and few succeed, when events are most easily lost."""
    world.endpoint_turns(rng.choice(_SUBJECTS), rng.choice(MODES))
    world.endpoint_turns("pace", rng.choice(("slow", "ragged")))
    for which in range(6):
        world.produce(which, rng.randint(5, 60))
    world.run(rng.uniform(0.2, 6.0))
    happen(world, rng, rng.choice(("rebalance", "rebalance", "evict", "crash", "stop")))
    happen(world, rng, rng.choice(("start", "fine again", "rebalance")))
