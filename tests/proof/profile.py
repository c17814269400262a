"""How many examples the proofs try, by the variable ``PROOF``: ``short`` a fifth, ``long`` twenty times as many as if unset.

``make test-fast`` and ``make test`` are short, ``make prove`` is long. Without the long profile the examples are always the
same, so that a new failure comes from a change of the program. The long profile tries new ones, and keeps failures in
Hypothesis' database. Each failure prints how to replay it.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("PROOF") == "long"
SHORT = os.environ.get("PROOF") == "short"


def tries(examples: int, steps: int | None = None, **more: Any) -> settings:
    """Settings with as many ``examples`` as ``make test-all`` tries; the other profiles scale them."""
    if steps is not None:
        more["stateful_step_count"] = steps * 2 if LONG else steps
    return settings(
        max_examples=examples * 20 if LONG else max(1, examples // 5) if SHORT else examples,
        deadline=None,  # a busy machine must not fail a proof
        derandomize=not LONG,
        print_blob=True,
        # Shrinking a failure takes minutes, longer than a test may run; only the long profile does it.
        phases=[phase for phase in Phase if LONG or phase not in (Phase.shrink, Phase.explain)],
        report_multiple_bugs=False,  # raise the one failure itself, since the mutants' tests check its type
        suppress_health_check=list(HealthCheck),
        **more,
    )
