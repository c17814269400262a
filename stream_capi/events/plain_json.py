"""Turns a record in JSON into what the decoder returns for it.

A union's value may be written in two ways: plainly, and in Avro's JSON encoding, ``{"string": "…"}``, which console consumers
print. Bytes are text with one character a byte, as in that encoding; a decimal may also be a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from stream_capi.avro.names import full_name
from stream_capi.events.paths import Schema, takes_null

_MOST_DIGITS = 1_000  # of a decimal
_WHOLE = {"int": 2**31, "long": 2**63}


class NotOfSchema(ValueError):
    """The JSON is not a record of the schema. The text says where and what is expected there, and quotes no value."""


def row_from_json(schema_raw: Any, text: str, record: str = "") -> dict[str, Any]:
    """The decoded record. A field that is left out gets its default, or null.

    ``record``: its full name, if the schema's top-level type is a union. Then the JSON may name it: ``{"acme.Lead": {…}}``.

    :raises NotOfSchema: with the field that doesn't fit.
    """
    try:
        given = json.loads(text, parse_float=Decimal, parse_constant=float)
    except (ValueError, RecursionError, ArithmeticError):  # ArithmeticError: an exponent too large for Decimal
        raise NotOfSchema("it is not JSON") from None
    return row_from(schema_raw, given, record)


def row_from(schema_raw: Any, given: Any, record: str = "") -> dict[str, Any]:
    """As ``row_from_json``, for parsed JSON. Its fractions are ``Decimal``, or floats if these are exact enough.

    :raises NotOfSchema: with the field that doesn't fit.
    """
    try:
        json.dumps(given, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise NotOfSchema("a string in it has a lone surrogate, which UTF-8 can't encode") from None
    except (ValueError, RecursionError):
        raise NotOfSchema("it is not JSON") from None
    schema = _Tried(schema_raw, record)
    if _is_union(schema_raw) and isinstance(given, dict) and list(given) == [record]:
        given = given[record]
    try:
        row = _value(schema, schema.root, given, "")
    except RecursionError:  # deeply nested records, with a recursive schema
        raise NotOfSchema("it is nested too deep") from None
    if not isinstance(row, dict):
        raise NotOfSchema("it is not one record")
    return row


class _Tried(Schema):
    """A schema, and a cache of which part of the JSON is not which record: nested unions try the same pair many times."""

    def __init__(self, raw: Any, record: str) -> None:
        super().__init__(raw, record)
        self.refused: dict[tuple[int, int], NotOfSchema] = {}  # by id() of both; they live as long as this cache


def _value(schema: _Tried, at: tuple[Any, str], given: Any, path: str) -> Any:
    branches = list(schema.branches(*at))
    if given is None:
        if takes_null(at[0]):
            return None
        raise NotOfSchema(f"{path or 'it'} is null")
    if _is_union(at[0]) and isinstance(given, dict) and len(given) == 1:
        (name,) = given
        named = [branch for branch in branches if name in _names(branch)]
        if named:
            branches, given = named, given[name]
    faults = []
    for branch in branches:
        try:
            return _of(schema, branch, given, path)
        except NotOfSchema as fault:
            faults.append(fault)
    raise faults.pop() if len(faults) == 1 else NotOfSchema(f"{path or 'it'} fits none of the types it may have")


def _is_union(node: Any) -> bool:
    return isinstance(node["type"] if isinstance(node, dict) else node, list)


def _names(branch: tuple[Any, str]) -> set[str]:
    """The names of a union's branch in Avro's JSON encoding."""
    node, space = branch
    name = str(node.get("name", node.get("type")))
    return {name, full_name(node, space) or name}


def _of(schema: _Tried, branch: tuple[Any, str], given: Any, path: str) -> Any:
    node, space = branch
    kind = node["type"]
    if kind in ("record", "error"):
        pair = id(node), id(given)
        if (known := schema.refused.get(pair)) is not None:
            raise NotOfSchema(*known.args)
        try:
            return _record(schema, node, space, given, path)
        except NotOfSchema as fault:
            schema.refused[pair] = fault
            raise
    if kind == "array" and isinstance(given, list):
        return [_value(schema, (node["items"], space), item, f"{path}[{at}]") for at, item in enumerate(given)]
    if kind == "map" and isinstance(given, dict):
        return {key: _value(schema, (node["values"], space), item, f'{path}."{key}"') for key, item in given.items()}
    found = _leaf(node, kind, given)
    if found is None:
        raise NotOfSchema(f"{path or 'it'} is not of type {kind}")
    return found


def _record(schema: _Tried, node: Mapping[str, Any], space: str, given: Any, path: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise NotOfSchema(f"{path or 'it'} is not a record")
    fields = {field["name"]: field for field in node["fields"]}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise NotOfSchema(f"{path or 'the schema'} has no field {unknown[0]}")
    row = {}
    for name, field in fields.items():
        inner = f"{path}.{name}".removeprefix(".")
        value = given[name] if name in given else field.get("default")
        if name not in given and value is None and not takes_null(field["type"]):
            raise NotOfSchema(f"{inner} is missing")
        row[name] = _value(schema, (field["type"], space), value, inner)
    return row


def _leaf(node: Mapping[str, Any], kind: str, given: Any) -> Any:
    """A value of a simple type; None if it doesn't fit the type."""
    number = isinstance(given, int | float | Decimal) and not isinstance(given, bool)
    if kind == "boolean":
        return given if isinstance(given, bool) else None
    if kind in _WHOLE:
        whole = isinstance(given, int) and not isinstance(given, bool)
        return given if whole and -_WHOLE[kind] <= given < _WHOLE[kind] else None
    if kind in ("float", "double"):
        return _float(given) if number else None
    if kind in ("string", "enum"):
        return given if isinstance(given, str) and (kind == "string" or given in node["symbols"]) else None
    if kind in ("bytes", "fixed"):
        found = _decimal(node, given) if number and node.get("logicalType") == "decimal" else _bytes(given)
        return found if found is None or kind == "bytes" or len(found) == node["size"] else None
    return None


def _float(given: Any) -> float | None:
    try:
        return float(given)
    except OverflowError:  # an integer beyond the largest float
        return None


def _bytes(given: Any) -> bytes | None:
    try:
        return given.encode("latin-1") if isinstance(given, str) else None
    except UnicodeEncodeError:
        return None


def _decimal(node: Mapping[str, Any], given: Any) -> bytes | None:
    try:
        scaled = Decimal(given).scaleb(int(node.get("scale", 0)))
        if scaled.adjusted() > _MOST_DIGITS:  # an integer of a million digits takes seconds
            return None
        whole = int(scaled.to_integral_exact(ROUND_HALF_EVEN))
    except (ArithmeticError, TypeError, ValueError):  # a number, or a scale, that is invalid
        return None
    size = node["size"] if node["type"] == "fixed" else whole.bit_length() // 8 + 1
    try:
        return whole.to_bytes(size, "big", signed=True)
    except OverflowError:
        return None
