"""Simulate many hours, and print what happened in them: ``python -m tests.proof.world --worlds 400 --hours 1 --seed 1``.

Stops at the first broken promise, and prints the seed that reproduces it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.proof.world.days import live
from tests.proof.world.events import NOTHING_TO_DO
from tests.proof.world.world import World


def main() -> int:
    """Run the worlds; returns 0 if every one ended well."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.world")
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first world; each further one adds 1")
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.worlds):
        world = World(seed, eager=seed % 2 == 0)
        try:
            live(world, seed, options.hours * 3600, between=60.0)
            world.heal()
        except Exception as error:
            sys.stdout.write(f"seed {seed}, after {world.now:.1f} s: {error}\n")
            return 1
        finally:
            world.close()
        totals += _counted(world)
    totals["lost"] = 0  # otherwise the run would have stopped
    sys.stdout.write("".join(f"{name:24}{count:>12,}\n" for name, count in totals.items()))
    return 0


def _counted(world: World) -> Counter[str]:
    ledger = world.ledger
    nothing = sum(event.kind in NOTHING_TO_DO for event in ledger.events.values())
    ended = ledger.answered.keys() | ledger.dead_letters.keys()
    counts = {
        "simulated hours": round(world.now / 3600),
        "members": len(world.past) + len(world.members),
        "commits": world.broker.commits,
        "requests": world.endpoint.requests,
        "produced": len(ledger.events),
        "passed over on purpose": nothing,
        "delivered": len(ledger.answered),
        "dead-lettered": len(ledger.dead_letters),
        "gone with their log": len(ledger.events)
        - nothing
        - len(ended),  # uncommitted, deleted by retention or with their topic
        "delivered again": sum(ledger.processed.values()) - len(ledger.processed),
        "dead-lettered again": sum(ledger.dead_letters.values()) - len(ledger.dead_letters),
    }
    return Counter(counts) + Counter({f"letters {code}": count for code, count in ledger.codes.items()})


if __name__ == "__main__":
    sys.exit(main())
