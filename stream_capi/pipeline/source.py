"""One source's way from records to payloads: framing, decode and transform, a chunk at a time.

A run of one schema has records of several types where the schema's top is a union; then each type has a codec of its own.

What is compiled for a schema is kept for the life of the process: ids never change their meaning. A schema that nothing
can be compiled for, for a reason that nobody foresaw, rejects its records. Whether a schema is
*unknown* may change, so that is asked of the schema source each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from stream_capi.avro.branches import split
from stream_capi.avro.chunk_parser import ChunkParser
from stream_capi.avro.framing import Run, SchemaKey, Unframed, frame
from stream_capi.avro.hardening import MAX_DECODED, Node
from stream_capi.avro.schemas import Schemas, WriterSchema
from stream_capi.errors import FieldsEncrypted
from stream_capi.model import PAUSED, Lane, Paused, Record, Rejection, Skipped, Table, Transformed, internal_error

_DECODED_AT_ONCE = MAX_DECODED  # bytes that the rows of a slice may take at worst, unless it is one record


class TableTransform(Protocol):
    """The mapping of one source for one writer's schema (``events`` builds it)."""

    @property
    def paths(self) -> frozenset[str]:
        """The paths that it reads."""

    def apply(
        self, table: Table, topic: str, partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]: ...


class Parser(Protocol):
    """Reads the payloads of one writer's schema (``avro`` builds it). Tables need memory as its ``Decoder`` says."""

    @property
    def amplification(self) -> float: ...
    @property
    def overhead(self) -> float: ...
    def parse(self, payloads: Sequence[bytes]) -> Table: ...


class Codec(NamedTuple):
    """What turns the payloads of one writer's schema into ServerEvents.

    ``source`` is the one that the events are of, where the topic has several.
    """

    parser: Parser
    transform: TableTransform
    source: Source | None = None


class Branches(NamedTuple):
    """The codecs of a schema whose top is a union, by its branches."""

    union: Node
    codecs: Sequence[Codec | Rejection | Skipped | Paused]


Coded = (
    Codec | Branches | Rejection | Skipped | Paused
)  # what is known of a schema: how its records are mapped, or why they aren't


class Part(NamedTuple):
    """The records of a run that are treated alike: all of them where ``indexes`` is None."""

    codec: Codec | Rejection | Skipped | Paused
    payloads: Sequence[bytes]
    indexes: Sequence[int] | None = None

    def __repr__(self) -> str:
        return f"Part({len(self.payloads)} payloads)"


def parts_of(coded: Coded, payloads: Sequence[bytes]) -> list[Part]:
    """Split a run by what its records are."""
    if not isinstance(coded, Branches):
        return [Part(coded, payloads)]
    shares, faults = split(coded.union, payloads)
    return [
        *(Part(coded.codecs[branch], share.payloads, share.indexes) for branch, share in shares.items()),
        *(Part(fault, [payloads[at]], [at]) for at, fault in faults.items()),
    ]


class Source(Protocol):
    """The events of a topic, as the pipeline sees them.

    ``name`` is its own, for people. ``lane`` is where all of them go, or None where each record decides; ``window`` in
    seconds. ``max_ratio`` is the share that may become dead letters, where it is not the one for all sources.
    ``waiting_for`` has the schemas that the registry couldn't be asked for, and why. ``paused``: by configuration, so that
    nothing of it is read.
    """

    topic: str
    name: str
    lane: Lane | None
    pixel: str | None
    window: float
    max_ratio: float | None
    paused: bool
    waiting_for: dict[SchemaKey, str]

    def frame(self, records: Sequence[Record], values: Sequence[bytes]) -> Sequence[Run | Unframed]:
        """Split a chunk into runs of one schema. Tombstones are the caller's."""
        ...

    def codec(self, key: SchemaKey) -> Coded | None:
        """The codec of a schema, why there is none, or None where the schema must be loaded first. No I/O."""
        ...

    async def load(self, key: SchemaKey) -> Coded:
        """Ask for the schema. Raises RegistryUnavailable where nobody can answer now, FieldsEncrypted."""
        ...

    def transform(
        self, codec: Codec, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        """Decode and map a run; what can't be decoded keeps its place as a Rejection."""
        ...


class TopicSource:
    """The source of a topic in the settings: its framing, its schemas, its mapping.

    ``record`` is the full name of the one record type that it is for.
    """

    def __init__(
        self,
        topic: str,
        framing: str,
        schemas: Schemas,
        compile_transform: Callable[[WriterSchema], TableTransform],
        lane: Lane | None,
        pixel: str | None,
        window: float,
        max_ratio: float | None = None,
        record: str | None = None,
        paused: bool = False,
    ) -> None:
        self.topic = self.name = topic
        self.record = record
        self.paused = paused
        self.lane = lane
        self.pixel = pixel
        self.window = window
        self.max_ratio = max_ratio
        self.waiting_for: dict[SchemaKey, str] = {}
        self.framing = framing
        self.schemas = schemas
        self._compile = compile_transform
        self._codecs: dict[SchemaKey, Coded] = {}
        self._encrypted: dict[SchemaKey, str] = {}  # schemas whose records can't be mapped, and why

    def frame(self, records: Sequence[Record], values: Sequence[bytes]) -> Sequence[Run | Unframed]:
        """A fault that nobody foresaw is that of its record alone."""
        try:
            return frame(self.framing, records, values)
        except MemoryError:
            raise
        except Exception:
            return [
                self._framed_alone(at, record, value)
                for at, (record, value) in enumerate(zip(records, values, strict=True))
            ]

    def _framed_alone(self, index: int, record: Record, value: bytes) -> Run | Unframed:
        try:
            (found,) = frame(self.framing, [record], [value])
        except MemoryError:
            raise
        except Exception as error:
            return Unframed(index, internal_error(error))
        if isinstance(found, Unframed):
            return Unframed(index, found.rejection)
        return Run(found.key, index, found.payloads)

    def codec(self, key: SchemaKey) -> Coded | None:
        codec = self._codecs.get(key)
        if codec is not None:
            return codec
        schema = self.schemas.cached(key) if key not in self._encrypted else None
        try:
            return self._built(key, schema) if isinstance(schema, WriterSchema) else schema
        except FieldsEncrypted:
            return None  # to be asked for, which tells why there is none

    async def load(self, key: SchemaKey) -> Coded:
        if key in self._encrypted:
            raise FieldsEncrypted(self._encrypted[key])
        schema = await self.schemas.load(key)
        return self._built(key, schema) if isinstance(schema, WriterSchema) else schema

    def _built(self, key: SchemaKey, schema: WriterSchema) -> Coded:
        try:
            codecs = [Skipped("tombstone") if one is None else self.codec_of(one) for one in schema.records]
        except FieldsEncrypted as error:
            self._encrypted[key] = str(error)
            raise
        is_union = schema.parsed.type == "union"
        self._codecs[key] = coded = Branches(schema.parsed, codecs) if is_union else codecs[0]
        return coded

    def codec_of(self, schema: WriterSchema) -> Codec | Rejection | Skipped | Paused:
        """The codec of one record type. Raises FieldsEncrypted."""
        if self.record not in (None, schema.name):
            return Skipped("unrouted")
        if self.paused:
            return PAUSED
        try:
            transform = self._compile(schema)
            if fault := schema.encrypted.fault(schema.parsed, transform.paths):
                raise FieldsEncrypted(f"{schema.name}: {fault}")
            return Codec(ChunkParser(schema, transform.paths), transform)
        except (MemoryError, FieldsEncrypted):
            raise
        except Exception as error:
            return internal_error(error)

    def transform(
        self, codec: Codec, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        return decode_and_map(codec, payloads, self.topic, partition, offsets, now_ms)


class SharedTopic(TopicSource):
    """A topic of several sources, each for a record type of its own.

    A record that can't be decoded belongs to none of them. It counts for the topic as a whole, of which ``max_ratio`` may
    become dead letters; there all good events count as well.
    """

    def __init__(self, members: Sequence[TopicSource], max_ratio: float | None) -> None:
        first = members[0]
        lanes, pixels = {member.lane for member in members}, {member.pixel for member in members}
        super().__init__(
            first.topic,
            first.framing,
            first.schemas,
            first._compile,
            first.lane if len(lanes) == 1 else None,
            first.pixel if len(pixels) == 1 else None,
            first.window,
            max_ratio,
            paused=all(member.paused for member in members),
        )
        self._members = {member.record: member for member in members}
        for member in members:
            member.name = f"{member.topic} ({member.record})"

    def codec_of(self, schema: WriterSchema) -> Codec | Rejection | Skipped | Paused:
        member = self._members.get(schema.name)
        if member is None:
            return Skipped("unrouted")
        codec = member.codec_of(schema)
        return codec._replace(source=member) if isinstance(codec, Codec) else codec


def decode_and_map(
    codec: Codec, payloads: Sequence[bytes], topic: str, partition: int, offsets: Sequence[int], now_ms: int
) -> list[Transformed]:
    """Decode and map a run; what can't be decoded keeps its place as a Rejection.

    Rows may take a hundred times the memory of their payloads: a run is decoded in slices, each mapped before the next.
    """
    parser, transform = codec.parser, codec.transform
    if parser.overhead * len(payloads) + parser.amplification * sum(map(len, payloads)) <= _DECODED_AT_ONCE:
        return transform.apply(parser.parse(payloads), topic, partition, offsets, now_ms)
    mapped: list[Transformed] = []
    for start, end in _slices(parser, payloads):
        table = parser.parse(payloads[start:end])
        mapped += transform.apply(table, topic, partition, offsets[start:end], now_ms)
    return mapped


def _slices(parser: Parser, payloads: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where to cut a run, so that the rows of each slice fit into the bytes that may be decoded at once."""
    fixed, ratio = parser.overhead, parser.amplification
    start, size = 0, 0.0
    for at, payload in enumerate(payloads):
        of_one = fixed + ratio * len(payload)
        if at > start and size + of_one > _DECODED_AT_ONCE:
            yield start, at
            start, size = at, 0.0
        size += of_one
    yield start, len(payloads)
