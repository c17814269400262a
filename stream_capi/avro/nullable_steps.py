"""Steps for nullable fields: null, or one other type. Most fields of wide records are nullable.

All records are read as if they had a value, and a mask discards the results of those without one. This is cheaper than to
select the others first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from stream_capi.avro.arrays import Flags, Ints, NDArray, np
from stream_capi.avro.chunk import Chunk
from stream_capi.avro.decode import Reader
from stream_capi.avro.hardening import Node
from stream_capi.avro.steps import CARE, SPAN, Step, compact, high_bytes, of_two_bytes, reals, signed

_NINE = np.uint8(9)
_HIGH_BITS_OF_SEVEN = np.int64(0x0080808080808080)


@lru_cache(maxsize=2)
def _optional_text(tag: int) -> NDArray[np.int8]:
    """Lookup by the first two bytes of a nullable text, as a 16-bit integer: the length of all its bytes, or CARE."""
    table = np.full((256, 256), CARE, np.int8)  # by the second byte and the first
    table[:, 2 - tag] = 1
    table[:, tag] = np.where(SPAN < 0, CARE, SPAN + 1)
    return table.ravel()


class Optional(Step):
    """Null or one other type. ``careful`` is the general step for the union, for records that this one can't read."""

    def __init__(self, careful: Step, reader: Callable[[Node], Reader], tag: int) -> None:
        super().__init__(careful.node, reader, careful.wanted)
        self._careful = careful
        self._tag = tag
        self._null = 2 - tag

    def _walk(self, chunk: Chunk, at: Ints, rows: Ints) -> Ints:
        first = chunk.bytes.take(at)
        there = first == self._tag
        values, nulls = np.count_nonzero(there), np.count_nonzero(first == self._null)
        if nulls == len(at):
            return at + 1
        if nulls + values < len(at):
            return self._careful.walk(chunk, at, rows)
        return self._either(chunk, at, rows, there)

    def _either(self, chunk: Chunk, at: Ints, rows: Ints, there: Flags) -> Ints:
        raise NotImplementedError


class OptionalText(Optional):
    """A string or bytes: a table of the first two bytes gives the length."""

    def __init__(self, careful: Step, reader: Callable[[Node], Reader], tag: int) -> None:
        super().__init__(careful, reader, tag)
        self._table = _optional_text(tag)
        self._binary = careful.node.branches[tag // 2].type == "bytes"

    def _either(self, chunk: Chunk, at: Ints, rows: Ints, there: Flags) -> Ints:
        word = chunk.words[at]
        ahead = self._table.take(word & 0xFFFF)
        after = at + ahead
        short = ahead.tobytes().isascii()
        if self.column is not None:
            some = (there if short else there & (ahead > 0)).nonzero()[0]
            if len(some) == len(at):
                chunk.note_texts(self.column, rows, at + 2, after, self._binary)
            elif len(some):
                chunk.note_texts(self.column, rows[some], at[some] + 2, after[some], self._binary)
        if self._binary:
            chunk.no_text(rows, at, after if short else np.maximum(at, after))
        if not short:
            care = (ahead < 0).nonzero()[0]
            after[care] = self._long(chunk, word[care], at[care], rows[care])
        return after

    def _long(self, chunk: Chunk, word: Ints, at: Ints, rows: Ints) -> Ints:
        """The ends of texts whose length takes two bytes. If one is of another kind, the careful step reads all of them."""
        length = of_two_bytes(word >> 8)
        if length is None:
            return self._careful.walk(chunk, at, rows)
        start = at + 3
        after: Ints = np.minimum(start + length, chunk.limit)
        chunk.no_text_number(rows, at, start, np.ones(len(at), np.uint8))
        if self._binary:
            chunk.no_text(rows, start, after)
        if self.column is not None:
            chunk.note_texts(self.column, rows, start, after, self._binary)
        return after


class OptionalNumber(Optional):
    """An int or a long of up to seven bytes. If one is longer, the careful step reads all of them."""

    def _either(self, chunk: Chunk, at: Ints, rows: Ints, there: Flags) -> Ints:
        word = chunk.words[at] >> 8
        stops = ~word & _HIGH_BITS_OF_SEVEN
        below = (stops & -stops) - 1
        bits = np.bitwise_count(below)
        if b"\1" in bits.tobytes():  # a number without an end in seven bytes: below is -1, counted as one bit
            return self._careful.walk(chunk, at, rows)
        bits *= there
        after: Ints = at + (bits + _NINE >> 3)  # with the byte of the branch's index
        chunk.no_text_number(rows, at, after, bits >> 3)
        if self.column is not None:
            some = there.nonzero()[0]
            chunk.note_numbers(self.column, rows[some], signed(compact(word[some] & below[some])))
        return after


class OptionalReal(Optional):
    def _either(self, chunk: Chunk, at: Ints, rows: Ints, there: Flags) -> Ints:
        double = self._careful.node.branches[self._tag // 2].type == "double"
        after = at + (there * np.uint8(8 if double else 4) + np.uint8(1))
        word = chunk.words[at + 1]
        if not double:
            word &= 0xFFFFFFFF
        chunk.no_text_number(rows, at, after, high_bytes(word) * there)
        if self.column is not None:
            some = there.nonzero()[0]
            chunk.note_numbers(self.column, rows[some], reals(word[some], double))
        return after


class OptionalSymbol(Optional):
    """A boolean or an enum of one byte that no column needs."""

    def __init__(self, careful: Step, reader: Callable[[Node], Reader], tag: int, table: NDArray[np.int8]) -> None:
        super().__init__(careful, reader, tag)
        self._table = table

    def _either(self, chunk: Chunk, at: Ints, rows: Ints, there: Flags) -> Ints:
        ahead = self._table.take(chunk.bytes.take(at + 1)) * there
        after = at + 1 + ahead
        if not ahead.tobytes().isascii():
            after[ahead < 0] = chunk.limit
        return after
