"""How much the proofs try, by ``PROOF``: ``short`` a fifth, ``long`` twenty times as much as without it.

``make test-fast`` and ``make test`` are short, ``make prove`` is long. Without the long profile the cases are the same each time, so that a
run says of a change what it said yesterday; the long one looks at new cases, and keeps what it finds in hypothesis' own
database. Each failure prints what replays it.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("PROOF") == "long"
SHORT = os.environ.get("PROOF") == "short"


def tries(examples: int, steps: int | None = None, **more: Any) -> settings:
    """Settings for ``examples`` runs in ``make test-all``."""
    if steps is not None:
        more["stateful_step_count"] = steps * 2 if LONG else steps
    return settings(
        max_examples=examples * 20 if LONG else max(1, examples // 5) if SHORT else examples,
        deadline=None,  # a busy machine must not fail a proof
        derandomize=not LONG,
        print_blob=True,
        # To make a failure small takes minutes, more than a test may; the long profile has them.
        phases=[phase for phase in Phase if LONG or phase not in (Phase.shrink, Phase.explain)],
        report_multiple_bugs=False,  # one failure, as it is: the mutants' tests tell assertions from accidents
        suppress_health_check=list(HealthCheck),
        **more,
    )
