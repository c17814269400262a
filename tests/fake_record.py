"""A record as the client hands it over, made without a broker."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, Message


class FakeRecord(Message):
    """The client's own record, with a value for each part. ``place`` is topic, partition and offset."""

    def __init__(
        self,
        value: bytes | None = b"value",
        headers: list[tuple[str, Any]] | None = None,
        *,
        key: bytes | None = None,
        place: tuple[str, int, int] = ("leads", 3, 42),
        timestamp: tuple[int, int] = (1, 1_700_000_000_123),
        leader_epoch: int | None = 0,
        error: KafkaError | None = None,
    ) -> None:
        super().__init__(*place, key, value, headers, error, timestamp, leader_epoch=leader_epoch)
