"""How many events may be repeated where answers or commits are cut off: few, as few are in flight.

The settings and the answers are those of the rows that state these budgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.scene import Budget

SMALL: Mapping[str, Mapping[str, Any]] = {"batch": {"max_events": 20}, "delivery": {"max_in_flight": 4}}
AT_ONCE = 20 * 4  # events that a member has in flight at most


def steady(request: RequestInfo) -> Action:
    """As quick as the API may be."""
    return Action(delay_seconds=0.05)


def unhurried(request: RequestInfo) -> Action:
    """An answer takes longer than a commit waits for its turn and is under way: 0.1 s and what a busy machine adds."""
    return Action(delay_seconds=0.4)


def killed(times: int = 1) -> Budget:
    """Of members that an unhurried endpoint answers."""
    return Budget(
        2 * AT_ONCE * times,
        f"{times} times killed, each time with 4 requests of 20 events in flight and as many answered since the last commit",
    )
