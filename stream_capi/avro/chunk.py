"""The records of a chunk in one buffer, and what a walk through them found: columns of texts and numbers.

The buffer is decoded once as Latin-1, and an ASCII string is a slice of that. Every string must be UTF-8, even if no column
needs it. To find the records whose strings are not all ASCII, two numbers are counted for each record: its bytes above 127,
and those of them that are outside strings (in numbers, lengths of more than one byte, bytes). If they differ, a string has
such a byte. Only these records are copied, with zeros in place of all bytes outside strings, and the copy is decoded. It is
UTF-8 exactly if each string is, because between any two strings there is a byte below 128: a length, or a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from stream_capi.avro.arrays import Bytes, Flags, Ints, NDArray, np

_NONE = np.zeros(0, np.int64)
_NO_STRETCHES = (_NONE, _NONE, _NONE)
_HIGH_BITS = np.array([sum(0x80 << 8 * n for n in range(size)) for size in range(9)], np.uint64)
_NOT_HERE = -(1 << 62)
_AT_ONCE = 8192  # words
_SPLIT = 16  # characters
_SHORT = 64  # bytes; longer stretches are zeroed or sliced one by one


class _Found(NamedTuple):
    """Values of one column: their rows, arrays with one entry a row, and the function that makes values of the arrays."""

    column: int
    rows: Ints
    arrays: tuple[NDArray[Any], ...]
    make: Callable[..., list[Any]]

    def __repr__(self) -> str:
        return f"_Found(column {self.column})"


_Stretches = tuple[Ints, Ints, Ints]  # rows, starts, ends


class Chunk:
    """Payloads of ``least`` to ``most`` bytes, walked at once. Shorter and longer ones count as failed from the start.

    A record that failed is at the position ``limit``, where no record ends. Its further steps read the zeros that follow, of
    which they need ``room`` bytes.
    """

    def __init__(self, payloads: Sequence[bytes], least: int, most: int, room: int) -> None:
        lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
        fit = (lengths >= least) & (lengths <= most)
        if not fit.all():
            payloads = [payload if fits else b"" for payload, fits in zip(payloads, fit.tolist(), strict=True)]
            lengths[~fit] = 0
        self.payloads = payloads
        self.rows = np.arange(len(payloads))
        self.buffer = b"".join([*payloads, bytes(room + 128)])
        self.bytes: Bytes = np.frombuffer(self.buffer, np.uint8)
        self.words = np.ndarray((len(self.buffer) - 7,), "<i8", self.buffer, 0, (1,))
        self.ends = np.cumsum(lengths)
        self.limit = int(self.ends[-1]) + 1
        self._begins = self.ends - lengths
        self.starts: list[int] = self._begins.tolist()
        self.first = np.where(fit, self._begins, self.limit)
        self.steps = 0  # since the last check of how many records are still within their bytes
        self._texts: dict[int, str] = {}
        self._found: list[_Found] = []
        self._no_text: list[_Stretches] = []
        self._uncounted: list[_Stretches] = []  # those of _no_text whose bytes above 127 are not counted yet
        self._high = np.zeros(len(payloads), np.int64)  # for each record: bytes above 127 outside strings
        self._some_high: list[tuple[Ints, NDArray[Any]]] = []

    def text(self, row: int) -> str:
        """A payload as Latin-1."""
        text = self._texts.get(row)
        if text is None:
            text = self._texts[row] = str(self.payloads[row], "latin-1")
        return text

    def no_text(self, rows: Ints, start: Ints, end: Ints) -> None:
        """Note bytes that belong to no string, each byte once.

        A byte above 127 that is counted twice would hide one inside a string, which would then be taken for ASCII.
        """
        self._no_text.append((rows, start, end))
        self._uncounted.append((rows, start, end))

    def no_text_number(self, rows: Ints, start: Ints, end: Ints, high: NDArray[Any]) -> None:
        """As ``no_text``, if it is known how many of the bytes are above 127 (``high``)."""
        self._no_text.append((rows, start, end))
        if rows is self.rows:
            self._high += high
        else:
            self._some_high.append((rows, high))

    def note_texts(self, column: int, rows: Ints, start: Ints, end: Ints, binary: bool) -> None:
        self._found.append(_Found(column, rows, (start, end), self._binaries if binary else self._strings))

    def note_numbers(self, column: int, rows: Ints, values: NDArray[Any]) -> None:
        self._found.append(_Found(column, rows, (values,), np.ndarray.tolist))

    def note_symbols(self, column: int, rows: Ints, index: Ints, symbols: NDArray[Any]) -> None:
        self._found.append(_Found(column, rows, (index,), partial(_symbols, symbols)))

    def note_values(self, column: int, rows: Ints, values: list[Any]) -> None:
        self._found.append(_Found(column, rows, (np.arange(len(rows)),), partial(_listed, values)))

    def columns(self, last: Ints, count: int) -> tuple[list[list[Any]], list[int]]:
        """The values of ``count`` columns, and the records to leave to the scalar decoder.

        ``last`` holds the position at which each record's walk ended.
        """
        good = (last == self.ends) & (self.first < self.limit)
        self._check(good)
        # The entries refer to methods of this chunk: while it keeps them, it is in a reference cycle and freed late.
        found, self._found = self._found, []
        texts = sum(int((array[1] - array[0]).sum()) for _, _, array, make in found if make == self._strings)
        self._split = _SHORT if texts * 4 < len(self.buffer) else _SPLIT
        odd = np.flatnonzero(~good).tolist()
        columns: list[list[Any]] = [[] for _ in range(count)]
        for column, rows, arrays, make in found:
            if odd:
                kept = good[rows]
                rows, arrays = rows[kept], tuple(array[kept] for array in arrays)
            values = make(*arrays)
            if len(rows) == len(self.rows):
                columns[column] = values
                continue
            into = columns[column] = columns[column] or [None] * len(self.rows)
            for row, value in zip(rows.tolist(), values, strict=True):
                into[row] = value
        return [column or [None] * len(self.rows) for column in columns], odd

    def _check(self, good: Flags) -> None:
        """Find the records with a string that is not ASCII, and clear ``good`` of those with one that is not UTF-8."""
        above = _Above(self.buffer)
        rows, start, end = _joined(self._uncounted)
        self._some_high.append((rows, above.before(end) - above.before(start)))
        rows, high = (np.concatenate(parts) for parts in zip(*self._some_high, strict=True))
        known = self._high + np.bincount(rows, high, len(good))
        careful: Flags = (known != np.diff(above.before(self.ends), prepend=0)) & good
        if careful.any():
            self._decode(careful.nonzero()[0], good)

    def _decode(self, careful: Ints, good: Flags) -> None:
        """Check that the strings of these records are UTF-8, in a copy with zeros for all other bytes."""
        texts = bytearray().join([self.payloads[row] for row in careful.tolist()])
        lengths = self.ends[careful] - self._begins[careful]
        ends = np.cumsum(lengths)
        move = np.full(len(good), _NOT_HERE)
        move[careful] = ends - lengths - self._begins[careful]
        moved = []
        for rows, start, end in self._no_text:
            here = careful if rows is self.rows else (move.take(rows) > _NOT_HERE).nonzero()[0]
            if len(here):
                moved.append((start.take(here), end.take(here), move.take(rows.take(here))))
        start, end, by = (np.concatenate(parts) for parts in zip(_NO_STRETCHES, *moved, strict=True))
        start, length = start + by, end - start
        short = length <= _SHORT
        for s, n in zip(start[~short].tolist(), length[~short].tolist(), strict=True):
            texts[s : s + n] = bytes(n)
        np.frombuffer(texts, np.uint8)[_each(start[short], length[short])] = 0
        try:
            texts.decode()
        except UnicodeDecodeError:
            for row, s, e in zip(careful.tolist(), (ends - lengths).tolist(), ends.tolist(), strict=True):
                good[row] = _is_text(texts[s:e])

    def _strings(self, start: Ints, end: Ints) -> list[Any]:
        length = end - start
        if len(start) and int(length.sum()) <= self._split * len(start):
            # Join them with a separator and split: cheaper than slicing each, up to this average length.
            length += 1
            apart = self.bytes.take(_each(start, length))
            apart[np.cumsum(length) - 1] = 0
            joined = apart.tobytes()
            if joined.count(0) == len(start):
                return joined[:-1].decode().split("\0")
        text = self._latin()
        values = [text[s:e] for s, e in zip(start.tolist(), end.tolist(), strict=True)]
        if not "".join(values).isascii():  # checked again, so that a wrong count in ``_check`` can't make a wrong value
            values = [value if value.isascii() else value.encode("latin-1").decode() for value in values]
        return values

    def _binaries(self, start: Ints, end: Ints) -> list[Any]:
        buffer = self.buffer
        return [buffer[s:e] for s, e in zip(start.tolist(), end.tolist(), strict=True)]

    def _latin(self) -> str:
        text = self._texts.get(-1)
        if text is None:
            text = self._texts[-1] = str(self.buffer, "latin-1")
        return text


class _Above:
    """Counts bytes above 127 before a position, by words of eight bytes and blocks of eight words."""

    def __init__(self, buffer: bytes) -> None:
        self._words = np.frombuffer(buffer, "<u8", len(buffer) // 64 * 8)
        self._of_word = np.empty(len(self._words), np.uint8)
        for at in range(0, len(self._words), _AT_ONCE):  # in pieces for which malloc needn't ask the system for memory
            part = slice(at, at + _AT_ONCE)
            np.bitwise_count(self._words[part] & _HIGH_BITS[8], out=self._of_word[part])
        # Prefix sums by multiplication: each byte of the product is the sum over the block's words up to that one.
        self._in_block = self._of_word.view("<u8") * np.uint64(0x0101010101010101)
        of_block = (self._in_block >> np.uint64(56)).view(np.int64)
        self._before_block = np.cumsum(of_block) - of_block

    def before(self, position: Ints) -> Ints:
        """The number of bytes above 127 in the buffer before each position."""
        word, block = position >> 3, position >> 6
        up_to_word = self._in_block.take(block) >> (word.astype(np.uint64) & np.uint64(7)) * np.uint64(8) & np.uint64(
            255
        )
        in_word = np.bitwise_count(self._words.take(word) & _HIGH_BITS.take(position & 7))
        before: Ints = self._before_block.take(block) + up_to_word.view(np.int64) - self._of_word.take(word) + in_word
        return before


def _is_text(text: bytearray) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _joined(stretches: Sequence[_Stretches]) -> _Stretches:
    rows, start, end = (np.concatenate(parts) for parts in zip(_NO_STRETCHES, *stretches, strict=True))
    return rows, start, end


def _each(start: Ints, length: Ints) -> Ints:
    """Every position of the stretches."""
    before = np.cumsum(length)
    total = int(before[-1]) if len(before) else 0
    return np.repeat(start - (before - length), length) + np.arange(total)


def _symbols(symbols: NDArray[Any], index: Ints) -> list[Any]:
    found: list[Any] = symbols.take(index).tolist()
    return found


def _listed(values: list[Any], index: Ints) -> list[Any]:
    return values if len(index) == len(values) else [values[at] for at in index.tolist()]
