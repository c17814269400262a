"""How old an event is by its Kafka timestamp, and which timestamps are not believed.

A producer may write any number there. One that can't be true says nothing about delivery, and three records that claim to be
of 1970 would outweigh a year's others in a sum of ages, for ever. So these have no age; they are counted instead.
"""

from __future__ import annotations

# Three years. An older record is one whose producer wrote seconds for milliseconds, or whose clock was not set.
MOST_AGE_MS = 3 * 365 * 86_400_000
# An hour. A clock that is ahead by less makes an age of 0; more is a time zone or another unit.
MOST_AHEAD_MS = 3_600_000

NO_TIMESTAMP = "no_timestamp"
TOO_OLD = "too_old"
IN_FUTURE = "in_future"


def why_none(at_ms: int, now_ms: int) -> str:
    """Why a Kafka timestamp gives no age; empty where it does."""
    if at_ms <= 0:
        return NO_TIMESTAMP
    if now_ms - at_ms > MOST_AGE_MS:
        return TOO_OLD
    return IN_FUTURE if at_ms - now_ms > MOST_AHEAD_MS else ""


def age_of(at_ms: int, now_ms: int) -> int | None:
    """The age in milliseconds, None where there is none. An event is never delivered before it came: then it is 0."""
    return None if why_none(at_ms, now_ms) else max(0, now_ms - at_ms)
