"""Decoded records to columns: the values at each path, for records that the scalar decoder reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stream_capi.avro.hardening import Node
from stream_capi.config.dotted_paths import Path, follow


def compile_rows(root: Node, paths: Sequence[Path]) -> Callable[[Sequence[dict[str, Any]]], list[tuple[Any, ...]]]:
    """Compile the function that returns, for each record, the tuple of its values at the paths."""
    values = "".join(f"{_expression(root, path)}, " for path in paths)
    # Names of fields enter the code only through repr().
    text = f"def read(rows): return [({values}) for row in rows]"
    namespace: dict[str, Any] = {"follow": follow}
    exec(compile(text, f"<columns of {root.name}>", "exec"), namespace)  # noqa: S102
    read: Callable[[Sequence[dict[str, Any]]], list[tuple[Any, ...]]] = namespace["read"]
    return read


def _expression(root: Node, path: Path) -> str:
    """Subscripts while the value must be a record, ``get`` while it is a record, map or null, ``follow`` for the rest."""
    code, here, sure = "row", [root], True  # here: the types the value may have; sure: every record has it
    for at, step in enumerate(path):
        name = str(step)
        if any(node.type not in ("record", "map", "null") for node in here):
            return f"follow({code}, {path[at:]!r})"
        inside = [_inside(node, name) for node in here if node.type != "null"]
        if sure and len(here) == 1 and here[0].type == "record" and inside[0]:
            code = f"{code}[{name!r}]"
        else:
            sure = False
            code = f"(at.get({name!r}) if (at := {code}) is not None else None)"
        here = list({id(node): node for nodes in inside for node in nodes}.values())
        if not here:
            return "None"
    return code


def _inside(node: Node, name: str) -> Sequence[Node]:
    """The types that this field of a record, or the values of a map, may have; empty if there is no such field."""
    inner = node.items if node.type == "map" else dict(node.fields).get(name)
    if inner is None:
        return ()
    return inner.branches or (inner,)
