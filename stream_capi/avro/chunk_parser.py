"""Payloads to columns: the values at each path that the mapping asks for, one for each record of a run.

Many records are walked at once, field by field (``steps.py``). A few records are cheaper to decode one by one; so are the
records of a large chunk that have something unusual. ``decode.py`` does that, and only it writes rejections.

Measured in processor time: walking at once is as fast as one by one at about 60 records of 131 fields or 70 of 45 fields if
15 of them are wanted, and at 500 or more if all fields are wanted; with 1,000 records it is up to 7 times as fast. With some
kilobytes a field, copying the payloads costs more than decoding them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stream_capi.avro.chunk import Chunk
from stream_capi.avro.decode import Decoder, Readers
from stream_capi.avro.hardening import MAX_DECODED, Node
from stream_capi.avro.walk_plan import WalkPlan
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config.dotted_paths import steps
from stream_capi.model import Rejection, Table

_MOST_ROOM = 1 << 16
_LARGE = 4096  # bytes of the largest payload that is walked at once,
_LARGE_FIELD = 64  # with so many more for each field


def enough(fields: int, wanted: int) -> int:
    """The fewest records that are walked at once, for a schema with this number of fields, and paths that are wanted.

    A walk passes over fields much faster than the scalar decoder, but cuts values out hardly any faster.
    """
    return int(50 / (1 - 0.87 * min(wanted / max(fields, 1), 1)))


def fields_of(root: Node) -> int:
    """The number of fields of all records inside a type; each record type counts once."""
    met: dict[int, int] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in met:
            met[id(node)] = len(node.fields)
            waiting += node.inside
    return sum(met.values())


class ChunkParser:
    """Reads the values at ``paths`` out of payloads that ``schema`` wrote."""

    def __init__(self, schema: WriterSchema, paths: Iterable[str]) -> None:
        self.schema = schema
        spelled = {path: tuple(map(str, steps(path))) for path in paths}
        self._names, ways = list(spelled), list(spelled.values())
        walked = list(dict.fromkeys(ways))
        self._walked, self._width = [walked.index(way) for way in ways], len(walked)
        self.decoder = Decoder(schema, ways)
        self.amplification = self.decoder.amplification
        self.overhead = self.decoder.overhead
        fields = fields_of(schema.parsed)
        small = (MAX_DECODED - self.overhead) / max(self.amplification, 1.0)  # such a payload can't exceed MAX_DECODED
        self._large = min(int(small), _LARGE + _LARGE_FIELD * fields)
        self._enough = enough(fields, len(walked))
        self._plan = WalkPlan(schema.parsed, walked, Readers(schema.parsed).of)

    def parse(self, payloads: Sequence[bytes]) -> Table:
        """The columns of all records, in order. Records that can't be decoded have None in each, and a rejection."""
        if len(payloads) < self._enough or self._plan.room > _MOST_ROOM:
            return self.parse_one_by_one(payloads)
        try:
            return self.parse_at_once(payloads)
        except MemoryError:
            raise
        except Exception:  # unforeseen: the scalar decoder finds the records that cause it
            return self.parse_one_by_one(payloads)

    def parse_one_by_one(self, payloads: Sequence[bytes]) -> Table:
        """As ``parse``, with the scalar decoder."""
        rows = self.decoder.decode(payloads)
        if rows and Rejection not in map(type, rows):
            return self._table(len(rows), zip(*rows, strict=True), {})
        columns: list[list[Any]] = [[None] * len(rows) for _ in self._names]
        return self._table(len(rows), columns, _fill(columns, range(len(rows)), rows))

    def parse_at_once(self, payloads: Sequence[bytes]) -> Table:
        """As ``parse``, all records a field at a time; records with something unusual go to the scalar decoder."""
        root = self.schema.parsed
        chunk = Chunk(payloads, root.least, self._large, self._plan.room)
        last = self._plan.step.walk(chunk, chunk.first, chunk.rows)
        walked, odd = chunk.columns(last, self._width)
        columns = [walked[at] for at in self._walked]
        rejected = _fill(columns, odd, self.decoder.decode([payloads[at] for at in odd])) if odd else {}
        return self._table(len(payloads), columns, rejected)

    def _table(self, length: int, columns: Iterable[Sequence[Any]], rejected: dict[int, Rejection]) -> Table:
        return Table(length, dict(zip(self._names, columns, strict=True)), rejected)

    def __repr__(self) -> str:
        return f"ChunkParser({self.schema!r}, {len(self._names)} paths)"


def _fill(columns: Sequence[list[Any]], places: Sequence[int], rows: Sequence[Any]) -> dict[int, Rejection]:
    """Write the values of decoded records into the columns; returns the rejections by place."""
    rejected = {}
    for place, row in zip(places, rows, strict=True):
        if isinstance(row, Rejection):
            rejected[place] = row
        else:
            for column, value in zip(columns, row, strict=True):
                column[place] = value
    return rejected
