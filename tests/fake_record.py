"""A stand-in for the client's records, for tests without a client."""

from __future__ import annotations


class FakeRecord:
    """A record with the methods of the client's. ``place`` is topic, partition and offset."""

    def __init__(
        self,
        value: bytes | None = b"value",
        headers: list[tuple[str, bytes | None]] | None = None,
        *,
        key: bytes | None = None,
        place: tuple[str, int, int] = ("leads", 3, 42),
        timestamp: tuple[int, int] = (1, 1_700_000_000_123),
        leader_epoch: int | None = 0,
    ) -> None:
        self._value, self._headers, self._key = value, headers, key
        self._place, self._timestamp, self._leader_epoch = place, timestamp, leader_epoch

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[2]

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp

    def leader_epoch(self) -> int | None:
        return self._leader_epoch
