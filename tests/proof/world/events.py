"""Events with a known expected outcome. An event's value is its id, so that every side can identify it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from stream_capi.avro.framing import Framed, Run, SchemaKey, Unframed
from stream_capi.errors import RegistryUnavailable
from stream_capi.model import Code, Lane, Rejection, Skipped, Transformed
from stream_capi.pipeline.source import Codec
from tests.fake_record import FakeRecord

MAX_BYTES = 2_000  # limit of a request's body; ten ordinary events fit, some long ones don't
_BIG = MAX_BYTES

# kind: (share in a thousand, code of its dead letter or None)
KINDS: dict[str, tuple[int, Code | None]] = {
    "good": (860, None),
    "long": (30, None),  # only a few of these fit into a request
    "poison": (40, Code.REFUSED),  # the endpoint refuses every request with it
    "bad": (25, Code.MISSING_FIELD),  # the mapping rejects it
    "unframed": (5, Code.DECODE_ERROR),
    "unknown": (5, Code.UNKNOWN_SCHEMA),
    "big": (5, Code.TOO_LARGE),  # larger than a request may be
    "skip": (15, None),  # skipped on purpose
    "tombstone": (15, None),
}
SCHEMAS = {"A": 1, "B": 2, "X": 666}
UNKNOWN_ID = 666
NOTHING_TO_DO = frozenset({"skip", "tombstone"})


class Event(NamedTuple):
    """One event: its place and kind. ``log`` is the topic's id, so that events of a recreated topic differ."""

    topic: str
    log: str
    partition: int
    offset: int
    kind: str
    schema: str

    @property
    def id(self) -> str:
        return "|".join([self.schema, self.kind, self.topic, self.log, str(self.partition), str(self.offset)])

    @property
    def code(self) -> Code | None:
        """The code of its dead letter, if it must become one."""
        return KINDS[self.kind][1]

    @property
    def value(self) -> bytes | None:
        if self.kind == "tombstone":
            return None
        padding = {"long": 500, "big": _BIG}.get(self.kind, 0)
        return f"{self.id}|{'.' * padding}".encode()


def event_of(value: bytes | str) -> Event:
    text = value if isinstance(value, str) else value.decode()
    schema, kind, topic, log, partition, offset, _ = text.split("|")
    return Event(topic, log, int(partition), int(offset), kind, schema)


def draw_kind(rng: Random, clean: bool = False) -> str:
    if clean:
        return "good"
    return rng.choices(list(KINDS), [share for share, _ in KINDS.values()])[0]


def draw_schema(rng: Random, kind: str) -> str:
    return "X" if kind == "unknown" else rng.choice("AAAB")


class ModelRecord(FakeRecord):
    """An event as a record of the client."""

    def __init__(self, event: Event, time_ms: int) -> None:
        super().__init__(event.value, place=(event.topic, event.partition, event.offset), timestamp=(1, time_ms))
        self.event = event


class RegistryState:
    """The schema registry of all members: up or down."""

    def __init__(self) -> None:
        self.up = True
        self.seconds = 0.1


class ModelSource:
    """A source whose payload is the event's id, and whose mapping gives the result for the event's kind."""

    def __init__(self, topic: str, lane: Lane, registry: RegistryState, sleep: Any, window: float = 1.0) -> None:
        self.topic = self.name = topic
        self.lane, self.pixel, self.window = lane, lane.pixel, window
        self.max_ratio: float | None = None
        self.paused = False
        self.waiting_for: dict[SchemaKey, str] = {}
        self._registry = registry
        self._sleep = sleep
        self._known: dict[SchemaKey, Codec | Rejection] = {}

    def frame(self, records: Sequence[Any], values: Sequence[bytes]) -> list[Framed]:
        framed: list[Framed] = []
        for index, record in enumerate(records):
            event: Event = record.event
            key = SchemaKey("id", SCHEMAS[event.schema])
            last = framed[-1] if framed else None
            if event.kind == "unframed":
                framed.append(Unframed(index, Rejection(Code.DECODE_ERROR, "no prefix")))
            elif isinstance(last, Run) and last.key == key:
                last.payloads.append(values[index])
            else:
                framed.append(Run(key, index, [values[index]]))
        return framed

    def codec(self, key: SchemaKey) -> Codec | Rejection | None:
        return self._known.get(key)

    async def load(self, key: SchemaKey) -> Codec | Rejection:
        await self._sleep(self._registry.seconds)
        if not self._registry.up:
            raise RegistryUnavailable("the registry does not answer")
        nothing: Any = None  # a codec is only passed back to transform
        is_unknown = key.value == UNKNOWN_ID
        self._known[key] = Rejection(Code.UNKNOWN_SCHEMA, "unknown") if is_unknown else Codec(nothing, nothing)
        return self._known[key]

    def transform(
        self, codec: Codec, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        return [_mapped(payload) for payload in payloads]


def _mapped(payload: bytes) -> Transformed:
    kind = event_of(payload).kind
    if kind == "bad":
        return Rejection(Code.MISSING_FIELD, "event_source_url")
    return Skipped("filtered") if kind == "skip" else b'"' + payload + b'"'
