"""What is kept of a purge: up to which time dead letters may be gone that retention had not taken yet.

A partition that was emptied says nothing of what it had. ``find`` must not call an event delivered for want of a dead letter.
Kept as the commits of a group, so that it needs no more rights than what was redriven.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stream_capi.config import Settings
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.model import TopicPartition

KEPT_SECONDS = (
    7 * 86_400.0
)  # by Kafka's own default (offsets.retention.minutes); a mark that is gone was at least so old
_VERSION = "purged1"
_is_time = re.compile(r"[0-9]{1,15}").fullmatch


def keep(
    settings: Settings, admin: KafkaAdmin, topic_id: str, offsets: Mapping[TopicPartition, int], before: int
) -> None:
    """Before dead letters older than ``before`` are deleted. Raises CheckFailed, Unavailable, KafkaLost."""
    until = max(before, read(settings, admin, topic_id) or 0)
    text = f"{_VERSION}:{topic_id}:{until}"
    admin.reset(_group_of(settings), offsets, dict.fromkeys(offsets, text))


def read(settings: Settings, admin: KafkaAdmin, topic_id: str) -> int | None:
    """Up to which time dead letters were deleted, epoch milliseconds; None where none were. Raises Unavailable, KafkaLost."""
    committed = admin.committed(_group_of(settings), [settings.dead_letter.topic])
    head = f"{_VERSION}:{topic_id}:"
    texts = [at.metadata.removeprefix(head) for at in committed.values() if at.metadata.startswith(head)]
    return max((int(text) for text in texts if _is_time(text)), default=None)


def _group_of(settings: Settings) -> str:
    return f"{settings.kafka.group_id}.redrive.purged"
