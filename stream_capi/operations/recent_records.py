"""Recent records of a source: which schema wrote them, and whether they can be read as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

from stream_capi.avro.branches import branch_of
from stream_capi.avro.decode import Decoder
from stream_capi.avro.framing import SchemaKey, Unframed, frame
from stream_capi.avro.known_framings import named_framing
from stream_capi.avro.schemas import Schemas
from stream_capi.config import SourceSection
from stream_capi.config.settings import KafkaSection
from stream_capi.events.rules import SourceRules
from stream_capi.events.transform import compile_source
from stream_capi.kafka.scan import latest_records
from stream_capi.model import Record, Rejection
from stream_capi.record_headers import headers_of

_COUNTS = (3, 50)  # of each partition: the last ones may be tombstones
_LOOKED_AT = 5
_OF_AUTO = ("confluent", "single_object")


def recent_records(kafka: KafkaSection, topic: str, counts: Sequence[int] = _COUNTS) -> list[Record]:
    """A topic's newest records that are no tombstones, the newest first. Raises Unavailable, KafkaLost.

    ``counts``: so many of each partition are read; the next number if all of them are tombstones.
    """
    for count in counts:
        found: list[Record] = [
            message for message in latest_records(kafka, topic, count) if message.value() is not None
        ]
        if found:
            return found[::-1]
    return []


def key_of(source: SourceSection, record: Record) -> SchemaKey | Rejection:
    """The key of the schema that wrote a record, or why there is none."""
    (framed,) = frame(source.wire_format, [record], [record.value() or b""])
    return framed.rejection if isinstance(framed, Unframed) else framed.key


def stated_key(record: Record) -> tuple[str | None, SchemaKey | Rejection]:
    """The same without settings: the framing where it isn't the default one, and the key."""
    value = record.value() or b""
    named = named_framing(headers_of(record), value)
    is_apicurio = named is not None and named[0] == "apicurio"
    (framed,) = frame("apicurio content" if is_apicurio else "confluent", [record], [value])
    if not isinstance(framed, Unframed):
        return "apicurio" if is_apicurio else None, framed.key
    words = f"it has {named[1]}" if named else framed.rejection.detail
    return None, framed.rejection._replace(detail=words)


async def unreadable(
    source: SourceSection, rules: SourceRules, schemas: Schemas, records: Sequence[Record]
) -> str | None:
    """Why records can't be read, None where one can. A damaged record says nothing of the next one, a framing does.

    Raises RegistryUnavailable.
    """
    first = None
    for record in records[:_LOOKED_AT]:
        fault = await _fault(source, rules, schemas, record)
        if fault is None:
            return None
        place = f"{record.topic()}[{record.partition()}]@{record.offset()}"
        named = named_framing(headers_of(record), record.value() or b"")
        if named is not None and named[0] != source.framing and not (source.framing == "auto" and named[0] in _OF_AUTO):
            return f"the record {place} has {named[1]} ({fault})"
        first = first or f"the record {place} can't be read: {fault}"
    return first


async def _fault(source: SourceSection, rules: SourceRules, schemas: Schemas, record: Record) -> str | None:
    value = record.value() or b""
    (framed,) = frame(source.wire_format, [record], [value])
    if isinstance(framed, Unframed):
        return framed.rejection.detail
    schema = await schemas.load(framed.key)
    if isinstance(schema, Rejection):
        return schema.detail
    if encrypted := schema.encrypted.fault(schema.parsed, ()):  # then no payload says which record it is
        return f"{schema.name}: {encrypted}"
    found = branch_of(schema, framed.payloads[0])
    if isinstance(found, Rejection):
        return found.detail
    of_record, payload = found
    if of_record is None or not source.is_for(of_record.name):
        return None
    paths = compile_source(rules, of_record.raw, of_record.name).paths
    if encrypted := of_record.encrypted.fault(of_record.parsed, paths):
        return f"{of_record.name}: {encrypted}"
    (row,) = Decoder(of_record).decode([payload])
    return row.detail if isinstance(row, Rejection) else None
