"""Records, schemas and encoders for these tests. The encoder is fastavro's, independent of the decoder under test."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro

from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import FILE_KEY, Framed, frame
from stream_capi.avro.writer_schema import WriterSchema, build
from stream_capi.model import Record

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
LEAD: Any = json.loads((SCHEMAS / "lead.avsc").read_text())
CANARY = "canary.person@example.com"


def parts(framing: str, records: Sequence[Record]) -> list[Framed]:
    """Frame records, with their values read from them first."""
    return frame(framing, records, [record.value() or b"" for record in records])


def schema(raw: Any) -> WriterSchema:
    built = build(FILE_KEY, json.dumps(raw))
    assert isinstance(built, WriterSchema), built
    return built


def decoder(raw: Any) -> Decoder:
    return Decoder(schema(raw))


def record(*types: Any) -> dict[str, Any]:
    """A record type with fields f0, f1 … of these types."""
    return {"type": "record", "name": "R", "fields": [{"name": f"f{k}", "type": t} for k, t in enumerate(types)]}


def encode(raw: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw), value)
    return out.getvalue()


def lead(**fields: Any) -> dict[str, Any]:
    base = {f["name"]: None for f in LEAD["fields"]}
    return base | {
        "event_id": "e-1",
        "event_time": 1741784485001,
        "event_source_url": "https://shop.example/landing?aleid=" + "x" * 200,
        "currency": "USD",
        "value": 30.5,
        "email": CANARY,
        "client_ip_address": "172.59.8.172",
        "client_user_agent": "Mozilla/5.0 " + "ü" * 70,
        "esi": "app",
        **fields,
    }
