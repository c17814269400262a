"""The types of decoded Avro values, and how to read them as text, as a number or as a time (contract, section 4).

The decoder doesn't apply logical types (a decimal is bytes, a time an int). They are applied here, only for mapped fields.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from stream_capi.events.value_rules import LEAST_TIME_MS


class Kind(NamedTuple):
    """A type that the values at a path may have, other than null. ``type`` is Avro's name for it, ``logical`` its logical
    type, which may also be stated by a connector's name (``by_connector``)."""

    type: str
    logical: str = ""
    scale: int = 0
    symbols: tuple[str, ...] = ()
    by_connector: bool = False

    def __str__(self) -> str:
        return self.logical or self.type


class Unfit:
    """Marks a value whose type doesn't fit its field."""


UNFIT = Unfit()
# Converts a decoded value that isn't null. Returns UNFIT if it doesn't fit, None if it is empty.
Reader = Callable[[Any], Any]

_TIMES = {
    "timestamp-millis": 1,
    "local-timestamp-millis": 1,
    "timestamp-micros": 1_000,
    "local-timestamp-micros": 1_000,
    "timestamp-nanos": 1_000_000,
    "local-timestamp-nanos": 1_000_000,
}
_OTHER_TIMES = ("date", "time-millis", "time-micros", "time-nanos", "duration")
VARIABLE_DECIMAL = "VariableScaleDecimal"
_DECIMALS = ("decimal", "big-decimal", VARIABLE_DECIMAL)
_DAY_MS = 86_400_000
_NO_TIME = (0, 1)  # in place of a multiplier and a divisor: not a time
_PLAIN_TEXT = frozenset({"string", "enum"})
_NUMBERS = frozenset({"int", "long", "float", "double"})
_DECIMAL_BYTES = 64  # some 150 digits; the time for longer ones grows with the square of their length
_MOST_SCALE = 300  # as text, a decimal of scale 10^6 would be a megabyte of zeros
_LONGEST = 256  # characters of a number or a time as text, with whitespace around it
_UNITS = {"s": 1000.0, "ms": 1.0, "us": 0.001, "ns": 0.000001}
_UNIT_COUNTS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}
_FLOAT = struct.Struct("f")
_is_number = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_is_moment = re.compile(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[Tt ]"
    r"[0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]{1,12})?)?)?"
    r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
    r"(?:\[[A-Za-z0-9_+/=!:.-]{1,64}\]){0,4}"  # a zone's name, as Java and RFC 9557 have it: the offset says the time
).fullmatch


def text_reader(kinds: Iterable[Kind]) -> Reader | None:
    """Reads text; None if every value is text already. Integers become their digits, because an id may be a long."""
    return _text_reader(tuple(kinds), _as_id)


def _text_reader(kinds: tuple[Kind, ...], of_decimal: Callable[[Decimal], str]) -> Reader | None:
    if all(kind.type in _PLAIN_TEXT for kind in kinds):
        return None
    ints = any(kind.type in ("int", "long") and not _is_time(kind) for kind in kinds)
    exact = 2**24 if any(kind.type == "float" for kind in kinds) else 2**53  # above it, not every integer is a float
    from_other = _other_reader(kinds)

    def read(value: Any) -> Any:
        if value.__class__ is str:
            return value
        if value.__class__ is int:
            return str(value) if ints else UNFIT
        if value.__class__ is float:
            return str(int(value)) if value.is_integer() and abs(value) < exact else UNFIT
        found = from_other(value)
        if isinstance(found, Decimal):
            return of_decimal(found)
        return found if isinstance(found, str) else UNFIT

    return read


def _as_written(number: Decimal) -> str:
    return format(number, "f")


def _as_id(number: Decimal) -> str:
    """Without decimal places if they are all zero: a database may have an id as NUMERIC(38, 10)."""
    whole = number.to_integral_value()
    return _as_written(whole if whole == number else number)


def key_reader(kinds: Iterable[Kind]) -> Reader | None:
    """Reads the key of a table: all that can be text, and booleans and fractions as JSON writes them."""
    kinds = tuple(kinds)
    text, exact = _text_reader(kinds, _as_written), _float_reader(kinds)
    if text is None:
        return None

    def read(value: Any) -> Any:
        if value.__class__ is bool:
            return "true" if value else "false"
        return str(exact(value)) if value.__class__ is float and not value.is_integer() else text(value)

    return read


def number_reader(kinds: Iterable[Kind]) -> Reader | None:
    """Reads a number; None if every value is one already."""
    kinds = tuple(kinds)
    exact = _float_reader(kinds)
    if exact is float and all(kind.type in _NUMBERS and not _is_time(kind) for kind in kinds):
        return None
    numbers = any(kind.type in _NUMBERS and not _is_time(kind) for kind in kinds)
    from_other = _other_reader(kinds)

    def read(value: Any) -> Any:
        if value.__class__ is int:
            return value if numbers else UNFIT
        if value.__class__ is float:
            return exact(value) if numbers else UNFIT
        if value.__class__ is str and len(value) <= _LONGEST:
            text = value.strip()
            return float(text) if _is_number(text) else UNFIT if text else None
        found = from_other(value)
        return float(found) if isinstance(found, Decimal) else UNFIT

    return read


def _float_reader(kinds: Iterable[Kind]) -> Callable[[float], float]:
    """Reads the floats among numbers: ``_shortest`` if all have 32 bits, else ``float``."""
    types = {kind.type for kind in kinds}
    return _shortest if "float" in types and "double" not in types else float


def _shortest(value: float) -> float:
    """The shortest number that a 32-bit float stands for: 19.99, where the nearest double is 19.989999771118164."""
    shortened = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next((found for found in shortened if _FLOAT.unpack(_FLOAT.pack(found))[0] == value), value)


def time_reader(kinds: Iterable[Kind], unit: str | None) -> Reader | None:
    """Reads epoch milliseconds; None if every value is that already.

    With the unit ``s`` small numbers are valid, but only those that count seconds: not what the schema calls milliseconds.
    """
    kinds = tuple(kinds)
    if unit != "s" and all(kind.logical in ("timestamp-millis", "local-timestamp-millis") for kind in kinds):
        return None
    is_stated = any(map(_is_time, kinds))
    is_exact = all(kind.type != "float" for kind in kinds)
    counts = {_counts(kind, unit) for kind in kinds if kind.type in ("int", "long")}
    # If the types count in different units, a value doesn't say which one it has.
    times, over = counts.pop() if len(counts) == 1 else _NO_TIME
    factor = _UNITS[unit or "ms"]

    def read(value: Any) -> Any:
        if value.__class__ is int:
            found = value * times // over
            return UNFIT if not times or (is_stated and found < LEAST_TIME_MS) else found
        if value.__class__ is float and is_exact:
            value *= factor  # a very large one becomes infinite
            return round(value) if math.isfinite(value) else UNFIT
        if value.__class__ is str and len(value) <= _LONGEST:
            text = value.strip()
            return _moment(text, factor if unit else None) if text else None
        return UNFIT

    return read


def _counts(kind: Kind, unit: str | None) -> tuple[int, int]:
    """The multiplier and the divisor that turn an integer of this kind into milliseconds."""
    if kind.logical in _TIMES:
        return 1, _TIMES[kind.logical]
    if kind.logical == "date":
        return _DAY_MS, 1
    if _is_time(kind):
        return _NO_TIME
    return _UNIT_COUNTS[unit or "ms"]


def _moment(text: str, factor: float | None) -> int | Unfit:
    if _is_moment(text):
        try:
            at = datetime.fromisoformat(text.partition("[")[0].replace(",", ".").upper())
        except (ValueError, OverflowError):
            return UNFIT
        if not at.tzinfo:
            return UNFIT
        found = round(at.timestamp() * 1000)
        return found if found >= LEAST_TIME_MS else UNFIT
    if factor is not None and _is_number(text):
        return int(Decimal(text) * Decimal(str(factor)))
    return UNFIT


def _other_reader(kinds: tuple[Kind, ...]) -> Callable[[Any], Decimal | str | None]:
    """Reads values that are encoded in bytes: a decimal, or a UUID as text. None for any other value."""
    written = written_decimals(kinds)
    logical, scale = written.pop() if len(written) == 1 else ("", 0)  # of several, a value doesn't say which one it has
    uuid, variable = (any(kind.logical == name for kind in kinds) for name in ("uuid", VARIABLE_DECIMAL))

    def read(value: Any) -> Decimal | str | None:
        if value.__class__ is not bytes:
            return _scaled(value) if variable and value.__class__ is dict else None
        if logical == "decimal" and (found := _decimal(value, scale)) is not None:
            return found
        if logical == "big-decimal":
            return _big_decimal(value)
        return str(UUID(bytes=value)) if uuid and len(value) == 16 else None

    return read


def readable(kinds: Iterable[Kind], value: Any) -> Any:
    """A value as people write it: a decimal or a UUID instead of its bytes; any other value as it is."""
    found = _other_reader(tuple(kinds))(value)
    return value if found is None else found


def written_decimals(kinds: Iterable[Kind]) -> set[tuple[str, int]]:
    """The different encodings of decimals in bytes: logical type and scale."""
    return {(kind.logical, kind.scale) for kind in kinds if kind.logical in ("decimal", "big-decimal")}


def _decimal(unscaled: bytes, scale: int) -> Decimal | None:
    if len(unscaled) > _DECIMAL_BYTES or abs(scale) > _MOST_SCALE:
        return None
    return Decimal(f"{int.from_bytes(unscaled, 'big', signed=True)}e{-scale}")


def _big_decimal(value: bytes) -> Decimal | None:
    """Avro's ``big-decimal``: the unscaled number as bytes and the scale as an int, both in Avro's own encoding."""
    length, at = _varint(value, 0)
    scale, end = _varint(value, at + length)
    return _decimal(value[at : at + length], scale) if length >= 0 and end == len(value) else None


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position behind it; that is past the end if there is no number."""
    number = shift = 0
    for byte in value[at : at + 5]:
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    return 0, len(value) + 1


def _scaled(value: dict[str, Any]) -> Decimal | None:
    """Debezium's VariableScaleDecimal."""
    scale, unscaled = value.get("scale"), value.get("value")
    return _decimal(unscaled, scale) if scale.__class__ is int and unscaled.__class__ is bytes else None


def _is_time(kind: Kind) -> bool:
    return kind.logical in _TIMES or kind.logical in _OTHER_TIMES


def may_be_text(kind: Kind) -> bool:
    """Whether any value of the kind can be read as text."""
    if kind.logical in _DECIMALS:
        return True
    if kind.type in ("bytes", "fixed"):
        return kind.logical == "uuid"
    return kind.type in (*_PLAIN_TEXT, *_NUMBERS) and not _is_time(kind)


def may_be_key(kind: Kind) -> bool:
    """Whether any value of the kind can be the key of a table."""
    return kind.type == "boolean" or may_be_text(kind)


def may_be_number(kind: Kind) -> bool:
    """Whether any value of the kind can be read as a number."""
    return kind.logical in _DECIMALS or (kind.type in (*_NUMBERS, "string") and not _is_time(kind))


def may_be_time(kind: Kind) -> bool:
    """Whether any value of the kind can be read as a time. A 32-bit float has the seconds of today in steps of 128."""
    return (
        kind.logical in _TIMES
        or kind.logical == "date"
        or (kind.type in (*_NUMBERS, "string") and kind.type != "float" and not _is_time(kind))
    )


def says_unit(kind: Kind, unit: str) -> bool:
    """Whether the schema states the unit of a time. A connector's name counts only if it contradicts ``unit``."""
    return _is_time(kind) and not (kind.by_connector and _UNIT_COUNTS[unit] == _counts(kind, None))
