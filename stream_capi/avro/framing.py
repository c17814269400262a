"""Which schema wrote a record: read from the framing before its payload, or from its headers (contract, section 4).

* ``confluent``: ``0x00`` and a 4-byte big-endian schema id before the payload; or ``0x01`` and a 16-byte schema GUID.
  Either may be in the record header ``__value_schema_id`` instead, and the payload then has no framing. The header wins, as
  in Confluent's deserializer, because such a payload may itself begin with a zero byte.
* ``apicurio content``, ``apicurio global``: ``0x00`` and an 8-byte big-endian id of that kind before the payload. Or the id
  is in a record header whose name says the kind.
* ``single_object``: ``C3 01`` and the 8-byte little-endian CRC-64-AVRO fingerprint (Avro specification).
* ``raw``: the payload alone; its schema comes from a file.
* ``auto``: Confluent's header, else the single-object marker, else Confluent's prefix. ``auto or raw``: else raw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from stream_capi.model import Code, Record, Rejection
from stream_capi.record_headers import all_headers

HEADER = "__value_schema_id"
APICURIO = {"content": "apicurio.value.contentId", "global": "apicurio.value.globalId"}
_APICURIO_ENCODING = "apicurio.value.encoding"
_HEADERS = {  # headers that name the schema; the first one that a record has counts
    "confluent": (HEADER,),
    "auto": (HEADER,),
    "auto or raw": (HEADER,),
    "single_object": (),
    **{f"apicurio {kind}": (name, *APICURIO.values()) for kind, name in APICURIO.items()},
}
WIRE_FORMATS = ("raw", *_HEADERS)
_ID_PREFIX, _GUID_PREFIX, _MARKER = b"\x00", b"\x01", b"\xc3\x01"
_ID_LENGTH, _GUID_LENGTH, _MARKER_LENGTH = 5, 17, 10
_APICURIO_LENGTH = 8


class SchemaKey(NamedTuple):
    """How a record names its writer's schema. ``kind`` is ``id``, ``guid``, ``content id``, ``global id`` (both
    Apicurio's), ``fingerprint`` or ``file``.

    The value of a fingerprint is its eight bytes in hex, in the order of the record.
    """

    kind: str
    value: str | int

    def __str__(self) -> str:
        return "schema file" if self.kind == "file" else f"schema {self.kind} {self.value}"


FILE_KEY = SchemaKey("file", "")


class Run(NamedTuple):
    """Consecutive records of one schema: the index of the first, and each one's payload without its framing."""

    key: SchemaKey
    start: int
    payloads: list[bytes]

    def __repr__(self) -> str:
        return f"Run({self.key}, start {self.start}, {len(self.payloads)} payloads)"


class Unframed(NamedTuple):
    """The record at ``index`` doesn't say which schema wrote it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    rejection: Rejection


Framed = Run | Unframed
_Stated = tuple[str, bytes]  # a header
_Found = tuple[SchemaKey, int] | Rejection  # the key and the length of the framing before the payload


def frame(framing: str, records: Sequence[Record], values: Sequence[bytes]) -> list[Framed]:
    """Split a chunk into runs of one schema, in order. ``values`` are the records' values, without tombstones."""
    if not values:
        return []
    if framing == "raw":
        return [Run(FILE_KEY, 0, list(values))]
    find = _FINDERS[framing]
    names = _HEADERS[framing]
    headers = all_headers(records) if names else []
    stated = [_stated(of_record, names) for of_record in headers] if any(headers) else []
    if stated.count(None) == len(stated):
        return _of_one_schema(values, find) or _runs(values, [find(value) for value in values])
    known: dict[_Stated, _Found] = {one: _in_header(*one) for one in stated if one is not None}
    found = [find(v) if text is None else known[text] for v, text in zip(values, stated, strict=True)]
    return _runs(values, found)


def _stated(headers: Sequence[tuple[str, bytes | None]] | None, names: Sequence[str]) -> _Stated | None:
    """The header that names the schema, or the one that says that the payload is not binary Avro."""
    if not headers:
        return None
    if len(names) == 1:
        return next(((name, text) for name, text in headers if name == HEADER and text is not None), None)
    found = {name: text for name, text in reversed(headers) if text is not None}
    if found.get(_APICURIO_ENCODING, b"BINARY").upper() != b"BINARY":
        return _APICURIO_ENCODING, b""
    return next(((name, found[name]) for name in names if name in found), None)


def _of_one_schema(values: Sequence[bytes], find: Callable[[bytes], _Found]) -> list[Framed]:
    """The fast path, for nearly every chunk: all values have the same framing, so it is read once. Empty if they don't."""
    found = find(values[0])
    if isinstance(found, Rejection) or not found[1]:
        return []
    key, length = found
    if min(values)[:length] != max(values)[:length]:  # the others lie between these two, so they share their prefix
        return []
    return [Run(key, 0, [value[length:] for value in values])]


def _runs(values: Sequence[bytes], found: list[_Found]) -> list[Framed]:
    framed: list[Framed] = []
    start = 0
    for one, group in groupby(found):
        end = start + len(list(group))
        if isinstance(one, Rejection):
            framed += [Unframed(index, one) for index in range(start, end)]
        else:
            key, length = one
            framed.append(Run(key, start, [value[length:] for value in values[start:end]]))
        start = end
    return framed


def _in_header(name: str, stated: bytes) -> _Found:
    if name == _APICURIO_ENCODING:
        return _rejection(f"the {name} header says that the payload is not binary Avro")
    for kind in APICURIO:
        if name == APICURIO[kind]:
            if len(stated) != _APICURIO_LENGTH or stated[0] > 127:
                return _rejection(f"the {name} header doesn't hold a valid 8-byte id: {len(stated)} bytes")
            return SchemaKey(f"{kind} id", int.from_bytes(stated, "big")), 0
    found = _confluent(stated)
    if isinstance(found, Rejection) or found[1] != len(stated):
        return _rejection(f"the {HEADER} header holds neither a schema id nor a GUID: {len(stated)} bytes")
    return found[0], 0


def _confluent(value: bytes) -> _Found:
    first = value[:1]
    if first == _ID_PREFIX and len(value) >= _ID_LENGTH:
        return SchemaKey("id", int.from_bytes(value[1:_ID_LENGTH], "big")), _ID_LENGTH
    if first == _GUID_PREFIX and len(value) >= _GUID_LENGTH:
        return SchemaKey("guid", str(UUID(bytes=value[1:_GUID_LENGTH]))), _GUID_LENGTH
    return _missing("Confluent prefix", value)


def _apicurio(kind: str) -> Callable[[bytes], _Found]:
    def find(value: bytes) -> _Found:
        if value[:1] == _ID_PREFIX and len(value) > _APICURIO_LENGTH and value[1] < 128:  # a Java long, not negative
            return SchemaKey(f"{kind} id", int.from_bytes(value[1:9], "big")), 1 + _APICURIO_LENGTH
        return _missing("Apicurio prefix", value)

    return find


def _single_object(value: bytes) -> _Found:
    if value.startswith(_MARKER) and len(value) >= _MARKER_LENGTH:
        return SchemaKey("fingerprint", value[2:_MARKER_LENGTH].hex()), _MARKER_LENGTH
    return _missing("single-object marker", value)


def _auto(value: bytes) -> _Found:
    found = _single_object(value)
    return _confluent(value) if isinstance(found, Rejection) else found


def _auto_or_raw(value: bytes) -> _Found:
    found = _auto(value)
    return (FILE_KEY, 0) if isinstance(found, Rejection) else found


_FINDERS: dict[str, Callable[[bytes], _Found]] = {
    **{f"apicurio {kind}": _apicurio(kind) for kind in APICURIO},
    "confluent": _confluent,
    "single_object": _single_object,
    "auto": _auto,
    "auto or raw": _auto_or_raw,
}


def _missing(what: str, value: bytes) -> Rejection:
    if not value:
        return _rejection(f"no {what}: the value is empty")
    return _rejection(f"no {what}: first byte 0x{value[0]:02x}, {len(value)} bytes")


def _rejection(detail: str) -> Rejection:
    return Rejection(Code.DECODE_ERROR, detail)
