"""A record's headers, read so that no record can end the process: the one place that asks the client for them.

The client keeps a header whose name is not UTF-8 as a pair with nothing (a null pointer) in the place of its name. The first
reading of such headers raises; each later one returns the list, and whoever looks at the name in it crashes the process. And
the error of the first reading can come up later than the call, since the interpreter's fast path doesn't ask for one: so the
client is only asked through ``map``, which does. The headers that can't be read are taken out of the record itself, so that
whoever reads it later gets what is left, with a mark that says how many are missing.
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
    """The name of the pair that counts what is missing. No header of a producer's has this type."""

    __slots__ = ()


def headers_of(record: Record) -> Headers:
    """The record's headers, without the mark. Never raises."""
    return [pair for pair in _read(record) or () if type(pair[0]) is not _Mark]


def lost_headers(record: Record) -> str:
    """How many headers of the record couldn't be read, or ``all``; empty where none is missing."""
    return next((value.decode() for name, value in _read(record) or () if type(name) is _Mark and value), "")


def marked(headers: Headers | None, lost: str) -> Headers | None:
    """The headers of a record of which ``lost`` more were lost before; the same where that is empty."""
    return [(_Mark(LOST), lost.encode()), *(headers or ())] if lost else headers


def all_headers(records: Sequence[Record]) -> list[Headers | None]:
    """The headers of each record, marks included; None where it has none. Never raises."""
    found: list[Headers | None] = []
    while len(found) < len(records):
        left = records[len(found) :] if found else records
        try:
            # What was read before an error stays in the list: its length tells whose error it is.
            found.extend(map(type(left[0]).headers, left))
        except Exception:
            found.append(_salvaged(records[len(found)]))
    return found


def header_bytes(records: Sequence[Record]) -> list[int] | None:
    """About what each record's headers keep in memory, in bytes; None where none of them has any."""
    found = all_headers(records)
    if not any(found):
        return None
    return [
        _PAIR_BYTES * len(pairs) + sum(len(value) for _, value in pairs if value) if pairs else 0 for pairs in found
    ]


def _read(record: Record) -> Headers | None:
    return all_headers([record])[0]


def _salvaged(record: Any) -> Headers:
    """What can be read of a record's headers after the first reading failed, put into the record in their place."""
    try:
        (pairs,) = map(type(record).headers, [record])
        # The collector's view of a pair leaves out what is no object; nothing else may look at it.
        sound: Headers = [pair for pair in pairs if len(gc.get_referents(pair)) == 2]
        left = marked(sound, str(len(pairs) - len(sound))) or []
    except Exception:
        left = marked(None, "all") or []
    try:
        record.set_headers(left)
    except Exception:
        return left  # no record of the client's: it is asked again the next time
    return left
