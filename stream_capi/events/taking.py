"""Takes a field's value from the first of its paths that has one, as text, as a number or as a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from stream_capi.config import FieldRule
from stream_capi.events.fields import NOT_IN_MAP, NUMBERS
from stream_capi.events.kinds import UNFIT, Kind, Reader, key_reader, number_reader, text_reader, time_reader
from stream_capi.events.paths import Found, Schema
from stream_capi.events.value_rules import Wrong

Column = Sequence[Any]
Columns = Mapping[str, Column]
_NO_UNFIT: list[int] = []


class Origin(StrEnum):
    """Where a field's value came from, for ``explain``."""

    RECORD = ""  # or the mapping's constant
    MAP = "by its map"
    DEFAULT = "the default"


class Taking:
    """Makes a field's column from the columns of the table; None means no value.

    Paths that the schema lacks are left out. A text of whitespace is no value, either, and the next path is tried; if there
    is none, the text stays, and the field's rule ignores it. ``plain_path`` is set if the column of one path is taken as it
    is. ``unfit``: the fault of values that can't be converted, if the mapping determines it (``NOT_IN_MAP``), else None.
    """

    def __init__(self, rule: FieldRule, schema: Schema, target: str, longest: int) -> None:
        self.rule = rule
        self._longest = longest
        is_text = target not in NUMBERS
        self._is_text = is_text or rule.map is not None  # a table's keys are text
        self._const = str(rule.const) if rule.has_const and is_text else rule.const
        self._table = None if rule.map is None else {k: str(v) if is_text else v for k, v in rule.map.items()}
        found = [(path, schema.find(path)) for path in rule.paths]
        self.ways = [(path, _reader(target, way.kinds, rule)) for path, way in found if isinstance(way, Found)]
        is_one = len(self.ways) == 1 and self.ways[0][1] is None and not rule.has_const and rule.map is None
        self.plain_path = self.ways[0][0] if is_one else None
        self._may_be_unfit = self._table is not None or any(reader is not None for _, reader in self.ways)
        self.unfit: Wrong | None = None if self._table is None else NOT_IN_MAP

    @property
    def paths(self) -> list[str]:
        """The columns that it reads."""
        return [path for path, _ in self.ways]

    @property
    def is_never(self) -> bool:
        """Whether no record can have a value."""
        return not self.rule.has_const and not self.ways

    def column(self, columns: Columns, length: int) -> tuple[Column, list[int]]:
        """The values, and the indexes of those that can't be converted for the field; these are None."""
        if self.plain_path is not None:
            return columns[self.plain_path], _NO_UNFIT
        if not self.ways:
            return [self._const] * length, _NO_UNFIT
        values = self._chosen(columns)
        if self._table is not None:
            known = {value: self._looked_up(value) for value in dict.fromkeys(values)}
            values = [known[value] for value in values]
        elif self.rule.has_const:
            values = [self._const if self.is_nothing(value) else value for value in values]
        if not self._may_be_unfit:
            return values, _NO_UNFIT
        unfit = [at for at, value in enumerate(values) if value is UNFIT]
        return ([None if value is UNFIT else value for value in values] if unfit else values), unfit

    def _chosen(self, columns: Columns) -> Column:
        """For each record the value of the first path that has one."""
        values = self._read(columns, 0)
        for at in range(1, len(self.ways)):
            values = [
                other if self.is_nothing(value) else value
                for value, other in zip(values, self._read(columns, at), strict=True)
            ]
        return values

    def _key(self, value: Any) -> str | None:
        """The key for a value in the table, with or without whitespace around it; None if there is none."""
        if self._table is None or value.__class__ is not str or len(value) > self._longest:
            return None
        return next((key for key in (value, value.strip()) if key in self._table), None)

    def _looked_up(self, value: Any) -> Any:
        """The table's entry for a value; else the default, if there is one; else None for no value, UNFIT for any other."""
        key = self._key(value)
        if key is not None and self._table is not None:
            return self._table[key]
        if self.rule.has_const:
            return self._const
        return None if self.is_nothing(value) else UNFIT

    def origin(self, columns: Columns) -> Origin:
        """Where the first record's value comes from."""
        value = self._chosen(columns)[0] if self.ways else None
        if self._key(value) is not None:
            return Origin.MAP
        if self.rule.has_const and self.rule.paths and (self._table is not None or self.is_nothing(value)):
            return Origin.DEFAULT
        return Origin.RECORD

    def _read(self, columns: Columns, at: int) -> Column:
        path, read = self.ways[at]
        column = columns[path]
        return column if read is None else [None if value is None else read(value) for value in column]

    def is_nothing(self, value: Any) -> bool:
        """Whether the next path is tried. A text that is too long counts as a value, without a look at its characters."""
        if value is None or value is UNFIT or not self._is_text:
            return value is None
        return len(value) <= self._longest and not value.strip()

    def taken(self, columns: Columns) -> str | None:
        """The path of the first record's value. If no path has one: None with a default, else the last path."""
        for at, (path, _) in enumerate(self.ways):
            if not self.is_nothing(self._read(columns, at)[0]):
                return path
        return self.ways[-1][0] if self.ways and not self.rule.has_const else None


def _reader(target: str, kinds: Iterable[Kind], rule: FieldRule) -> Reader | None:
    if rule.map is not None:
        return key_reader(kinds)
    if target == "event_time":
        return time_reader(kinds, rule.unit)
    reader: Callable[[Iterable[Kind]], Reader | None] = number_reader if target == "data.value" else text_reader
    return reader(kinds)
