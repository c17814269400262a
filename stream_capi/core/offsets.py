"""Which offset may be committed: the contiguous watermark of each partition (contract, section 7).

Invariants, each of which has a test that breaks it:

1. ``watermark`` never passes an open offset, and never goes back within one epoch.
2. An offset is *open* from ``track`` to ``resolve``. Offsets that never arrive between two tracked ones (compaction,
   transaction markers, tombstones) are not waited for: the broker will never hand them over.
3. What was resolved beyond the watermark is in ``outcomes_beyond``, so that the next owner of the partition doesn't send
   it again; losing that text costs duplicates, never an event.
4. One ``PartitionOffsets`` is one assignment. A result that comes late resolves an object that nobody commits from any
   more: that, and no comparison of numbers, is the fence between epochs.
"""

from __future__ import annotations

from base64 import b85decode, b85encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from zlib import crc32

METADATA_LIMIT = 4096  # bytes: Kafka's own default for offset.metadata.max.bytes
_VERSION = "capi1"
_CHECKSUM = 4  # bytes

Ranges = tuple[tuple[int, int], ...]


class PartitionOffsets:
    """The offsets of one partition during one assignment.

    ``settled`` are the half-open ranges of offsets that a former owner had resolved beyond the committed one.
    ``open_bytes`` is the sum of the open events' sizes as given to ``track``.
    """

    __slots__ = (
        "_end",
        "_open",
        "_settled_starts",
        "epoch",
        "fenced",
        "open_bytes",
        "partition",
        "settled",
        "start",
        "topic",
    )

    def __init__(self, topic: str, partition: int, epoch: int, start: int, settled: Ranges = ()) -> None:
        self.topic = topic
        self.partition = partition
        self.epoch = epoch
        self.start = start
        self.settled = settled
        self.open_bytes = 0
        self.fenced = False  # set when the assignment ends: what is still to be sent for it needn't be
        self._settled_starts = [first for first, _ in settled]
        self._end = start
        # Insertion order is offset order, so the first key is the watermark: no heap, no scan.
        self._open: dict[int, int] = {}

    def track(self, offsets: Sequence[int], sizes: Sequence[int], end: int) -> None:
        """Open ``offsets`` (increasing) and move the read position to ``end``, the offset behind the last one fetched.

        Raises ValueError when they lie before what was tracked already: the same record would be open twice, and its
        first outcome would let the watermark pass the second.
        """
        if (offsets and offsets[0] < self._end) or end < self._end:
            raise ValueError(f"{self.topic}[{self.partition}]: offset {min([*offsets, end])} is behind {self._end}")
        self._open.update(zip(offsets, sizes, strict=True))
        self.open_bytes += sum(sizes)
        self._end = end

    def resolve(self, offset: int) -> None:
        """Take the terminal outcome of one event. Resolving it twice, or an offset never tracked, changes nothing."""
        self.open_bytes -= self._open.pop(offset, 0)

    def resolve_all(self, offsets: Iterable[int]) -> None:
        """Take the terminal outcome of many events, as ``resolve`` does of one."""
        self.open_bytes -= sum(map(self._open.pop, offsets, repeat(0)))

    def is_open(self, offset: int) -> bool:
        """Whether the event at this offset still waits for its outcome."""
        return offset in self._open

    def is_settled(self, offset: int) -> bool:
        """Whether a former owner of the partition had resolved this offset already."""
        at = bisect_right(self._settled_starts, offset) - 1
        return at >= 0 and offset < self.settled[at][1]

    @property
    def unresolved(self) -> int:
        """How many events are open."""
        return len(self._open)

    @property
    def position(self) -> int:
        """The next offset to be read."""
        return self._end

    @property
    def watermark(self) -> int:
        """The offset to commit: the first open one, or the read position when none is open."""
        return next(iter(self._open), self._end)

    def outcomes_beyond(self, limit: int = METADATA_LIMIT, log: str = "") -> str:
        """Text for the commit's metadata: what is resolved beyond the watermark, in at most ``limit`` bytes.

        ``log`` names the log that the offsets belong to (the topic's id). Where not all fits, the far end is left out:
        those events are then sent again after a crash, which is safe.
        """
        head = f"{_VERSION}:{log}:{self.watermark}:"
        if len(head) > limit:
            return ""
        room = (limit - len(head)) * 4 // 5  # base 85 makes five characters of four bytes
        runs = _encode_runs(self.watermark, self._resolved_ranges(), room - _CHECKSUM)
        return head + b85encode(_checksum(runs) + runs).decode("ascii") if runs else head

    def _resolved_ranges(self) -> Iterator[tuple[int, int]]:
        """The resolved ranges beyond the watermark, in order: what was read and is not open, then what was settled."""
        behind = self.watermark
        for offset in self._open:
            if offset > behind:
                yield behind, offset
            behind = offset + 1
        if behind < self._end:
            yield behind, self._end
        for first, last in self.settled:
            if last > self._end:
                yield max(first, self._end), last


def log_of(metadata: str) -> str:
    """The log's name that a commit's metadata carries, or the empty text where it carries none."""
    parts = metadata.split(":", 3)
    return parts[1] if len(parts) == 4 and parts[0] == _VERSION else ""


def settled_ranges(metadata: str, committed: int, log: str = "") -> Ranges:
    """Read what ``outcomes_beyond`` wrote.

    Anything else gives no ranges: another version, another log, an offset that was reset since, a text cut short or
    altered. To ignore it costs duplicates; to believe it would lose events. The checksum is there because a cut text of
    base 85 still decodes, with a last byte that may be one too high: the run would reach over an open event.
    """
    parts = metadata.split(":", 3)
    if len(parts) != 4 or parts[0] != _VERSION or parts[1] != log or parts[2] != str(committed):
        return ()
    try:
        body = b85decode(parts[3])
        runs = body[_CHECKSUM:]
        numbers = list(_decode_varints(runs))
    except ValueError:
        return ()
    if len(numbers) % 2 or body[:_CHECKSUM] != _checksum(runs):
        return ()
    ranges: list[tuple[int, int]] = []
    at = committed
    for skip, length in zip(numbers[::2], numbers[1::2], strict=True):
        if length == 0 or (skip == 0 and ranges):
            return ()
        ranges.append((at + skip, at + skip + length))
        at += skip + length
    return tuple(ranges)


def _checksum(runs: bytes) -> bytes:
    return crc32(runs).to_bytes(_CHECKSUM, "big")


def _encode_runs(base: int, ranges: Iterable[tuple[int, int]], room: int) -> bytes:
    """Ranges as pairs of varints (open run, resolved run) from ``base`` on; stops before ``room`` bytes are passed."""
    out = bytearray()
    at = base
    pending: tuple[int, int] | None = None
    for first, last in ranges:
        if pending and pending[1] == first:  # joins the range before it
            pending = (pending[0], last)
            continue
        if pending:
            pair = _varint(pending[0] - at) + _varint(pending[1] - pending[0])
            if len(out) + len(pair) > room:
                return bytes(out)
            out += pair
            at = pending[1]
        pending = (first, last)
    if pending:
        pair = _varint(pending[0] - at) + _varint(pending[1] - pending[0])
        if len(out) + len(pair) <= room:
            out += pair
    return bytes(out)


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
