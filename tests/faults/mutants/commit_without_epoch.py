"""Mutant of ``stream-capi`` that commits offsets without the leader epoch of the record before them."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import TopicPartition

from stream_capi.cli import main
from stream_capi.kafka.commits import Commits
from stream_capi.model import Commit


def _offsets(self: Commits, commits: Sequence[Commit]) -> list[TopicPartition]:
    return [TopicPartition(c.topic, c.partition, c.offset, metadata=c.metadata) for c in commits]


if __name__ == "__main__":
    Commits._offsets = _offsets  # type: ignore[method-assign]  # the mutation
    main()
