"""Framed records of each shape, as a customer's serializer writes them.

To encode a million events would take longer than to deliver them. So some thousands of different events are encoded, and
each record is one of them with its own id and time inserted as bytes: both have a fixed width.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastavro

from benchmarks.contenders.shapes import NESTED, SHIPPED, WIDE, Shape
from stream_capi.model import EventName
from stream_capi.sandbox.samples import Samples

LEAD_SHARE = 0.3
_DIFFERENT = 4000
_TIME_BYTES = 6  # of a varint that holds epoch milliseconds, from 2004 to 2109
# Placeholders for a record's own id and time: neither occurs anywhere else in a record.
_ID, _TIME = "9" * 24, 2_100_000_000_001


class Templates:
    """The records of one shape, each cut into three parts: before the id, between id and time, and after the time."""

    def __init__(self, shape: Shape, ids: Mapping[EventName, int], seed: int) -> None:
        samples, random_ = Samples(seed, bad_share=0.0), random.Random(seed)
        self._parts: dict[EventName, list[tuple[bytes, bytes, bytes]]] = {}
        for name in EventName:
            schema: Any = json.loads(shape.schemas[name].read_text())
            prefix, fill = b"\x00" + ids[name].to_bytes(4, "big"), _FILLED[shape.name](schema, shape, name, random_)
            parsed: Any = fastavro.parse_schema(schema)
            self._parts[name] = [_parts(prefix, parsed, fill(samples.event(name, _TIME))) for _ in range(_DIFFERENT)]

    def value(self, name: EventName, number: int, at: bytes) -> bytes:
        """Record ``number``, with a time that ``varint_of`` encoded."""
        before, between, after = self._parts[name][number % _DIFFERENT]
        return b"%b%024d%b%b%b" % (before, number, between, at, after)


def varint_of(epoch_ms: int) -> bytes:
    """A time as Avro's long."""
    number, out = epoch_ms << 1, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    assert len(out) == _TIME_BYTES
    return bytes(out)


def names_of(count: int) -> Iterator[EventName]:
    """The names of ``count`` events; the share of leads is exact in each ten."""
    for number in range(count):
        yield EventName.GENERATE_LEAD if number % 10 < LEAD_SHARE * 10 else EventName.PAGE_VIEW


def _parts(prefix: bytes, schema: Any, record: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    before, *id_once = (prefix + out.getvalue()).split(_ID.encode())
    (rest,) = id_once
    between, *time_once = rest.split(varint_of(_TIME))
    (after,) = time_once
    return before, between, after


_Fill = Callable[[dict[str, Any]], dict[str, Any]]


def _shipped(schema: Any, shape: Shape, name: EventName, random_: random.Random) -> _Fill:
    return lambda sample: sample | {"event_id": _ID, "event_time": _TIME}


def _columns(shape: Shape, name: EventName) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """From an event of the shipped contract to the mapped fields of a record of this shape."""
    of = {target.rpartition(".")[2]: column for target, column in shape.columns[name].items()}
    return lambda sample: (
        {column: sample[field] for field, column in of.items()}
        | {
            of["event_id"]: _ID,
            of["event_time"]: _TIME,
        }
    )


_PATHS = ("/", "/pricing", "/guides/first-home", "/guides/solar-panels?step=2", "/contact")
_WORDS = ("none", "cpc", "newsletter", "autumn-sale", "Europe/Berlin", "1-0-3", "tracker.web.main", "example", "utf-8")


def _wide(schema: Any, shape: Shape, name: EventName, random_: random.Random) -> _Fill:
    """Fill fields that aren't mapped: with null if they are optional, otherwise with some value of their type."""
    columns, mapped = _columns(shape, name), set(shape.columns[name].values())
    others = [(field["name"], field["type"]) for field in schema["fields"] if field["name"] not in mapped]
    # Optional fields that only one of the two events maps are filled in both, so that both have null in the same fields.
    always = {column for of_event in shape.columns.values() for column in of_event.values()}

    def value(field: str, kind: Any) -> Any:
        if isinstance(kind, list) and field not in always:
            return None
        kind = kind[1] if isinstance(kind, list) else kind
        if isinstance(kind, dict):
            return random_.randrange(1_600_000_000_000, 1_900_000_000_000)
        if kind == "string":
            return random_.choice(_PATHS if "url" in field else _WORDS) + f"-{random_.randrange(1000)}"
        return {"int": random_.randrange(3000), "double": random_.random() * 100, "boolean": random_.random() < 0.5}[
            kind
        ]

    return lambda sample: {field: value(field, kind) for field, kind in others} | columns(sample)


def _nested(schema: Any, shape: Shape, name: EventName, random_: random.Random) -> _Fill:
    """Change events; three in ten are updates, and hold the row as it was before."""
    columns = _columns(shape, name)

    def row(sample: dict[str, Any]) -> dict[str, Any]:
        others = {
            "id": random_.getrandbits(32),
            "kind": name.value,
            "page_title": random_.choice((None, "Solar panels for your roof")),
            "referrer": random_.choice((None, "https://search.example/?q=solar+panels")),
            "amount": 0.0,
            "currency": "EUR",
            "score": random_.choice((None, random_.randrange(100))),
            "is_test": False,
            "updated_at": random_.randrange(1_600_000_000_000, 1_900_000_000_000),
        }
        return others | columns(sample)

    def envelope(sample: dict[str, Any]) -> dict[str, Any]:
        after, update, at = row(sample), random_.random() < 0.3, random_.randrange(1_600_000_000_000, 1_900_000_000_000)
        number = random_.getrandbits(40)
        return {
            "before": after | {"event_id": f"{number:024d}", "created_at": at, "updated_at": at} if update else None,
            "after": after,
            "source": {
                "version": "3.0.0.Final",
                "connector": "postgresql",
                "name": "shop",
                "ts_ms": at,
                "snapshot": random_.choice((None, "false")),
                "db": "shop",
                "sequence": f'["{number}","{number + 8}"]',
                "schema": "public",
                "table": "events",
                "txId": number,
                "lsn": number << 3,
                "xmin": None,
            },
            "op": "u" if update else "c",
            "ts_ms": at + 70,
            "transaction": None,
        }

    return envelope


_FILLED = {SHIPPED.name: _shipped, WIDE.name: _wide, NESTED.name: _nested}
