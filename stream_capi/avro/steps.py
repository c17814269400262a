"""The steps of a walk through all records of a chunk at once: one step for each type in a schema.

A step gets a position in each of its records, and returns the positions behind its value. What it finds (start and end of a
text, a number) it notes for its column. Records are never removed: one whose bytes break a rule, or that has something that
no step reads, gets the position ``chunk.limit``, which is beyond its end. Positions only grow, so a record whose last
position is its end was read within its own bytes.

An array operation costs some microseconds, however few records it is for. For fewer than ``FEW`` records, the scalar
decoder's function for the type reads the values one by one. This also limits the time that hostile bytes can cost: every
operation is for at least that many records, and each item of an array or map that it reads takes bytes of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from stream_capi.avro.arrays import Ints, NDArray, np
from stream_capi.avro.chunk import Chunk
from stream_capi.avro.decode import FAULTS, Reader, count, stretch
from stream_capi.avro.hardening import Node
from stream_capi.config.dotted_paths import Path, follow

FEW = 32
_MOST_AT_ONCE = 16  # items, or fields, between two checks of how many records are still within their bytes
_SOME_BRANCHES = 4
_FEW_IN_A_BRANCH = 8  # records, on average
CARE = -1  # in a table of lengths: the byte needs a closer look, or is a fault
HIGH_BITS = np.int64(-0x7F7F7F7F7F7F7F80)  # 0x80 in each byte
_MOST = np.int64((1 << 63) - 1)

# By the first byte of a length: the distance from there to the value's end; CARE if the length is longer, or negative.
SPAN = np.array([n // 2 + 1 if n < 128 and n % 2 == 0 else CARE for n in range(256)], np.int8)
BOOLEAN = np.array([1, 1] + [CARE] * 254, np.int8)


def varints(chunk: Chunk, at: Ints) -> tuple[Ints, Ints]:
    """The unsigned 64-bit numbers at the positions, zigzag not undone, and the positions behind them."""
    word = chunk.words[at]
    stops = ~word & HIGH_BITS  # a byte below 128 ends a number
    stop = stops & -stops
    below = stop - 1
    size = (np.bitwise_count(below) + np.uint8(1)) >> 3
    number = compact(word & below)
    after = at + size
    long = (stop == 0).nonzero()[0]
    if len(long):  # nine or ten bytes
        number[long], after[long] = _long_varints(chunk, at[long], number[long])
    return number, after


def compact(word: Ints) -> Ints:
    """The number made of the lower seven bits of each byte."""
    word = word & 0x7F7F7F7F7F7F7F7F
    word = word & 0x007F007F007F007F | (word & 0x7F007F007F007F00) >> 1
    word = word & 0x00003FFF00003FFF | (word & 0x3FFF00003FFF0000) >> 2
    return word & 0x000000000FFFFFFF | (word & 0x0FFFFFFF00000000) >> 4


def of_two_bytes(word: Ints) -> Ints | None:
    """The lengths, if each takes two bytes and none is negative; else None."""
    other = word & 0x8081 != 0x0080
    if b"\1" in other.tobytes():
        return None
    length: Ints = word >> 1 & 0x3F | word >> 2 & 0x1FC0
    return length


def high_bytes(word: Ints) -> NDArray[np.uint8]:
    """How many bytes of each word are above 127."""
    # As unsigned numbers: of a signed one, bitwise_count counts the absolute value.
    high: NDArray[np.uint8] = np.bitwise_count((word & HIGH_BITS).view(np.uint64))
    return high


def reals(word: Ints, double: bool) -> NDArray[Any]:
    return word.view(np.float64) if double else word.astype(np.uint32).view(np.float32)


def _long_varints(chunk: Chunk, at: Ints, number: Ints) -> tuple[Ints, Ints]:
    ninth, tenth = (chunk.bytes.take(at + k).astype(np.int64) for k in (8, 9))
    number = number | (ninth & 127) << 56
    short = ninth < 128
    number = np.where(short, number, number | tenth << 63)
    return number, np.where(short, at + 9, np.where(tenth < 2, at + 10, chunk.limit))


def signed(number: Ints) -> Ints:
    return (number >> 1 & _MOST) ^ -(number & 1)


@lru_cache(maxsize=64)
def one_byte(symbols: int) -> NDArray[np.int8]:
    """By the first byte of an enum: its length, 1; CARE if it is no symbol of one byte."""
    return np.array([1 if n % 2 == 0 and n // 2 < symbols else CARE for n in range(256)], np.int8)


class Step:
    """Reads one value of ``node``. ``wanted`` are the columns that it fills, each with the rest of its path from here."""

    def __init__(self, node: Node, reader: Callable[[Node], Reader], wanted: Sequence[tuple[int, Path]] = ()) -> None:
        self.node = node
        self.wanted = wanted
        self.column = next((column for column, path in wanted if not path), None)
        self._reader = reader

    def walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        if len(at) < FEW:
            return self.one_by_one(chunk, at, rows) if len(at) else at
        return self._walk(chunk, at, rows)

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        return self.one_by_one(chunk, at, rows)

    def one_by_one(self, chunk: Chunk, at: Ints, rows: Ints, walked: Ints | None = None) -> Ints:
        """Read with the scalar decoder's function. Bytes outside strings are noted already up to the positions ``walked``."""
        read = self._reader(self.node)
        values, ends = [], []
        for row, i in zip(rows.tolist(), at.tolist(), strict=True):
            start = chunk.starts[row]
            try:
                value, end = read(chunk.payloads[row], chunk.text(row), i - start)
            except FAULTS:
                value, end = None, chunk.limit
            values.append(value)
            ends.append(min(end + start, chunk.limit))
        after = np.array(ends, np.int64)
        chunk.no_text(rows, at if walked is None else walked, after)
        for column, path in self.wanted:
            chunk.note_values(column, rows, [follow(value, path) for value in values] if path else values)
        return after


class Nothing(Step):
    def walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        return at


class Text(Step):
    """A string, or bytes."""

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        ahead = SPAN.take(chunk.bytes.take(at))
        start, after = at + 1, at + ahead
        if not ahead.tobytes().isascii():
            care = (ahead < 0).nonzero()[0]
            start[care], after[care] = self._long(chunk, at[care], rows[care])
        if self.node.type == "bytes":
            chunk.no_text(rows, start, after)
        if self.column is not None:
            chunk.note_texts(self.column, rows, start, after, self.node.type == "bytes")
        return after

    def _long(self, chunk: Chunk, at: Ints, rows: Ints) -> tuple[Ints, Ints]:
        """Start and end of values whose length takes more than one byte; the end is the limit if the length is negative."""
        length = of_two_bytes(chunk.words[at])
        if length is not None:
            start = at + 2
            end = np.minimum(start + length, chunk.limit)
        elif len(at) < FEW:
            start, end = self._long_one_by_one(chunk, at, rows)
        else:
            number, start = varints(chunk, at)
            length = np.minimum(number >> 1 & _MOST, chunk.limit)
            end = np.minimum(np.where(number & 1, chunk.limit, start + length), chunk.limit)
        chunk.no_text_number(rows, at, start, start - at - 1)
        return start, end

    def _long_one_by_one(self, chunk: Chunk, at: Ints, rows: Ints) -> tuple[Ints, Ints]:
        found = []
        for row, i in zip(rows.tolist(), at.tolist(), strict=True):
            before = chunk.starts[row]
            try:
                start, end = stretch(chunk.payloads[row], i - before)
            except FAULTS:
                start = end = chunk.limit
            found.append((min(start + before, chunk.limit), min(end + before, chunk.limit)))
        pairs = np.array(found, np.int64)
        return pairs[:, 0], pairs[:, 1]


class Number(Step):
    """An int or a long."""

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        first = chunk.bytes.take(at)
        if first.tobytes().isascii():
            number, after = first.astype(np.int64), at + 1
        else:
            number, after = varints(chunk, at)
            chunk.no_text_number(rows, at, after, after - at - 1)
        if self.column is not None:
            chunk.note_numbers(self.column, rows, signed(number))
        return after


class Symbol(Step):
    """An enum or a boolean: an index of one byte, or a longer number if there are more than 64 symbols."""

    def __init__(self, node: Node, reader: Callable[[Node], Reader], wanted: Sequence[tuple[int, Path]] = ()) -> None:
        super().__init__(node, reader, wanted)
        symbols: Sequence[Any] = (False, True) if node.type == "boolean" else node.symbols
        self._symbols = np.array(symbols, object)
        self._table = BOOLEAN if node.type == "boolean" else one_byte(len(symbols)) if len(symbols) <= 64 else None

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        if self._table is None:
            number, after = varints(chunk, at)
            chunk.no_text_number(rows, at, after, after - at - 1)
            index = signed(number)
            after[(index < 0) | (index >= len(self._symbols))] = chunk.limit
        else:
            first = chunk.bytes.take(at)
            ahead = self._table.take(first)
            after = at + ahead
            if not ahead.tobytes().isascii():
                after[ahead < 0] = chunk.limit
            index = first.astype(np.int64) if self.node.type == "boolean" else first.astype(np.int64) >> 1
        if self.column is not None:
            chunk.note_symbols(self.column, rows, index, self._symbols)
        return after


class Real(Step):
    """A float or a double."""

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        double = self.node.type == "double"
        after = at + (8 if double else 4)
        word = chunk.words[at]
        if not double:
            word &= 0xFFFFFFFF
        chunk.no_text_number(rows, at, after, high_bytes(word))
        if self.column is not None:
            chunk.note_numbers(self.column, rows, reals(word, double))
        return after


class Fixed(Step):
    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        after = np.minimum(at + self.node.size, chunk.limit)
        chunk.no_text(rows, at, after)
        if self.column is not None:
            chunk.note_texts(self.column, rows, at, after, binary=True)
        return after


class Union(Step):
    """A union of 64 branches or fewer: walks each branch for the records that have it."""

    def __init__(
        self, node: Node, reader: Callable[[Node], Reader], wanted: Sequence[tuple[int, Path]], branches: Sequence[Step]
    ) -> None:
        super().__init__(node, reader, wanted)
        self._branches = branches

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        branch = chunk.bytes.take(at)
        taken = branch.tobytes()
        if len(self._branches) > _SOME_BRANCHES and len(set(taken)) * _FEW_IN_A_BRANCH > len(at):
            return self.one_by_one(chunk, at, rows)
        inside = at + 1
        after = np.full(len(at), chunk.limit)
        for index, step in enumerate(self._branches):
            if index * 2 in taken:
                some = (branch == index * 2).nonzero()[0]
                if len(some) == len(at):
                    return step.walk(chunk, inside, rows)
                after[some] = step.walk(chunk, inside[some], rows[some])
        return after


class Fields(Step):
    def __init__(
        self, node: Node, reader: Callable[[Node], Reader], wanted: Sequence[tuple[int, Path]], fields: Sequence[Step]
    ) -> None:
        super().__init__(node, reader, wanted)
        self._fields = [step for step in fields if not isinstance(step, Nothing)]

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        for step in self._fields:
            at = step.walk(chunk, at, rows)
            chunk.steps += 1
            if chunk.steps >= _MOST_AT_ONCE:
                chunk.steps = 0
                within = at <= chunk.ends[rows]
                if np.count_nonzero(within) < FEW:
                    chunk.steps = _MOST_AT_ONCE  # so that the enclosing record checks after this field, too
                    return np.full(len(at), chunk.limit)
        return at


class Items(Step):
    """An array or a map that no column needs: walks block by block, one item of all records at a time."""

    def __init__(self, node: Node, reader: Callable[[Node], Reader], item: Step) -> None:
        super().__init__(node, reader)
        assert node.items is not None  # noqa: S101 -- arrays and maps have items
        self._key = Text(Node("string", least=1), reader) if node.type == "map" else None
        self._item = item
        self._least = node.items.least + (self._key is not None)

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        after = np.full(len(at), chunk.limit)
        here = np.arange(len(at))  # the records whose array or map is not at its end
        position, mine = at.copy(), rows
        left = np.zeros(len(at), np.int64)  # items of the current block
        while len(here) >= FEW:
            ended = (left == 0).nonzero()[0]
            if len(ended):
                left[ended], position[ended] = self._count(chunk, position[ended], mine[ended])
                finished = left == 0
                after[here[finished]] = position[finished]
                going = ~finished
            else:
                together = min(int(left.min()), _MOST_AT_ONCE)
                for _ in range(together):
                    position = np.minimum(self._one(chunk, position, mine), chunk.limit)
                left -= together
                going = position <= chunk.ends[mine]
            if np.count_nonzero(going) < len(here):
                here, position, mine, left = here[going], position[going], mine[going], left[going]
        if len(here):
            after[here] = self.one_by_one(chunk, at[here], mine, position)
        return after

    def _one(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        if self._key is not None:
            at = self._key.walk(chunk, at, rows)
        return self._item.walk(chunk, at, rows)

    def _count(self, chunk: Chunk, at: Ints, rows: Ints) -> tuple[Ints, Ints]:
        """Items in the next block, and the position of the first. If the bytes break a rule: no items, and the limit."""
        if len(at) < FEW:
            return self._count_one_by_one(chunk, at, rows)
        number, after = varints(chunk, at)
        items = signed(number)
        sized = (items < 0).nonzero()[0]  # the block's size in bytes follows
        if len(sized):
            items[sized] = -items[sized]
            _, after[sized] = varints(chunk, after[sized])
        chunk.no_text(rows, at, after)
        wrong = (items < 0) | (items > (chunk.ends[rows] - after) // self._least)
        items[wrong], after[wrong] = 0, chunk.limit
        return items, after

    def _count_one_by_one(self, chunk: Chunk, at: Ints, rows: Ints) -> tuple[Ints, Ints]:
        found = []
        for row, i in zip(rows.tolist(), at.tolist(), strict=True):
            start = chunk.starts[row]
            try:
                items, after = count(chunk.payloads[row], i - start, self._least)
            except FAULTS:
                items, after = 0, chunk.limit
            found.append((items, min(after + start, chunk.limit)))
        pairs = np.array(found, np.int64)
        chunk.no_text(rows, at, pairs[:, 1])
        return pairs[:, 0], pairs[:, 1]
