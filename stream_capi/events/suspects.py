"""Values that are sent but look wrong: what is wrong with them, and user ids that are too short (contract, section 9)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from stream_capi.config import FieldRule

LEAST_CHARACTERS = 6  # of a user_id, as the API's help page asks for
SHORT, SHARED = "short", "shared"
# What is wrong; the text continues with "in 412 of 1,000 events".
WHY = {
    "private": "a private address",
    "loopback": "a loopback address",
    "link_local": "a link-local address",
    "unspecified": "an unspecified address",
    SHORT: "fewer than six characters",
    SHARED: "one value",
}
_FROM_URL = ("aleid", "alart")


def is_short(user_id: str) -> bool:
    """Whether a user_id has fewer characters than the API asks for."""
    return len(user_id) < LEAST_CHARACTERS


def short_ids(texts: Sequence[str | None], faults: Collection[int], full: bool) -> int:
    """How many of a column's user ids are too short, not counting events that aren't sent.

    ``full``: every event has one. At least one event must.
    """
    there: Any = texts if full else filter(None, texts)
    if min(map(len, there)) >= LEAST_CHARACTERS:
        return 0
    return sum(1 for at, text in enumerate(texts) if text and is_short(text) and at not in faults)


def source_of_values(field: str, rule: FieldRule) -> str:
    """Where a field's values come from, by the mapping, as text."""
    constants = ["a constant"] * rule.has_const
    return " or ".join((*rule.paths, *constants, *(["the URL"] if field in _FROM_URL else [])))
