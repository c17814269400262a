"""A writer's schema: parsed, validated and named, once (contract, section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from stream_capi.avro.encryption import NOTHING_ENCRYPTED, Encrypted
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.hardening import Node, Refused, parse
from stream_capi.avro.names import NAMED, PRIMITIVES, candidates, full_name, namespace_of
from stream_capi.model import Code, Rejection

MAX_CHARACTERS = 1 << 20  # of a schema's text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WriterSchema:
    """The schema that wrote a record.

    ``name`` is the full name of its record; for a union, the names of all its records. ``raw`` is its JSON, self-contained
    (references are inlined where they are first used) and with its logical types; ``parsed`` is the same with names
    resolved. ``digest`` is equal for equal schemas, whatever their keys. ``encrypted`` says what in the records is
    ciphertext.
    """

    key: SchemaKey
    name: str
    raw: Any
    parsed: Node
    digest: str
    encrypted: Encrypted = NOTHING_ENCRYPTED

    @property
    def records(self) -> tuple[WriterSchema | None, ...]:
        """The schemas that a record may have: for a union, one for each branch, None for null; else this one."""
        if self.parsed.type == "record":
            return (self,)
        return tuple(
            replace(self, name=branch.name, parsed=branch) if branch.type == "record" else None
            for branch in self.parsed.branches
        )

    def has_record(self, name: str) -> bool:
        """Whether its records may be of the type with this full name."""
        return any(record is not None and record.name == name for record in self.records)

    def __repr__(self) -> str:
        return f"WriterSchema({self.name}, {self.key})"


class RefusedSchema(NamedTuple):
    """The schema is known, but no event can be read with it; ``reason`` says which rule it breaks."""

    reason: str

    def rejection(self, key: SchemaKey) -> Rejection:
        return Rejection(Code.DECODE_ERROR, f"{key} is refused: {self.reason}")


def build(key: SchemaKey, text: Any, references: Mapping[str, Any] | None = None) -> WriterSchema | RefusedSchema:
    """Parse and validate ``text``, a schema's JSON. ``references``: the parsed JSON of types it refers to, by full name."""
    if not isinstance(text, str):  # a registry's answer may hold anything
        return RefusedSchema("it is not text")
    if len(text) > MAX_CHARACTERS:
        return RefusedSchema(f"longer than {MAX_CHARACTERS} characters")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return RefusedSchema("it is not JSON")
    try:
        if references is not None:
            raw = inline(raw, references)
        node = parse(raw)
        digest = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
    except RecursionError:
        return RefusedSchema("nested too deep")
    except Refused as refused:
        return RefusedSchema(str(refused))
    name = node.name or " | ".join(branch.name for branch in node.branches if branch.name)
    return WriterSchema(key, name, raw, node, digest)


def unknown(key: SchemaKey, where: str) -> Rejection:
    """The rejection of an event whose schema ``where`` doesn't have."""
    return Rejection(Code.UNKNOWN_SCHEMA, f"{key} is not known to {where}")


class UnknownSchemas:
    """Schemas that a source doesn't have, remembered for a limited time.

    Their number is limited, too, because corrupt records may name any of four billion ids. ``clock`` returns seconds.
    """

    SECONDS = 60.0
    LIMIT = 10_000

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[SchemaKey, tuple[float, Rejection]] = {}

    def get(self, key: SchemaKey) -> Rejection | None:
        until, rejection = self._until.get(key, (0.0, None))
        if rejection is not None and self._clock() >= until:
            del self._until[key]
            return None
        return rejection

    def add(self, key: SchemaKey, rejection: Rejection) -> Rejection:
        self._until.pop(key, None)
        if len(self._until) >= self.LIMIT:
            del self._until[next(iter(self._until))]
        self._until[key] = self._clock() + self.SECONDS, rejection
        return rejection


def definitions(raw: Any, namespace: str = "") -> dict[str, Any]:
    """Every named type that a schema defines, by full name; each states its namespace, so that it can be moved."""
    found: dict[str, Any] = {}
    if isinstance(raw, list):
        for part in raw:
            found |= definitions(part, namespace)
    elif isinstance(raw, dict):
        named = raw.get("type") in NAMED
        if named and (full := full_name(raw, namespace)):
            namespace = namespace_of(full)
            found[full] = {**raw, "namespace": namespace}
        # In a named type, these keys are attributes that a user added.
        for part in ("type", "items", "values") if not named else ():
            found |= definitions(raw.get(part), namespace)
        fields = raw.get("fields") if named else ()
        for field in fields if isinstance(fields, list) else ():
            found |= definitions(field.get("type") if isinstance(field, dict) else None, namespace)
    return found


def inline(raw: Any, references: Mapping[str, Any]) -> Any:
    """``raw`` with the definition of each referenced name in place of its first use."""
    return _Inliner(references).visit(raw, "", moved=False)


class _Inliner:
    def __init__(self, references: Mapping[str, Any]) -> None:
        self.references = references
        self.defined: set[str] = set()

    def visit(self, node: Any, namespace: str, *, moved: bool) -> Any:
        """``moved``: the node is part of a reference. There a type that is already defined stays a name."""
        if isinstance(node, list):
            return [self.visit(branch, namespace, moved=moved) for branch in node]
        if isinstance(node, str):
            return self._name(node, namespace)
        if not isinstance(node, dict):
            return node
        if node.get("type") in NAMED:
            full = full_name(node, namespace)
            if moved and full in self.defined:
                return full
            self.defined.add(full)
            return self._definition(node, namespace_of(full), moved=moved)
        parts = [part for part in ("type", "items", "values") if part in node and node[part] not in ("array", "map")]
        return node | {part: self.visit(node[part], namespace, moved=moved) for part in parts}

    def _definition(self, node: dict[str, Any], namespace: str, *, moved: bool) -> Any:
        fields = node.get("fields")
        if not isinstance(fields, list):
            return node
        visited = [
            field | {"type": self.visit(field.get("type"), namespace, moved=moved)}
            if isinstance(field, dict)
            else field
            for field in fields
        ]
        return node | {"fields": visited}

    def _name(self, name: str, namespace: str) -> Any:
        if name in PRIMITIVES:
            return name
        for candidate in candidates(name, namespace):
            if candidate in self.defined:
                return name
            if candidate in self.references:
                return self.visit(self.references[candidate], "", moved=True)
        return name
