"""Parses a writer's schema into a tree, from which the worst case is known before the first byte is decoded.

Schemas come from a registry that other teams write to, so a schema is untrusted input, too. Refused are schemas under which
a few bytes could exhaust the process's memory: recursive ones, arrays whose items take no bytes, and those whose smallest
value is already huge (a record of records of records … of nulls doubles with every level). Limits on fields, types,
branches and names keep the compiled reader small, because compiling it blocks the event loop. Each node states

* ``least``: the fewest bytes that a value of it takes on the wire,
* ``fixed`` and ``ratio``: decoded, a value of *n* bytes takes at most ``fixed + ratio * n`` bytes of memory, and
* ``of_item``: the most memory that each item of an array or a map takes, without its texts and its own items.

The decoder adds up the items of a record, and rejects it if they would take more than ``MAX_DECODED``. Logical types are
ignored (a decimal stays bytes, a time an int): converting a 400 KB decimal takes 16 s, and most values are never used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream_capi.avro.names import PRIMITIVES, candidates, full_name, namespace_of, resolve

MAX_DEPTH = 64
MAX_FIELDS = 2_000
MAX_TYPES = 8_000  # each use of a type counts, because each is some lines of the compiled reader
MAX_BRANCHES = 256  # of one union
MAX_SYMBOLS = 10_000  # of one enum
MAX_NAME = 1_024  # characters of a name or a symbol
MAX_FIXED_MEMORY = 16 << 20
MAX_PAYLOAD = 8 << 20
# Bytes of memory that a record's fields and items may take. Its texts come on top, with up to five times their bytes.
MAX_DECODED = 32 << 20

_LEAST = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}
_FIXED = {"null": 0, "boolean": 0, "int": 40, "long": 40, "float": 24, "double": 24, "bytes": 40, "string": 80}
_RATIO = {"bytes": 1.0, "string": 5.0}  # one emoji makes every character of a string four bytes wide
_LIST_ITEM, _DICT_ITEM, _CONTAINER = 9, 110, 64  # upper bounds for CPython, growth included
# Control characters, line separators and lone surrogates: they can't be put into a header, a terminal or UTF-8 text.
_forbidden = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


class Refused(Exception):
    """The schema is not an Avro schema, or not a safe one. The text has the broken rule, and the type's or field's name."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Node:
    """One type of a schema, names resolved. ``type`` is a primitive's name, or record, enum, fixed, array, map, union."""

    type: str
    name: str = ""
    fields: tuple[tuple[str, Node], ...] = ()
    items: Node | None = None
    branches: tuple[Node, ...] = ()
    symbols: tuple[str, ...] = ()
    size: int = 0
    depth: int = 1
    least: int = 0
    fixed: int = 0
    ratio: float = 0.0
    of_item: int = 0

    def __repr__(self) -> str:
        return f"Node({self.type} {self.name})" if self.name else f"Node({self.type})"

    @property
    def inside(self) -> list[Node]:
        """The types directly inside: of fields, of a union's branches, of items."""
        return [*(field for _, field in self.fields), *self.branches, *([self.items] if self.items else [])]


_PRIMITIVE_NODES = {
    name: Node(name, least=_LEAST[name], fixed=_FIXED[name], ratio=_RATIO.get(name, 0.0)) for name in PRIMITIVES
}


_ODD_NAME = f"a name or symbol has control characters or surrogates in it, or more than {MAX_NAME} characters"


def is_name(text: str) -> bool:
    """Whether a text may be a name or a symbol. Allows more than Avro's rule, which many producers break."""
    return len(text) <= MAX_NAME and not _forbidden(text)


def parse(raw: Any) -> Node:
    """The tree of a self-contained schema, whose top-level type is a record or a union of records and null.

    :param raw: the schema's JSON, parsed.
    :raises Refused: it is not Avro, or not safe to decode with.
    """
    node = _Reader().read(raw, "", 1)
    _check_top(node)
    if node.fixed > MAX_FIXED_MEMORY:
        raise Refused("its smallest value takes too much memory")
    return node


def _check_top(node: Node) -> None:
    if node.type not in ("record", "union"):
        raise Refused(f"its top level is {node.type}, but an event must be a record")
    met: set[str] = set()
    for branch in node.branches:
        if branch.type not in ("record", "null"):
            raise Refused(f"its top level is a union with {branch.type}, but an event must be a record")
        name = branch.name or branch.type
        if name in met:
            raise Refused(f"its top level has {name} twice")
        met.add(name)
    if met == {"null"}:
        raise Refused("its top level is a union without a record")


class _Reader:
    def __init__(self) -> None:
        self.named: dict[str, Node | None] = {}  # None while the type's own definition is being read
        self.type_count = 0
        self.field_count = 0

    def read(self, raw: Any, namespace: str, depth: int) -> Node:
        self.type_count += 1
        if self.type_count > MAX_TYPES:
            raise Refused(f"more than {MAX_TYPES} types")
        if depth > MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(raw, str):
            node = _PRIMITIVE_NODES.get(raw) or self._reference(raw, namespace)
        elif isinstance(raw, list):
            node = self._union(raw, namespace, depth)
        elif isinstance(raw, dict):
            node = self._complex(raw, namespace, depth)
        else:
            raise Refused("invalid Avro schema: a type is neither a name, a list nor an object")
        if depth + node.depth - 1 > MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH} levels")
        return node

    def _reference(self, name: str, namespace: str) -> Node:
        if not is_name(name):
            raise Refused(_ODD_NAME)
        full = resolve(name, namespace, self.named)
        if full is None:
            raise Refused(f"invalid Avro schema: unknown type {candidates(name, namespace)[0]}")
        node = self.named[full]
        if node is None:
            raise Refused(f"recursive: {full} contains itself")
        return node

    def _complex(self, raw: Mapping[str, Any], namespace: str, depth: int) -> Node:
        kind = raw.get("type")
        if not isinstance(kind, str):
            return self.read(kind, namespace, depth + 1)
        if kind in ("record", "error"):
            return self._record(raw, namespace, depth)
        if kind == "enum":
            return self._enum(raw, namespace)
        if kind == "fixed":
            return self._fixed(raw, namespace)
        if kind in ("array", "map"):
            return self._collection(kind, raw, namespace, depth)
        return self.read(kind, namespace, depth + 1)

    def _define(self, raw: Mapping[str, Any], namespace: str) -> tuple[str, str]:
        name, space, full = raw.get("name"), raw.get("namespace", namespace), full_name(raw, namespace)
        if not name or not full:
            raise Refused("invalid Avro schema: a named type has no name")
        if not is_name(name) or not is_name(space or name):
            raise Refused(_ODD_NAME)
        if full.rpartition(".")[2] in PRIMITIVES:
            raise Refused(f"invalid Avro schema: {full} is named like a primitive type")
        if full in self.named:
            raise Refused(f"invalid Avro schema: {full} is defined twice")
        self.named[full] = None
        return full, namespace_of(full)

    def _record(self, raw: Mapping[str, Any], namespace: str, depth: int) -> Node:
        full, inner = self._define(raw, namespace)
        stated = raw.get("fields")
        if not isinstance(stated, list):
            raise Refused(f"invalid Avro schema: record {full} has no list of fields")
        self.field_count += len(stated)
        if self.field_count > MAX_FIELDS:
            raise Refused(f"more than {MAX_FIELDS} fields")
        fields: dict[str, Node] = {}
        for field in stated:
            name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(name, str) or not name or "type" not in field or name in fields:
                raise Refused(f"invalid Avro schema: a field of {full} has no type, or no name of its own")
            if not is_name(name):
                raise Refused(_ODD_NAME)
            fields[name] = self.read(field["type"], inner, depth + 1)
        nodes = fields.values()
        node = Node(
            "record",
            full,
            fields=tuple(fields.items()),
            depth=1 + max((n.depth for n in nodes), default=0),
            least=sum(n.least for n in nodes),
            fixed=_CONTAINER + sum(_DICT_ITEM + n.fixed for n in nodes),
            ratio=max((n.ratio for n in nodes), default=0.0),
        )
        self.named[full] = node
        return node

    def _enum(self, raw: Mapping[str, Any], namespace: str) -> Node:
        full, _ = self._define(raw, namespace)
        symbols = raw.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(s, str) for s in symbols):
            raise Refused(f"invalid Avro schema: enum {full} has no symbols")
        if len(symbols) > MAX_SYMBOLS:
            raise Refused(f"an enum of more than {MAX_SYMBOLS} symbols")
        if not all(map(is_name, symbols)):
            raise Refused(_ODD_NAME)
        node = self.named[full] = Node("enum", full, symbols=tuple(symbols), least=1)
        return node

    def _fixed(self, raw: Mapping[str, Any], namespace: str) -> Node:
        full, _ = self._define(raw, namespace)
        size = raw.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_PAYLOAD:
            raise Refused(f"fixed {full} has no size between 0 and {MAX_PAYLOAD}")
        node = self.named[full] = Node("fixed", full, size=size, least=size, fixed=40, ratio=1.0)
        return node

    def _collection(self, kind: str, raw: Mapping[str, Any], namespace: str, depth: int) -> Node:
        stated = raw.get("items" if kind == "array" else "values")
        item = self.read(stated, namespace, depth + 1)
        if kind == "array":
            least, fixed, ratio = item.least, item.fixed + _LIST_ITEM, item.ratio
            if not least:
                raise Refused("an array's items take no bytes, so a few bytes could declare any number of them")
        else:
            key = _PRIMITIVE_NODES["string"]
            least, fixed, ratio = 1 + item.least, item.fixed + key.fixed + _DICT_ITEM, max(item.ratio, key.ratio)
        ratio += fixed / least
        return Node(kind, items=item, depth=1 + item.depth, least=1, fixed=_CONTAINER, ratio=ratio, of_item=fixed)

    def _union(self, raw: list[Any], namespace: str, depth: int) -> Node:
        if len(raw) > MAX_BRANCHES:
            raise Refused(f"a union of more than {MAX_BRANCHES} branches")
        branches = tuple(self.read(branch, namespace, depth + 1) for branch in raw)
        if not branches or any(branch.type == "union" for branch in branches):
            raise Refused("invalid Avro schema: a union is empty, or holds a union")
        return Node(
            "union",
            branches=branches,
            depth=1 + max(b.depth for b in branches),
            least=1 + min(b.least for b in branches),
            fixed=max(b.fixed for b in branches),
            ratio=max(b.ratio for b in branches),
        )
