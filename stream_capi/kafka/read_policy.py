"""What a consumer thread reads of its partitions: from where, how much at once, and up to where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from stream_capi.kafka.start_offsets import Place
from stream_capi.model import Records, TopicPartition


class ReadPolicy(Protocol):
    """The steps of a consumer thread that depend on its task. All but ``handed_over`` are called on the thread.

    ``start`` says where a partition without a commit begins: ``earliest``, ``latest``, or ``error`` to stop it.
    """

    @property
    def topics(self) -> Sequence[str]: ...
    @property
    def start(self) -> str: ...
    @property
    def properties(self) -> Mapping[str, object]:
        """Properties that the client needs for this policy."""
        ...

    def wants(self, tp: TopicPartition) -> bool:
        """Whether an assigned partition is read. One that isn't stays unknown to the sink."""
        ...

    def begin(self, places: Sequence[Place]) -> None:
        """Reading is about to begin at these places, after each assignment."""
        ...

    def is_over(self, tp: TopicPartition) -> bool:
        """Whether nothing more of this partition is to be read in this assignment."""
        ...

    def take_ended(self) -> list[TopicPartition]:
        """The partitions that came to their end since the last call."""
        ...

    def handed_over(self, tp: TopicPartition, epoch: int) -> None:
        """On the event loop: the sink has got all of a partition that came to its end."""
        ...

    def allowed(self, count: int) -> int:
        """How many records may be fetched now, at most ``count``. May wait for a moment where that is 0."""
        ...

    def part_of(self, chunk: Records) -> Records:
        """The part of a fetched chunk that is handed over."""
        ...

    def log_ended(self, tp: TopicPartition, offset: int) -> None:
        """An owned partition has been read up to ``offset``, the end of its log."""
        ...


class WholeLog:
    """Reads everything without an end: the policy of a live member."""

    def __init__(self, topics: Sequence[str], start: str) -> None:
        self.topics = topics
        self.start = start
        self.properties: Mapping[str, object] = {}

    def wants(self, tp: TopicPartition) -> bool:
        return True

    def begin(self, places: Sequence[Place]) -> None:
        return

    def is_over(self, tp: TopicPartition) -> bool:
        return False

    def take_ended(self) -> list[TopicPartition]:
        return []

    def handed_over(self, tp: TopicPartition, epoch: int) -> None:
        return

    def allowed(self, count: int) -> int:
        return count

    def part_of(self, chunk: Records) -> Records:
        return chunk

    def log_ended(self, tp: TopicPartition, offset: int) -> None:
        return
