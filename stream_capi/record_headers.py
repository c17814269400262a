"""Reads a record's headers so that no record can end the process. No other module asks the client for them.

The client keeps a header whose name is not UTF-8 as a pair with a null pointer in place of the name. The first read of such
headers raises; each later one returns the list, and accessing the name in it crashes the process. And the error of the first
read can surface after the call, since the interpreter's fast path doesn't check for one: so the client is only called through
``map``, which does. Headers that can't be read are removed from the record itself, so that later readers get what is left,
with a mark that says how many are missing.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

from stream_capi.model import Record

LOST = "capi-headers-lost"
_PAIR_BYTES = 160  # a pair, its name and its value as objects, beside the bytes of the value

Headers = list[tuple[str, bytes | None]]


class _Mark(str):
    """The name of the pair that says how many headers are missing. No header that a producer wrote has this type."""

    __slots__ = ()


def headers_of(record: Record) -> Headers:
    """The record's headers, without the mark. Never raises."""
    return [pair for pair in _read(record) or () if type(pair[0]) is not _Mark]


def lost_headers(record: Record) -> str:
    """How many headers of the record couldn't be read, or ``all``; empty if none is missing."""
    return next((value.decode() for name, value in _read(record) or () if type(name) is _Mark and value), "")


def marked(headers: Headers | None, lost: str) -> Headers | None:
    """The headers with a mark for the ``lost`` ones (a number, or ``all``); unchanged if ``lost`` is empty."""
    return [(_Mark(LOST), lost.encode()), *(headers or ())] if lost else headers


def all_headers(records: Sequence[Record]) -> list[Headers | None]:
    """The headers of each record, marks included; None for a record without any. Never raises."""
    found: list[Headers | None] = []
    while len(found) < len(records):
        left = records[len(found) :] if found else records
        try:
            # What was read before an error stays in the list: so its length is the index of the record that raised it.
            found.extend(map(type(left[0]).headers, left))
        except Exception:
            found.append(_salvaged(records[len(found)]))
    return found


def header_bytes(records: Sequence[Record]) -> list[int] | None:
    """About how much memory each record's headers take, in bytes; None if no record has any."""
    found = all_headers(records)
    if not any(found):
        return None
    return [
        _PAIR_BYTES * len(pairs) + sum(len(value) for _, value in pairs if value) if pairs else 0 for pairs in found
    ]


def _read(record: Record) -> Headers | None:
    return all_headers([record])[0]


def _salvaged(record: Any) -> Headers:
    """After a failed first read: the headers that can be read, which also replace those in the record."""
    try:
        (pairs,) = map(type(record).headers, [record])
        # ``get_referents`` leaves out a null pointer; any other access to such a pair may crash.
        sound: Headers = [pair for pair in pairs if len(gc.get_referents(pair)) == 2]
        left = marked(sound, str(len(pairs) - len(sound))) or []
    except Exception:
        left = marked(None, "all") or []
    try:
        record.set_headers(left)
    except Exception:
        return left  # a record that is not the client's own: it is read again the next time
    return left
