"""Shared inputs of the pipeline's tests: partitions, names of events, and an endpoint that refuses some of them."""

from __future__ import annotations

from stream_capi.model import Answer, TopicPartition
from tests.simulation import Answering

P0, P1, V0 = TopicPartition("leads", 0), TopicPartition("leads", 1), TopicPartition("views", 0)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def refusing(*poison: str) -> Answering:
    """An endpoint that refuses every batch with one of these events."""
    return lambda pixel, ids, now: (0.05, Answer(400 if set(poison) & set(ids) else 200))
