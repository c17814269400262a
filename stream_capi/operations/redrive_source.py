"""The dead-letter topic as a source of events: each dead letter is framed, decoded and mapped as its own source says."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from stream_capi.avro.framing import Run, SchemaKey, Unframed
from stream_capi.kafka.originals import Place
from stream_capi.model import Lane, Paused, Record, Rejection, Routed, Skipped, Table, Transformed
from stream_capi.operations.dead_letters import StoredDeadLetter
from stream_capi.pipeline.source import Branches, Codec, Coded, Source, TableTransform, decode_and_map, parts_of
from stream_capi.record_headers import all_headers, marked

_REFERENCE = "reference"
_AT_ONCE = 16  # events of dead letters by reference that are in memory together

Reader = Callable[[Sequence[Place]], Awaitable[Mapping[Place, Record]]]


class Event:
    """A dead letter's event, at the dead letter's own offset; ``original`` is the same event at its source."""

    __slots__ = ("_at", "_record", "_value", "dead_letter")

    def __init__(self, record: Record, value: bytes | None, stored: StoredDeadLetter, at_source: bool = False) -> None:
        self.dead_letter = stored
        self._record = record
        self._value = value
        self._at = (*stored.source, stored.source_offset) if at_source else (*stored.at, stored.offset)

    def __repr__(self) -> str:
        topic, partition, offset = self._at
        return f"Event({topic}[{partition}]@{offset})"

    @property
    def original(self) -> Event:
        return Event(self._record, self._value, self.dead_letter, at_source=True)

    def topic(self) -> str:
        return self._at[0]

    def partition(self) -> int:
        return self._at[1]

    def offset(self) -> int:
        return self._at[2]

    def key(self) -> bytes | None:
        return self._record.key()

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Any:
        """As they were, with the mark of those that an earlier dead letter had lost."""
        return marked(all_headers([self._record])[0], self.dead_letter.headers_lost)

    def timestamp(self) -> tuple[int, int]:
        """When the event itself was produced."""
        return (1, self.dead_letter.source_written) if self.dead_letter.source_written > 0 else (0, -1)

    def leader_epoch(self) -> int | None:
        """Leader epoch of the dead letter's own record, since offsets of the dead-letter topic are committed."""
        return self._record.leader_epoch()


class DeadLetterSource:
    """A source of ``Event`` records, which go to the lanes of their own ``sources``. ``window`` in seconds.

    ``dead_letters`` returns the one at a partition and offset of the dead-letter topic, ``read`` the records at places of the
    sources' topics. Events of dead letters by reference are loaded as schemas are, beside the others; a few at a time, since
    each is larger than the dead-letter topic allows. Only their payload is kept.
    """

    def __init__(
        self,
        topic: str,
        sources: Mapping[str, Source],
        dead_letters: Mapping[tuple[int, int], StoredDeadLetter],
        window: float,
        read: Reader,
    ) -> None:
        self.topic = self.name = topic
        self.lane: Lane | None = None
        self.pixel: str | None = None
        self.window = window
        self.max_ratio: float | None = None
        self.paused = False
        self.waiting_for: dict[SchemaKey, str] = {}
        self._sources = sources
        self._dead_letters = dead_letters
        self._read = read
        self._references: dict[SchemaKey, Sequence[StoredDeadLetter]] = {}

    def frame(self, records: Sequence[Record], values: Sequence[bytes]) -> list[Run | Unframed]:
        """Split a chunk into runs of one source and schema."""
        framed: list[Run | Unframed] = []
        start = 0
        for (topic, by_reference), group in groupby(records, key=self._kind_of):
            of_one = list(group)
            if by_reference:
                framed += self._to_be_read(topic, start, of_one)
                start += len(of_one)
                continue
            for found in self._sources[topic].frame(of_one, values[start : start + len(of_one)]):
                if isinstance(found, Unframed):
                    framed.append(Unframed(start + found.index, found.rejection))
                else:
                    framed.append(Run(_of_source(topic, found.key), start + found.start, found.payloads))
            start += len(of_one)
        return framed

    def _dead_letter_of(self, record: Record) -> StoredDeadLetter:
        return self._dead_letters[record.partition() or 0, record.offset() or 0]

    def _kind_of(self, record: Record) -> tuple[str, bool]:
        stored = self._dead_letter_of(record)
        return stored.source.topic, stored.by_reference

    def _to_be_read(self, topic: str, start: int, records: Sequence[Record]) -> Iterator[Run]:
        """Runs of dead letters by reference, each with its own key: ``load`` then reads the events, not a schema."""
        for at in range(0, len(records), _AT_ONCE):
            dead_letters = [self._dead_letter_of(record) for record in records[at : at + _AT_ONCE]]
            first, last = dead_letters[0], dead_letters[-1]
            key = SchemaKey(f"{topic}:{_REFERENCE}", f"{first.at.partition}@{first.offset}-{last.offset}")
            self._references[key] = dead_letters
            yield Run(key, start + at, [b""] * len(dead_letters))

    def codec(self, key: SchemaKey) -> Coded | None:
        """The codec of the dead letter's own source."""
        source, own = self._own(key)
        if own.kind == _REFERENCE:
            return None
        coded = source.codec(own)
        return coded if coded is None else self._placed(source, coded)

    async def load(self, key: SchemaKey) -> Coded:
        """Ask for the schema, or for events and their schemas. Raises Unavailable where nobody can answer now, KafkaLost."""
        source, own = self._own(key)
        if own.kind == _REFERENCE:
            made = await self._made_of(source, self._references[key])
            del self._references[key]
            return Codec(_NothingToParse(), _Given(made))  # nothing is left to be decoded
        return self._placed(source, await source.load(own))

    def transform(
        self, codec: Codec, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        return decode_and_map(codec, payloads, self.topic, partition, offsets, now_ms)

    async def _made_of(self, source: Source, dead_letters: Sequence[StoredDeadLetter]) -> list[Transformed]:
        """Read the events of dead letters by reference, and map each as its source says."""
        found = await self._read([(stored.source, stored.source_offset) for stored in dead_letters])
        return [
            await self._mapped(source, stored, found.get((stored.source, stored.source_offset)))
            for stored in dead_letters
        ]

    async def _mapped(self, source: Source, stored: StoredDeadLetter, record: Record | None) -> Transformed:
        value = None if record is None else record.value()
        if record is None or value is None or not stored.is_of(record):
            return Skipped("gone")
        (framed,) = source.frame([record], [value])
        if isinstance(framed, Unframed):
            return framed.rejection
        coded = source.codec(framed.key) or await source.load(framed.key)
        ((codec, payloads, _),) = parts_of(self._placed(source, coded), framed.payloads)
        if not isinstance(codec, Codec):
            return codec
        # No answer of the endpoint is at hand here: a local clock that is behind makes no event one of the future.
        now_ms, place = max(int(time.time() * 1000), stored.source_written), (stored.at.partition, [stored.offset])
        (made,) = source.transform(codec, payloads, *place, now_ms)
        return made

    def _own(self, key: SchemaKey) -> tuple[Source, SchemaKey]:
        topic, _, kind = key.kind.rpartition(":")
        return self._sources[topic], SchemaKey(kind, key.value)

    def _placed(self, source: Source, coded: Coded) -> Coded:
        if isinstance(coded, Branches):
            return Branches(coded.union, [self._placed_alone(source, codec) for codec in coded.codecs])
        return self._placed_alone(source, coded)

    def _placed_alone(
        self, source: Source, codec: Codec | Rejection | Skipped | Paused
    ) -> Codec | Rejection | Skipped | Paused:
        if not isinstance(codec, Codec):
            return codec
        return Codec(codec.parser, _AtSource(codec.source or source, codec.transform, self._dead_letters))


def _of_source(topic: str, key: SchemaKey) -> SchemaKey:
    """The schema of one source, since another may map it in another way. No topic's name has a colon."""
    return SchemaKey(f"{topic}:{key.kind}", key.value)


class _NothingToParse:
    """In the place of a parser, where all is mapped already."""

    overhead = amplification = 0.0

    def parse(self, payloads: Sequence[bytes]) -> Table:
        return Table(len(payloads), {}, {})


class _Given:
    """In the place of a transform, where all is mapped already."""

    def __init__(self, made: Sequence[Transformed]) -> None:
        self._made = made

    paths: frozenset[str] = frozenset()

    def apply(self, table: Table, *_: Any) -> list[Transformed]:
        assert table.length == len(self._made)  # noqa: S101 -- a run has its own key
        return list(self._made)


class _AtSource:
    """A source's transform, told for each dead letter the place where its event came from."""

    def __init__(
        self, source: Source, transform: TableTransform, dead_letters: Mapping[tuple[int, int], StoredDeadLetter]
    ) -> None:
        self._lane = source.lane
        self._transform = transform
        self.paths = transform.paths
        self._dead_letters = dead_letters

    def apply(self, table: Table, topic: str, partition: int, offsets: Sequence[int], now_ms: int) -> list[Transformed]:
        dead_letters = [self._dead_letters[partition, offset] for offset in offsets]
        mapped: list[Transformed] = []
        for source, group in groupby(range(table.length), key=lambda at: dead_letters[at].source):
            of_one = list(group)
            places = [dead_letters[at].source_offset for at in of_one]
            mapped += self._transform.apply(table.pick(of_one), source.topic, source.partition, places, now_ms)
        if self._lane is None:
            return mapped
        return [Routed(self._lane, made) if isinstance(made, bytes) else made for made in mapped]
