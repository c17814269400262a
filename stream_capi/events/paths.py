"""Paths into a record: looked up in a writer's schema, and read from decoded records (contract, section 4).

``customer.contact.email`` goes through records, ``headers."x.y"`` to a map's key with a dot, ``items[0].price`` through an
array (``items.0.price`` does, too). In a union the path is followed into each branch; if a record's value has another branch,
the path reads as null. ``$record`` is not a field: it means the full name of the record's type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from stream_capi.avro.names import NAMED, full_name, namespace_of, resolve
from stream_capi.config.dotted_paths import Step, follow, steps
from stream_capi.events.kinds import VARIABLE_DECIMAL, Kind
from stream_capi.model import Rejection, Table

RECORD = "$record"
_OTHERS = ("boolean", "int", "long", "float", "double", "bytes", "string", "array", "map")
# The types that a logical type may annotate. On any other type it is ignored, like an unknown one (Avro specification).
_UNDER = {
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-micros": ("long",),
    "timestamp-nanos": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-micros": ("long",),
    "local-timestamp-nanos": ("long",),
    "decimal": ("bytes", "fixed"),
    "big-decimal": ("bytes",),
    "uuid": ("string", "fixed"),
    "duration": ("fixed",),
}

# The names that connectors write as ``connect.name``: the type that they annotate, and the logical type that they mean.
_CONNECT = {
    "org.apache.kafka.connect.data.Timestamp": ("long", "timestamp-millis"),
    "org.apache.kafka.connect.data.Date": ("int", "date"),
    "org.apache.kafka.connect.data.Time": ("int", "time-millis"),
    "io.debezium.time.Timestamp": ("long", "timestamp-millis"),
    "io.debezium.time.MicroTimestamp": ("long", "timestamp-micros"),
    "io.debezium.time.NanoTimestamp": ("long", "timestamp-nanos"),
    "io.debezium.time.Date": ("int", "date"),
    "io.debezium.time.Time": ("int", "time-millis"),
    "io.debezium.time.MicroTime": ("long", "time-micros"),
    "io.debezium.time.NanoTime": ("long", "time-nanos"),
}
_CONNECT_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_LONGEST_DOC = 1_000  # characters
_VARIABLE_DECIMAL = "io.debezium.data.VariableScaleDecimal"


class MissingPath(NamedTuple):
    """A path that the schema doesn't have: the part that exists, the step that fails, and the names that exist there."""

    before: str
    step: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        if not self.known:
            return f'{self.where()} no "{self.step}" in it'
        close = self.nearest()
        hint = f'did you mean "{close}"?' if close else f"it has {', '.join(self.known[:12])}"
        return f'{self.where()} no "{self.step}"; {hint}'

    def where(self) -> str:
        """The beginning of the sentence that reports it."""
        return f'"{self.before}" has' if self.before else "the schema has"

    def nearest(self) -> str | None:
        """The path that was probably meant, by the names that exist where this one fails."""
        close = get_close_matches(self.step, self.known)
        return f"{self.before}.{close[0]}".removeprefix(".") if close else None


class Found(NamedTuple):
    """A path that the schema has, with the types of its values."""

    kinds: frozenset[Kind]


class Leaf(NamedTuple):
    """A path to a field, with the types of its values and its doc."""

    path: str
    kinds: frozenset[Kind]
    doc: str = ""


class Schema:
    """A writer's schema as JSON, in which paths are looked up.

    ``record``: the full name of the record in which paths begin, if the schema's top-level type is a union.
    """

    def __init__(self, raw: Any, record: str = "") -> None:
        self._named: dict[str, tuple[Any, str]] = {}
        self._collect(raw, "")
        self.root = self._named[record] if record else (raw, "")

    @property
    def record(self) -> str:
        """The full name of the record in which paths begin."""
        return next((full_name(node, space) for node, space in self.branches(*self.root)), "")

    def _collect(self, node: Any, space: str) -> None:
        if isinstance(node, list):
            for branch in node:
                self._collect(branch, space)
        elif isinstance(node, dict):
            kind = node.get("type")
            if kind in NAMED:
                full = full_name(node, space)
                space = namespace_of(full)
                self._named.setdefault(full, (node, space))
            for inner in _types_in(node):
                if isinstance(inner, (dict, list)):
                    self._collect(inner, space)

    def branches(self, node: Any, space: str) -> Iterator[tuple[Any, str]]:
        """The types that a value may have, other than null. Unions are flattened, and names are resolved."""
        if isinstance(node, list):
            for branch in node:
                yield from self.branches(branch, space)
        elif isinstance(node, str):
            full = resolve(node, space, self._named)
            if full is not None:
                yield self._named[full]
            elif node != "null":
                yield {"type": node}, space
        elif isinstance(node.get("type"), (dict, list)):
            yield from self.branches(node["type"], space)
        elif node.get("type") in NAMED:
            yield node, namespace_of(full_name(node, space))
        elif node.get("type") in _OTHERS:
            yield node, space
        else:
            yield from self.branches(node["type"], space)

    def find(self, path: str) -> Found | MissingPath:
        """Look up a path."""
        if path == RECORD:
            return Found(frozenset({Kind("enum", symbols=(self.record,))}))
        here, before = [self.root], ""
        for step in steps(path):
            # Each type once: nested unions of the same records would multiply with every step.
            met = [branch for node, space in here for branch in self.branches(node, space)]
            branches = list({id(branch[0]): branch for branch in met}.values())
            here = [way for node, space in branches if (way := _way(node, space, step)) is not None]
            if not here:
                return MissingPath(before, str(step), tuple(_names_in(branches)))
            before = f"{before}.{step}".removeprefix(".")
        kinds = {_kind(node) for node, space in here for node, _ in self.branches(node, space)}
        return Found(frozenset(kinds))

    def leaves(self, limit: int = 400) -> list[tuple[str, frozenset[Kind]]]:
        """Every path through records and the first items of arrays, for guesses and hints."""
        return [(leaf.path, leaf.kinds) for leaf in self.described_leaves(limit)]

    def described_leaves(self, limit: int = 400) -> list[Leaf]:
        """As ``leaves``, with the docs of the fields."""
        found: list[Leaf] = []
        self._leaves(self.root, "", 0, found, limit)
        return found

    def _leaves(self, at: tuple[Any, str], before: str, depth: int, found: list[Leaf], limit: int) -> None:
        for node, space in self.branches(*at):
            for field in node.get("fields", ()) if node.get("type") in ("record", "error") else ():
                path = f"{before}.{field['name']}".removeprefix(".")
                inner = list(self.branches(field["type"], space))
                arrays = [(node["items"], space) for node, space in inner if node.get("type") == "array"]
                for of_field, to in ((field["type"], space), path), *((items, f"{path}[0]") for items in arrays):
                    if depth < 6:
                        self._leaves(of_field, to, depth + 1, found, limit)
                if len(found) >= limit:
                    return
                doc = field.get("doc")
                kinds = frozenset(_kind(node) for node, _ in inner)
                found.append(Leaf(path, kinds, doc[:_LONGEST_DOC] if isinstance(doc, str) else ""))


def _types_in(node: Mapping[str, Any]) -> list[Any]:
    """The types inside a type. Its other attributes were added by users, and don't count, whatever their names."""
    kind = node.get("type")
    if kind in ("record", "error"):
        return [field["type"] for field in node["fields"]]
    return [node[{"array": "items", "map": "values"}[kind]] if kind in ("array", "map") else kind]


def _way(node: Mapping[str, Any], space: str, step: Step) -> tuple[Any, str] | None:
    """The type to which a step into a type leads, and its namespace; None if the step leads nowhere."""
    kind = node.get("type")
    if kind in ("record", "error"):
        inner = next((field["type"] for field in node["fields"] if field["name"] == step), None)
        return None if inner is None else (inner, space)
    if kind == "map":
        return node["values"], space
    if kind == "array" and (isinstance(step, int) or step.isdecimal()):
        return node["items"], space
    return None


def _names_in(branches: Iterable[tuple[Any, str]]) -> Iterator[str]:
    for node, _ in branches:
        if node.get("type") in ("record", "error"):
            yield from (field["name"] for field in node["fields"])


def takes_null(node: Any) -> bool:
    """Whether a type has null among its values."""
    if isinstance(node, list):
        return any(takes_null(branch) for branch in node)
    return node == "null" or (isinstance(node, dict) and takes_null(node.get("type")))


def read(row: Any, path: str) -> Any:
    """The value at a path."""
    return follow(row, steps(path))


def table_of(rows: Sequence[Mapping[str, Any] | Rejection], paths: Iterable[str]) -> Table:
    """The decoded records as a table of columns."""
    rejected = {at: row for at, row in enumerate(rows) if isinstance(row, Rejection)}
    return Table(len(rows), {path: [read(row, path) for row in rows] for path in paths}, rejected)


def _kind(node: Mapping[str, Any]) -> Kind:
    kind, logical, scale = str(node.get("type")), node.get("logicalType"), node.get("scale", 0)
    if kind == "enum":
        return Kind(kind, symbols=tuple(node["symbols"]))
    if not isinstance(logical, str) or kind not in _UNDER.get(logical, ()):
        return _connect_kind(kind, node)
    if logical == "decimal":
        return Kind(kind, logical, scale) if scale.__class__ is int and scale >= 0 else _connect_kind(kind, node)
    return Kind(kind, logical)


def _connect_kind(kind: str, node: Mapping[str, Any]) -> Kind:
    """The kind of a type without a valid logical type; a connector's name may state one."""
    name = node.get("connect.name")
    if kind in ("record", "error"):
        return Kind(kind, VARIABLE_DECIMAL) if _VARIABLE_DECIMAL in (name, full_name(node, "")) else Kind(kind)
    if not isinstance(name, str):
        return Kind(kind)
    under, logical = _CONNECT.get(name, ("", ""))
    if kind == under:
        return Kind(kind, logical, by_connector=True)
    stated = node.get("connect.parameters")
    scale = str(stated.get("scale", "")) if isinstance(stated, dict) else ""
    if kind in ("bytes", "fixed") and name == _CONNECT_DECIMAL and _is_scale(scale):
        return Kind(kind, "decimal", int(scale))
    return Kind(kind)


_is_scale = re.compile(r"-?[0-9]{1,6}").fullmatch
