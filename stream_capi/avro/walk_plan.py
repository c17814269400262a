"""Builds the steps of a walk from a schema and the paths that the mapping needs; done once for each schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stream_capi.avro.decode import Reader
from stream_capi.avro.hardening import Node
from stream_capi.avro.nullable_steps import Optional, OptionalNumber, OptionalReal, OptionalSymbol, OptionalText
from stream_capi.avro.steps import (
    BOOLEAN,
    Fields,
    Fixed,
    Items,
    Nothing,
    Number,
    Real,
    Step,
    Symbol,
    Text,
    Union,
    one_byte,
)
from stream_capi.config.dotted_paths import Path

_MOST_BRANCHES = 64  # with so many, an index is one byte
_MOST_SYMBOLS = 64

_OPTIONAL: dict[str, type[Optional]] = {
    "int": OptionalNumber,
    "long": OptionalNumber,
    "float": OptionalReal,
    "double": OptionalReal,
    "bytes": OptionalText,
    "string": OptionalText,
}
Wanted = Sequence[tuple[int, Path]]
_KINDS: dict[str, Callable[[Node, Callable[[Node], Reader], Wanted], Step]] = {
    "null": Nothing,
    "boolean": Symbol,
    "enum": Symbol,
    "int": Number,
    "long": Number,
    "float": Real,
    "double": Real,
    "bytes": Text,
    "string": Text,
    "fixed": Fixed,
}


class WalkPlan:
    """``room``: how many zero bytes in a row the steps of one record can read at most."""

    def __init__(self, root: Node, paths: Sequence[Path], reader: Callable[[Node], Reader]) -> None:
        self.room = _Rooms().of(root)
        self._reader = reader
        self._known: dict[tuple[int, tuple[tuple[int, Path], ...]], Step] = {}
        self.step = self._step(root, list(enumerate(paths)))

    def _step(self, node: Node, wanted: Wanted) -> Step:
        key = (id(node), tuple(wanted))  # each step is built once: nested unions of the same records would multiply
        step = self._known.get(key)
        if step is None:
            step = self._known[key] = self._written(node, wanted)
        return step

    def _written(self, node: Node, wanted: Wanted) -> Step:
        if node.type == "union":
            return self._union(node, wanted)
        whole = any(not path for _, path in wanted)
        if node.type == "record":
            if whole:
                return Step(node, self._reader, wanted)
            fields = [
                self._step(field, [(column, path[1:]) for column, path in wanted if str(path[0]) == name])
                for name, field in node.fields
            ]
            return Fields(node, self._reader, wanted, fields)
        if node.items is not None:
            return Step(node, self._reader, wanted) if wanted else Items(node, self._reader, self._step(node.items, ()))
        return _KINDS[node.type](node, self._reader, [here for here in wanted if not here[1]])

    def _union(self, node: Node, wanted: Wanted) -> Step:
        if len(node.branches) > _MOST_BRANCHES:
            return Step(node, self._reader, wanted)
        union = Union(node, self._reader, wanted, [self._step(branch, wanted) for branch in node.branches])
        if len(node.branches) != 2 or node.branches[0].type == node.branches[1].type:
            return union
        null, value = node.branches if node.branches[0].type == "null" else node.branches[::-1]
        if null.type != "null":
            return union
        tag = 2 * node.branches.index(value)
        if value.type in ("boolean", "enum") and len(value.symbols) <= _MOST_SYMBOLS and union.column is None:
            table = BOOLEAN if value.type == "boolean" else one_byte(len(value.symbols))
            return OptionalSymbol(union, self._reader, tag, table)
        optional = _OPTIONAL.get(value.type)
        return union if optional is None else optional(union, self._reader, tag)


class _Rooms:
    """How many bytes a value takes at most if all bytes are zero, whichever branches of unions are read."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def of(self, node: Node) -> int:
        room = self._known.get(id(node))
        if room is None:
            room = self._known[id(node)] = self._counted(node)
        return room

    def _counted(self, node: Node) -> int:
        if node.type == "record":
            return sum(self.of(field) for _, field in node.fields)
        if node.branches:
            return 1 + max(map(self.of, node.branches))
        return max(node.least, 1) + (1 + self.of(node.items) if node.items is not None else 0)
