"""The metadata of a commit: which offsets beyond the committed one have an outcome (contract, section 7).

``capi2:TOPIC_ID:COMMITTED:RUNS``. RUNS is base 85 of a checksum and varints: pairs (open run, resolved run) from the
committed offset on, and a pair (leader epoch, 0) before the first run and wherever the leader epoch changes.

The first pair may be (distance, 0): members have resolved all offsets from that distance before the committed one up to it.
No run follows it directly, so releases that don't know this pair take it for a leader epoch that no record has.
"""

from __future__ import annotations

from base64 import b85decode, b85encode
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

from stream_capi.model import NO_LEADER_EPOCH

METADATA_LIMIT = 4096  # bytes: Kafka's own default for offset.metadata.max.bytes
_VERSION = "capi2"
_VERSIONS = frozenset({"capi1", _VERSION})  # both have the topic's id in the same place
_CHECKSUM = 4  # bytes


class Resolved(NamedTuple):
    """Offsets from ``first`` to before ``last`` have an outcome, if their records have this leader epoch."""

    first: int
    last: int
    leader_epoch: int


Ranges = tuple[Resolved, ...]


def encode_outcomes(
    watermark: int, ranges: Iterable[Resolved], limit: int, topic_id: str, since: int | None = None
) -> str:
    """The metadata for a commit of ``watermark``: the resolved ranges beyond it, in at most ``limit`` bytes.

    ``topic_id`` names the log to which the offsets belong. ``since``: the offset from which all up to the watermark are
    resolved, if it is known. If not all ranges fit, the last ones are left out: their events are sent again after a crash,
    which is safe.
    """
    head = f"{_VERSION}:{topic_id}:{watermark}:"
    if len(head) > limit:
        return ""
    room = (limit - len(head)) * 4 // 5  # base 85 encodes four bytes in five characters
    before = b"" if since is None else _varint(watermark - since) + _varint(0)
    before = before if len(before) <= room - _CHECKSUM else b""
    runs = before + _encode_runs(watermark, ranges, room - _CHECKSUM - len(before))
    return head + b85encode(_checksum(runs) + runs).decode("ascii") if runs else head


def topic_id_of(metadata: str) -> str:
    """The topic's id in a commit's metadata; empty if there is none."""
    parts = metadata.split(":", 3)
    return parts[1] if len(parts) == 4 and parts[0] in _VERSIONS else ""


def decode_outcomes(metadata: str, committed: int, topic_id: str = "") -> Ranges:
    """The ranges that ``encode_outcomes`` wrote.

    Anything else gives no ranges: another version (capi1 had no leader epochs), another topic, an offset that was reset
    since, a text that was truncated or altered. Ignoring it costs duplicates; trusting it would lose events. The checksum is
    needed because truncated base 85 still decodes, and its last byte may be one too high: the run would cover an open event.
    """
    return _ranges_of(_numbers(metadata, committed, topic_id), committed)


def resolved_since(metadata: str, committed: int, topic_id: str = "") -> int | None:
    """The offset from which members have resolved all up to the committed one; None if the metadata doesn't say.

    Earlier offsets were skipped when somebody set the group's offset, or were resolved by a release that didn't write this.
    """
    numbers = _numbers(metadata, committed, topic_id)
    says = numbers[1:2] == [0] and (len(numbers) == 2 or numbers[3] == 0) and numbers[0] <= committed
    return committed - numbers[0] if says else None


def _numbers(metadata: str, committed: int, topic_id: str) -> list[int]:
    """The numbers that ``encode_outcomes`` wrote for this offset of this log, in pairs; none if anything is wrong."""
    parts = metadata.split(":", 3)
    if len(parts) != 4 or parts[0] != _VERSION or parts[1] != topic_id or parts[2] != str(committed):
        return []
    try:
        body = b85decode(parts[3])
        runs = body[_CHECKSUM:]
        numbers = list(_decode_varints(runs))
    except ValueError:
        return []
    return [] if len(numbers) % 2 or body[:_CHECKSUM] != _checksum(runs) else numbers


def _ranges_of(numbers: Sequence[int], at: int) -> Ranges:
    """The ranges that pairs of numbers mean, from ``at`` on; none if ``_encode_runs`` can't have written them."""
    ranges: list[Resolved] = []
    leader_epoch = former = NO_LEADER_EPOCH
    for skip, length in zip(numbers[::2], numbers[1::2], strict=True):
        if length == 0:
            leader_epoch = skip
            continue
        if leader_epoch == NO_LEADER_EPOCH or (skip == 0 and ranges and leader_epoch == former):
            return ()
        ranges.append(Resolved(at + skip, at + skip + length, leader_epoch))
        at, former = at + skip + length, leader_epoch
    return tuple(ranges)


def _checksum(runs: bytes) -> bytes:
    return crc32(runs).to_bytes(_CHECKSUM, "big")


def _encode_runs(base: int, ranges: Iterable[Resolved], room: int) -> bytes:
    """Ranges as pairs of varints (open run, resolved run) from ``base`` on, as many as fit into ``room`` bytes.

    A pair (leader epoch, 0) comes before the first range and wherever the leader epoch changes.
    """
    out = bytearray()
    at, leader_epoch = base, NO_LEADER_EPOCH
    for first, last, epoch in _joined(ranges):
        pairs = b"" if epoch == leader_epoch else _varint(epoch) + _varint(0)
        pairs += _varint(first - at) + _varint(last - first)
        if len(out) + len(pairs) > room:
            break
        out += pairs
        at, leader_epoch = last, epoch
    return bytes(out)


def _joined(ranges: Iterable[Resolved]) -> Iterator[Resolved]:
    """The ranges, with adjacent ones merged. Ranges without a leader epoch are left out."""
    pending: Resolved | None = None
    for of in ranges:
        if of.leader_epoch == NO_LEADER_EPOCH:
            continue
        if pending is not None and pending.last == of.first and pending.leader_epoch == of.leader_epoch:
            pending = pending._replace(last=of.last)
            continue
        if pending is not None:
            yield pending
        pending = of
    if pending is not None:
        yield pending


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _decode_varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("varint cut short")
