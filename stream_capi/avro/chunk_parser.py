"""Payloads to columns: the values at each path that the mapping asks for, one for each record of a run.

Many records are walked at once, field by field (``steps.py``). A few are cheaper to decode one by one, and so are those in a
large chunk that have something unusual. ``decode.py`` does both, and alone writes rejections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stream_capi.avro.chunk import Chunk
from stream_capi.avro.decode import Decoder, Readers
from stream_capi.avro.plan import Plan
from stream_capi.avro.rows import compile_rows
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config.dotted_paths import steps
from stream_capi.model import Rejection, Table

MANY = 64  # records
_MOST_ROOM = 1 << 16


class ChunkParser:
    """Reads the values at ``paths`` out of payloads that ``schema`` wrote."""

    def __init__(self, schema: WriterSchema, paths: Iterable[str]) -> None:
        self.schema = schema
        self.decoder = Decoder(schema)
        self.amplification = self.decoder.amplification
        self.overhead = self.decoder.overhead
        spelled = {path: tuple(map(str, steps(path))) for path in paths}
        self._paths = list(dict.fromkeys(spelled.values()))
        self._column = {path: self._paths.index(way) for path, way in spelled.items()}
        self._read_rows = compile_rows(schema.parsed, self._paths)
        self._plan = Plan(schema.parsed, self._paths, Readers(schema.parsed).of)

    def parse(self, payloads: Sequence[bytes]) -> Table:
        """The columns of all records, in order; those that can't be decoded have None in each."""
        if len(payloads) < MANY or self._plan.room > _MOST_ROOM:
            return self._one_by_one(payloads)
        try:
            return self._at_once(payloads)
        except MemoryError:
            raise
        except Exception:  # nobody foresaw it: the scalar decoder says of each record what is wrong with it
            return self._one_by_one(payloads)

    def _one_by_one(self, payloads: Sequence[bytes]) -> Table:
        rows = self.decoder.decode(payloads)
        columns: list[list[Any]] = [[None] * len(payloads) for _ in self._paths]
        rejected = self._fill(columns, range(len(rows)), rows)
        return self._table(len(payloads), columns, rejected)

    def _at_once(self, payloads: Sequence[bytes]) -> Table:
        root = self.schema.parsed
        chunk = Chunk(payloads, root.least, root.payload_limit, self._plan.room)
        last = self._plan.step.walk(chunk, chunk.first, chunk.rows)
        columns, odd = chunk.columns(last, len(self._paths))
        rejected = self._fill(columns, odd, self.decoder.decode([payloads[at] for at in odd])) if odd else {}
        return self._table(len(payloads), columns, rejected)

    def _fill(
        self, columns: Sequence[list[Any]], places: Sequence[int], rows: Sequence[dict[str, Any] | Rejection]
    ) -> dict[int, Rejection]:
        """Put the values of decoded records into their places; returns those that are rejected."""
        rejected = {}
        good: list[dict[str, Any]] = []
        at: list[int] = []
        for place, row in zip(places, rows, strict=True):
            if isinstance(row, Rejection):
                rejected[place] = row
            else:
                at.append(place)
                good.append(row)
        values = self._read_rows(good)
        for column, of_column in zip(columns, zip(*values, strict=True), strict=bool(values)):
            for place, value in zip(at, of_column, strict=True):
                column[place] = value
        return rejected

    def _table(self, length: int, columns: Sequence[Sequence[Any]], rejected: dict[int, Rejection]) -> Table:
        return Table(length, {path: columns[at] for path, at in self._column.items()}, rejected)

    def __repr__(self) -> str:
        return f"ChunkParser({self.schema!r}, {len(self._paths)} paths)"
