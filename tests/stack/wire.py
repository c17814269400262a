"""Kafka's wire protocol, for requests that the client for Python can't make, such as quotas and reassignments."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence

TIMEOUT_MS = 10_000
NO_TAGS = b"\0"
_REASSIGN, _QUOTAS = (45, 0), (49, 1)  # key and version of each request


def limit_reading(address: str, client_id: str, bytes_a_second: float | None) -> None:
    """Limit the bytes per second that clients with this id read from each broker; None removes the limit."""
    entity = array([text("client-id") + text(client_id)])
    quota = text("consumer_byte_rate") + struct.pack(">d?", bytes_a_second or 0.0, bytes_a_second is None)
    asked = array([entity + array([quota])]) + struct.pack(">?", False)
    (error,) = struct.unpack_from(">h", ask(address, _QUOTAS, asked), 4 + 1)  # after throttling, in the only entry
    assert error == 0, f"the quota was refused with error {error}"


def ask_to_reassign(address: str, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    """Request that these partitions move to these nodes, the first of each as preferred leader. Does not wait for it."""
    partitions = [
        struct.pack(">i", number) + sized_array(struct.pack(">i", node) for node in nodes)
        for number, nodes in replicas.items()
    ]
    asked = struct.pack(">i", TIMEOUT_MS) + array([text(topic) + array(partitions)])
    (error,) = struct.unpack_from(">h", ask(address, _REASSIGN, asked), 4)  # after throttling
    assert error == 0, f"the reassignment was refused with error {error}"


def ask(address: str, request: tuple[int, int], asked: bytes) -> bytes:
    """Send one request on a new connection, and return the body of the answer."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_MS / 1000) as connection:
        head = struct.pack(">hhih", *request, 1, -1) + NO_TAGS
        whole = head + asked + NO_TAGS
        connection.sendall(struct.pack(">i", len(whole)) + whole)
        (size,) = struct.unpack(">i", _received(connection, 4))
        return _received(connection, size)[5:]  # after the correlation id and the tags


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, "the broker closed the connection: it knows no such request"
        data += more
    return data


def text(of: str) -> bytes:
    return sized(of.encode())


def sized(data: bytes) -> bytes:
    return varint(len(data) + 1) + data


def array(structures: Iterable[bytes]) -> bytes:
    """An array of structures, each with empty tags at its end."""
    return sized_array(structure + NO_TAGS for structure in structures)


def sized_array(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return varint(len(listed) + 1) + b"".join(listed)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
