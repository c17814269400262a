"""Where a field's value comes from: the first of its paths that has one, as text, as a number or as a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stream_capi.config import FieldRule
from stream_capi.events.kinds import UNFIT, Kind, Reader, number_reader, text_reader, time_reader
from stream_capi.events.paths import Found, Schema

Column = Sequence[Any]
Columns = Mapping[str, Column]
_NO_UNFIT: list[int] = []


class Taking:
    """The way from the columns of the table to a field's own one, where None stands for nothing.

    Paths that the schema lacks are left out. A text of blanks is nothing, too, so that the next path is looked at; behind
    the last path it stays, for the field's rule to pass over. ``plain_path`` is set where the column of one path is all.
    """

    def __init__(self, rule: FieldRule, schema: Schema, target: str, longest: int) -> None:
        self.rule = rule
        self._longest = longest
        self._is_text = target not in ("event_time", "data.value")
        self._const = str(rule.const) if rule.has_const and self._is_text else rule.const
        found = [(path, schema.find(path)) for path in rule.paths]
        self.ways = [(path, _reader(target, way.kinds, rule.unit)) for path, way in found if isinstance(way, Found)]
        self.plain_path = self.ways[0][0] if len(self.ways) == 1 and self.ways[0][1] is None else None
        self._may_be_unfit = any(reader is not None for _, reader in self.ways)

    @property
    def paths(self) -> list[str]:
        """The columns that it needs."""
        return [path for path, _ in self.ways]

    @property
    def is_never(self) -> bool:
        """Whether no record has a value."""
        return not self.rule.has_const and not self.ways

    def column(self, columns: Columns, length: int) -> tuple[Column, list[int]]:
        """The values, and the indexes of those that are of another type than the field can be: they are None."""
        if self.plain_path is not None:
            return columns[self.plain_path], _NO_UNFIT
        if not self.ways:
            return [self._const] * length, _NO_UNFIT
        values = self._read(columns, 0)
        for at in range(1, len(self.ways)):
            values = [
                other if self.is_nothing(value) else value
                for value, other in zip(values, self._read(columns, at), strict=True)
            ]
        if not self._may_be_unfit:
            return values, _NO_UNFIT
        unfit = [at for at, value in enumerate(values) if value is UNFIT]
        return ([None if value is UNFIT else value for value in values] if unfit else values), unfit

    def _read(self, columns: Columns, at: int) -> Column:
        path, read = self.ways[at]
        column = columns[path]
        return column if read is None else [None if value is None else read(value) for value in column]

    def is_nothing(self, value: Any) -> bool:
        """Whether the next path is looked at. Of a text that is too long, nobody asks what it is of."""
        if value is None or value is UNFIT or not self._is_text:
            return value is None
        return len(value) <= self._longest and not value.strip()

    def taken(self, columns: Columns) -> str | None:
        """The path that the first record's value was taken from; the last one that was looked at, if none has any."""
        for at, (path, _) in enumerate(self.ways):
            if not self.is_nothing(self._read(columns, at)[0]):
                return path
        return self.ways[-1][0] if self.ways else None


def _reader(target: str, kinds: Iterable[Kind], unit: str | None) -> Reader | None:
    if target == "event_time":
        return time_reader(kinds, unit)
    reader: Callable[[Iterable[Kind]], Reader | None] = number_reader if target == "data.value" else text_reader
    return reader(kinds)
