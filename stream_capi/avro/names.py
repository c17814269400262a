"""Full names of Avro types: of a definition, and of a reference to one (Avro specification, "Names").

All code that reads schemas resolves names with these functions, so that a reference always means the same type.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = ("record", "error", "enum", "fixed")


def full_name(definition: Mapping[str, Any], namespace: str) -> str:
    """The full name of a named type that is defined within ``namespace``; empty if its name or namespace is not a string.

    A name with a dot is a full name, and a namespace beside it is ignored. ``""`` is the null namespace.
    """
    name, space = definition.get("name"), definition.get("namespace", namespace)
    if not isinstance(name, str) or not isinstance(space, str):
        return ""
    return name if "." in name or not space else f"{space}.{name}"


def namespace_of(full: str) -> str:
    """The namespace of a full name: the one that the types inside its definition inherit."""
    return full.rpartition(".")[0]


def candidates(name: str, namespace: str) -> tuple[str, ...]:
    """The full names that a reference within ``namespace`` may mean; the first one that is defined counts.

    Without a dot it means a type of the namespace. Many producers also use it for a type of the null namespace, which the
    specification does not allow.
    """
    return (name,) if "." in name or not namespace else (f"{namespace}.{name}", name)


def resolve(name: str, namespace: str, defined: Container[str]) -> str | None:
    """The full name of the defined type that a reference within ``namespace`` means; None if there is none."""
    return next((full for full in candidates(name, namespace) if full in defined), None)
