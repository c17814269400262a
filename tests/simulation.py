"""A simulation of the whole line: simulated time, a log in memory, and an endpoint with scripted answers.

The event loop's time jumps to the next timer when nothing else is left to do. So a day of retries takes only as long as its
requests, and each run is the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import wraps
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast

from stream_capi.avro.framing import FILE_KEY, Run, SchemaKey
from stream_capi.core.batch import Batch
from stream_capi.core.flow import Backoff, Gate
from stream_capi.model import (
    Answer,
    Code,
    CommitResult,
    Committed,
    DeadLetter,
    EventName,
    Lane,
    Records,
    Rejection,
    TopicPartition,
)
from stream_capi.observe.health import Health, Held, Parts
from stream_capi.pipeline.delivery import Clock
from stream_capi.pipeline.delivery_rules import DeliveryRules
from stream_capi.pipeline.pipeline import Pipeline
from stream_capi.pipeline.source import Codec
from tests.fake_record import FakeRecord
from tests.simulated_broker import SimulatedBroker

T = TypeVar("T")
P = ParamSpec("P")
LEADS = Lane("main", EventName.GENERATE_LEAD)
VIEWS = Lane("main", EventName.PAGE_VIEW)
EPOCH = 1_800_000_000.0


class _Jumping(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout != 0:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: the line is stuck")
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with simulated time, which jumps to the next timer."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` in simulated time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


def simulated(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test in simulated time."""

    @wraps(test)
    def run(*args: P.args, **named: P.kwargs) -> None:
        simulate(test(*args, **named))

    return run


CODEC = Codec(cast(Any, None), cast(Any, None))  # for sources that need no codec


class PlainSource:
    """A source whose values are the payloads; a value that is empty or begins with ``bad`` can't be mapped."""

    def __init__(self, topic: str, lane: Lane, window: float = 1.0) -> None:
        self.topic = self.name = topic
        self.lane, self.pixel, self.window = lane, lane.pixel, window
        self.max_ratio: float | None = None
        self.paused = False
        self.waiting_for: dict[SchemaKey, str] = {}
        self.load: Callable[[SchemaKey], Awaitable[Any]] | None = None

    def frame(self, records: Sequence[Any], values: Sequence[bytes]) -> list[Run]:
        return [Run(FILE_KEY, 0, list(values))]

    def codec(self, key: SchemaKey) -> Any:
        return CODEC if self.load is None else None

    def transform(
        self, codec: Any, payloads: Sequence[bytes], partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Any]:
        return [p if p and not p.startswith(b"bad") else Rejection(Code.MISSING_FIELD, "email") for p in payloads]


Answering = Callable[[str, Sequence[str], float], "tuple[float, Answer]"]


def held(pipeline: Pipeline) -> list[Held]:
    """Everything that is held, as in ``/status``."""
    return Health(cast(Parts, SimpleNamespace(pipeline=pipeline))).held()


def always(status: int, seconds: float = 0.05) -> Answering:
    """An endpoint that answers all requests with this status."""
    return lambda pixel, ids, now: (seconds, Answer(status))


class Line:
    """A pipeline between a log and an endpoint. Every commit is checked: it must not pass an open event, nor go back."""

    def __init__(self, answering: Answering, topics: Mapping[str, Lane] | None = None, **rules: Any) -> None:
        lanes = {"leads": LEADS, "views": VIEWS} if topics is None else topics
        self.answering = answering
        self.sources: dict[str, Any] = {topic: PlainSource(topic, lane) for topic, lane in lanes.items()}
        self.broker = SimulatedBroker(lambda record: self.has_outcome(record.value()))
        self.logs, self.store = self.broker.logs, self.broker.store
        self.ids: dict[str, str] = {}  # topic ids, if the broker gives them
        self.leader_epoch = 0  # of every record
        self.accepted: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.dead_letter_codes: Counter[str] = Counter()
        self.requests: list[tuple[float, str, list[str], int | None]] = []
        self.reports: Counter[str] = Counter()
        self.settings = {"max_buffered_bytes": 2**20} | rules
        self.random = random.Random(7)
        self.ahead = 0.0  # seconds by which the local wall clock is ahead
        self.write_seconds = 0.0
        self.unwritable: str | None = None  # the event whose dead letter can't be written with its content
        self.by_reference: list[str] = []
        self.epoch = 0
        self.chunk = 50
        self.most: int | None = None  # most records of the next chunk, if the pipeline limits it
        self.room = 1  # how many chunks may be handed over
        self.in_flight = self.most_in_flight = 0
        self._new_pipeline()

    def _new_pipeline(self) -> None:
        loop = asyncio.get_running_loop()
        settings = dict(self.settings)
        budget = settings.pop("max_buffered_bytes")
        rules = DeliveryRules(
            **{
                "max_events": 10,
                "max_bytes": 2**20,
                "max_in_flight": 8,
                "backoff": Backoff(0.5, 60.0),
                "max_split_requests": 64,
                "probe_seconds": 30.0,
                "max_dead_letter_ratio": 0.5,
            }
            | settings
        )
        clock = Clock(loop.time, lambda: EPOCH + loop.time() + self.ahead, self.random.random)
        lanes = [lane for source in self.sources.values() for lane in self.lanes_of(source)]
        self.pipeline = Pipeline(self.sources, lanes, rules, self.post, self, self, self, clock, budget)
        self.paused: set[TopicPartition] = set()
        self.positions: dict[TopicPartition, int] = {}

    def lanes_of(self, source: Any) -> list[Lane]:
        return [source.lane]

    # The endpoint

    async def post(self, batch: Batch) -> Answer:
        ids = [json.dumps(one) if not isinstance(one, str) else one for one in json.loads(batch.body())["events"]]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        answer = await self.exchange(ids, batch)
        self.in_flight -= 1
        self.requests.append((asyncio.get_running_loop().time(), batch.lane.pixel, ids, answer.status))
        if answer.status == 200:
            self.accepted.update(ids)
        return answer

    async def exchange(self, ids: list[str], batch: Batch) -> Answer:
        """Answer a request after the time that its answer takes. A request that is cut off before counts as never received."""
        seconds, answer = self.answering(batch.lane.pixel, ids, asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        return answer

    async def write(self, dead_letter: DeadLetter) -> None:
        await asyncio.sleep(self.write_seconds)
        text = (dead_letter.record.value() or b"").decode()
        if dead_letter.place_only:
            self.by_reference.append(text)
        elif text == self.unwritable:
            raise SystemError("its headers can't be read")
        self.dead_letters[(dead_letter.record.value() or b"").decode().strip('"')] += 1
        self.dead_letter_codes[dead_letter.code.value] += 1

    # Kafka's side

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused.update(partitions)
        self.reports["pause"] += 1

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused.difference_update(partitions)

    def grant_credit(self, most: int | None) -> None:
        self.room += 1
        self.most = most

    def commit(self, commits: Any) -> None:
        if isinstance(commits, str):  # the observer has a method of the same name
            self.reports[f"commit {commits}"] += 1
            return
        for commit in commits:
            self.broker.take(commit)
        asyncio.get_running_loop().call_soon(self.pipeline.committed, [CommitResult(c, None) for c in commits])

    def has_outcome(self, value: bytes | None) -> bool:
        text = (value or b"").decode().strip('"')
        return value is None or text in self.accepted or text in self.dead_letters

    def produce(self, topic: str, partition: int, *ids: str | None) -> None:
        values = [None if one is None else (one if one.startswith("bad") else json.dumps(one)).encode() for one in ids]
        self.append(TopicPartition(topic, partition), *values)

    def append(self, tp: TopicPartition, *values: bytes | None) -> None:
        log = self.logs[tp]
        for value in values:
            place, timestamp = (*tp, log.end), self.written(value)
            log.append(FakeRecord(value, place=place, timestamp=timestamp, leader_epoch=self.leader_epoch))

    def written(self, value: bytes | None) -> tuple[int, int]:
        """The record's timestamp: its type (1: set by the producer, 2: by the broker) and milliseconds."""
        return 1, int(EPOCH * 1000)

    def assign(self, *partitions: TopicPartition) -> None:
        self.epoch += 1
        places = []
        for tp in partitions:
            self.positions[tp], metadata = self.broker.place(tp)
            places.append(Committed(*tp, self.epoch, self.positions[tp], metadata, tp in self.store))
        self.pipeline.assigned(places, self.ids)

    def unassign(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            self.positions.pop(tp, None)
            self.paused.discard(tp)

    async def revoke(self, *partitions: TopicPartition, seconds: float = 15.0) -> None:
        self_positions = {tp: self.positions.pop(tp) for tp in partitions}
        commits = await self.pipeline.revoke(partitions, seconds)
        for commit in commits:
            self.broker.take(commit)
        self.unassign(*self_positions)

    async def feed(self) -> None:
        """Fetch, regulate and commit a few times a second, but less and less often while idle, to keep a long day cheap."""
        rest = 0.1
        while True:
            rest = min(rest * 1.02, 5.0)
            for tp, position in list(self.positions.items()):
                records = self.logs[tp].read(position, min(self.chunk, self.most or self.chunk))
                if records and tp not in self.paused and self.room > 0:
                    self.room -= 1
                    rest = 0.1
                    del self.positions[tp]  # move it to the end, so that the others come first next time
                    self.positions[tp] = position + len(records)
                    epoch = self.pipeline.partitions[tp].offsets.epoch
                    self.pipeline.fetched([Records(*tp, epoch, records)])
            self.pipeline.regulate()
            self.pipeline.commit()
            await asyncio.sleep(rest)

    async def run_for(self, seconds: float) -> None:
        """Let the line run for a while. It may be called again."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.pipeline.run()), group.create_task(self.feed())]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()

    # The observer

    def __getattr__(self, name: str) -> Any:
        if name in ("consumed", "delivered", "dead_lettered", "skipped", "request", "batch", "registry", "api_said"):
            return lambda *args: self.reports.update([name])
        if name in ("partition_stopped", "intake_held", "chunk_failed", "internal_error", "hold_over", "clock_differs"):
            return lambda *args: self.reports.update([f"{name} {args[-1]}"])
        if name == "pause_blocks":
            return lambda *args: self.reports.update([f"{name} {args[-1]}"])
        raise AttributeError(name)

    def gate_changed(self, subject: str, gate: Gate) -> None:
        self.reports[f"{subject} {gate.state.value} {gate.reason}".strip()] += 1

    @property
    def lag(self) -> int:
        return self.broker.lag
