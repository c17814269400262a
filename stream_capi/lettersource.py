"""The dead-letter topic as a source of events: each letter is framed, decoded and mapped as its own source says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from stream_capi.avro.framing import Run, SchemaKey, Unframed
from stream_capi.letters import Letter
from stream_capi.model import Record, Rejection, Routed, Transformed
from stream_capi.record_headers import all_headers, marked
from stream_capi.source import Codec, Source, Transform


class Event:
    """A letter as the event that it was, at the letter's place; ``original`` is the same at the place it came from."""

    __slots__ = ("_at", "_record", "_value", "letter")

    def __init__(self, record: Record, value: bytes | None, letter: Letter, at_source: bool = False) -> None:
        self.letter = letter
        self._record = record
        self._value = value
        self._at = (*letter.source, letter.source_offset) if at_source else (*letter.at, letter.offset)

    def __repr__(self) -> str:
        topic, partition, offset = self._at
        return f"Event({topic}[{partition}]@{offset})"

    @property
    def original(self) -> Event:
        return Event(self._record, self._value, self.letter, at_source=True)

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
        return marked(all_headers([self._record])[0], self.letter.headers_lost)

    def timestamp(self) -> tuple[int, int]:
        """When the event itself was produced."""
        return (1, self.letter.source_written) if self.letter.source_written > 0 else (0, -1)


class LetterSource(Source):
    """A source of ``Event`` records, which go to the lanes of their own ``sources``. ``window`` in seconds.

    ``letters`` gives the letter at a partition and offset of the dead-letter topic.
    """

    def __init__(
        self, topic: str, sources: Mapping[str, Source], letters: Mapping[tuple[int, int], Letter], window: float
    ) -> None:
        # What else a source is made of (framing, schemas, mapping) is left to those that it stands for.
        self.topic, self.lane, self.pixel, self.window = topic, None, None, window
        self.waiting_for = {}
        self._sources = sources
        self._letters = letters

    def frame(self, records: Sequence[Record], values: Sequence[bytes]) -> list[Run | Unframed]:
        """Split a chunk into runs of one source and schema."""
        framed: list[Run | Unframed] = []
        start = 0
        for topic, group in groupby(records, key=self._source_of):
            of_one = list(group)
            for found in self._sources[topic].frame(of_one, values[start : start + len(of_one)]):
                if isinstance(found, Unframed):
                    framed.append(Unframed(start + found.index, found.rejection))
                else:
                    framed.append(Run(_of_source(topic, found.key), start + found.start, found.payloads))
            start += len(of_one)
        return framed

    def _source_of(self, record: Record) -> str:
        return self._letters[record.partition() or 0, record.offset() or 0].source.topic

    def codec(self, key: SchemaKey) -> Codec | Rejection | None:
        """The codec of the letter's own source."""
        source, own = self._own(key)
        codec = source.codec(own)
        return self._placed(source, codec) if isinstance(codec, Codec) else codec

    async def load(self, key: SchemaKey) -> Codec | Rejection:
        """Ask for the schema. Raises RegistryUnavailable where nobody can answer now."""
        source, own = self._own(key)
        codec = await source.load(own)
        return self._placed(source, codec) if isinstance(codec, Codec) else codec

    def _own(self, key: SchemaKey) -> tuple[Source, SchemaKey]:
        topic, _, kind = key.kind.rpartition(":")
        return self._sources[topic], SchemaKey(kind, key.value)

    def _placed(self, source: Source, codec: Codec) -> Codec:
        return Codec(codec.decoder, _AtSource(source, codec.transform, self._letters))


def _of_source(topic: str, key: SchemaKey) -> SchemaKey:
    """The schema of one source, since another may map it in another way. No topic's name has a colon."""
    return SchemaKey(f"{topic}:{key.kind}", key.value)


class _AtSource:
    """A source's transform, told for each letter the place where its event came from."""

    def __init__(self, source: Source, transform: Transform, letters: Mapping[tuple[int, int], Letter]) -> None:
        self._lane = source.lane
        self._transform = transform
        self._letters = letters

    def apply(
        self, rows: Sequence[dict[str, Any]], topic: str, partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        letters = [self._letters[partition, offset] for offset in offsets]
        mapped: list[Transformed] = []
        for source, group in groupby(zip(rows, letters, strict=True), key=lambda pair: pair[1].source):
            of_one = list(group)
            places = [letter.source_offset for _, letter in of_one]
            of_rows = [row for row, _ in of_one]
            mapped += self._transform.apply(of_rows, source.topic, source.partition, places, now_ms)
        if self._lane is None:
            return mapped
        return [Routed(self._lane, made) if isinstance(made, bytes) else made for made in mapped]
