"""Transactions of protocol v2 (KIP-890). The client for Python speaks v1: it adds partitions with a separate request and
keeps the producer's epoch.

With v2 a partition joins the transaction with the first record that is produced to it, and each end of a transaction gives
the producer a new epoch. Brokers accept both if their feature ``transaction.version`` is 2.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from tests.stack.cluster import Cluster
from tests.stack.wire import NO_TAGS, TIMEOUT_MS, ask, sized, text, varint

_PRODUCE, _INIT_PRODUCER_ID, _END_TXN = (0, 12), (22, 5), (26, 5)  # API key and version; the first and last are v2's
_TRANSACTIONAL = 0x10
_POLYNOMIAL = 0x82F63B78


class _Identity(NamedTuple):
    producer: int
    epoch: int


class TransactionV2:
    """A producer's transactions, one after the other: ``write`` begins one, ``end`` commits or aborts it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = text(name)
        self._sequences: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        answer = self._coordinated(_INIT_PRODUCER_ID, self._name + struct.pack(">iqh", TIMEOUT_MS * 6, -1, -1))
        self._identity = _Identity(*struct.unpack_from(">qh", answer))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave an open transaction open."""

    @property
    def epoch(self) -> int:
        return self._identity.epoch

    def write(self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None]]) -> int:
        """Write records (key and value) in the transaction; returns the offset of the first one."""
        sequence = self._sequences.get((topic, partition), 0)
        batch = _batch(self._identity, sequence, records)
        of_partition = struct.pack(">i", partition) + sized(batch) + NO_TAGS
        of_topic = text(topic) + b"\x02" + of_partition + NO_TAGS
        asked = self._name + struct.pack(">hi", -1, TIMEOUT_MS) + b"\x02" + of_topic
        answer = ask(self._cluster.node(self._cluster.leader(topic, partition)).bootstrap, _PRODUCE, asked)
        at = 1 + len(text(topic)) + 1 + 4  # after the topic and the number of the only partition
        error, offset = struct.unpack_from(">hq", answer, at)
        assert error == 0, f"writing in a transaction of v2: error {error}"
        self._sequences[topic, partition] = sequence + len(records)
        return int(offset)

    def end(self, commit: bool) -> None:
        """Commit or abort. The producer continues with the epoch that the coordinator returns."""
        asked = self._name + struct.pack(">qh?", *self._identity, commit)
        answer = self._coordinated(_END_TXN, asked)
        self._identity = _Identity(*struct.unpack_from(">qh", answer))
        self._sequences.clear()

    def _coordinated(self, request: tuple[int, int], asked: bytes) -> bytes:
        """The coordinator's answer, after throttling and error. Its topic has one partition: all share one coordinator."""
        coordinator = self._cluster.node(self._cluster.leader("__transaction_state"))
        answer = ask(coordinator.bootstrap, request, asked)
        (error,) = struct.unpack_from(">h", answer, 4)
        assert error == 0, f"the transactions' coordinator answered {request} with error {error}"
        return answer[6:]


def _batch(identity: _Identity, sequence: int, records: Sequence[tuple[bytes | None, bytes | None]]) -> bytes:
    encoded = b"".join(_record(number, key, value) for number, (key, value) in enumerate(records))
    last, now = len(records) - 1, int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", _TRANSACTIONAL, last, now, now, *identity, sequence, len(records)) + encoded
    rest = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def _record(number: int, key: bytes | None, value: bytes | None) -> bytes:
    body = b"\0" + _signed(0) + _signed(number) + _field(key) + _field(value) + _signed(0)
    return _signed(len(body)) + body


def _field(data: bytes | None) -> bytes:
    return _signed(-1) if data is None else _signed(len(data)) + data


def _signed(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _crc32c(data: bytes) -> int:
    """The checksum of a batch (Castagnoli's polynomial), for which the standard library has no function."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF
