"""The values at paths, as expressions in the code of the scalar decoder."""

from __future__ import annotations

from collections.abc import Sequence

from stream_capi.avro.hardening import Node
from stream_capi.config.dotted_paths import Path


def tuple_of(root: Node, paths: Sequence[Path]) -> str:
    """The expression of the tuple of the values at paths, where ``v0``, ``v1`` … are the values of the record's fields."""
    # Names of fields enter the code only through repr().
    return f"({''.join(f'{_value(root, path)}, ' for path in paths)})"


def _value(root: Node, path: Path) -> str:
    """Subscripts while the value must be a record, ``get`` while it is a record, map or null, ``follow`` for the rest."""
    numbers = {name: number for number, (name, _) in enumerate(root.fields)}
    first = str(path[0])
    if first not in numbers:
        return "None"
    # here: the types the value may have; sure: every record has it
    code, here, sure = f"v{numbers[first]}", _inside(root, first), True
    for at, step in enumerate(path[1:], 1):
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
