"""How long a topic keeps its records, as the brokers tell it: for ``check``, for the status, and for a purge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its own docs say so

from stream_capi.kafka.admin import KafkaAdmin

LOOK_SECONDS = 300.0  # between two looks of a member
AGAIN_SECONDS = 30.0  # as long as it is not known
_DEADLINE_SECONDS = 2.0

RetentionState = Literal["limited", "without_end", "compacted", "not_known"]


class Retention(NamedTuple):
    """``seconds`` where ``state`` is limited. ``roll_seconds``: how long a segment may take records, so that its first one
    stays by so much longer; None where that is not known. ``deletes``: whether the brokers delete from the log's beginning.
    """

    state: RetentionState
    seconds: float | None = None
    roll_seconds: float | None = None
    deletes: bool = True

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"kept for {_duration(self.seconds)}"
        return {
            "without_end": "kept forever",
            "compacted": "compacted: the newest record of each key is kept forever",
        }.get(self.state, "kept for a time that is not known to this user")

    @property
    def longest_seconds(self) -> float | None:
        """After which a record is gone in any case; None where that can't be said."""
        if self.seconds is None or self.roll_seconds is None:
            return None
        return self.seconds + self.roll_seconds


NOT_KNOWN = Retention("not_known")


def retention_of(admin: KafkaAdmin, topic: str) -> Retention:
    """Ask the brokers. Never raises."""
    found = admin.configuration(ResourceType.TOPIC, topic)
    policies = found.get("cleanup.policy", "delete").split(",")
    roll = int(found["segment.ms"]) / 1000 if "segment.ms" in found else None
    if "compact" in policies:
        return Retention("compacted", None, roll, "delete" in policies)
    if "retention.ms" not in found:
        return NOT_KNOWN
    milliseconds = int(found["retention.ms"])
    return Retention("without_end", None, roll) if milliseconds < 0 else Retention("limited", milliseconds / 1000, roll)


def look(admin: KafkaAdmin, topic: str, is_over: Callable[[], bool] = lambda: False) -> Retention:
    """One question with a short deadline; none where ``is_over`` says that nobody wants to know any more."""
    return NOT_KNOWN if is_over() else retention_of(admin.within(_DEADLINE_SECONDS), topic)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:g} s"
