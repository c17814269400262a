"""How many events may be repeated if answers or commits are cut off: few, since few are in flight.

The budgets hold for the settings and answers given here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.scene import Budget

SMALL: Mapping[str, Mapping[str, Any]] = {"batch": {"max_events": 20}, "delivery": {"max_in_flight": 4}}
AT_ONCE = 20 * 4  # events that a member has in flight at most


def steady(request: RequestInfo) -> Action:
    """Answer quickly."""
    return Action(delay_seconds=0.05)


def unhurried(request: RequestInfo) -> Action:
    """Answer more slowly than a commit takes, with its interval of 0.1 s and the delays of a busy machine."""
    return Action(delay_seconds=0.4)


def killed(times: int = 1) -> Budget:
    """For members that were killed while an ``unhurried`` endpoint answered."""
    return Budget(
        2 * AT_ONCE * times,
        f"{times} times killed, each time with 4 requests of 20 events in flight and as many answered since the last commit",
    )
