"""The Kafka consumer on a thread of its own.

One thread owns the client: it polls, serves every callback, and carries out the commands that the pipeline queues (pause,
resume, commit). Two things decide its shape:

- An exception that escapes a callback served inside ``consume()`` destroys the messages that the call had fetched, and the
  next commit would pass over them. So no callback lets one out: it is kept, and ends the thread after the callback.
- A commit for a partition that this member no longer owns *succeeds* and rewinds the group. Revocations are served on this
  thread too, so that checking the ownership right before the call is enough.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import (
    TopicPartition as ClientPartition,
)

from stream_capi.errors import ConfigurationError, KafkaLost
from stream_capi.model import Commit, CommitResult, Committed, Records, TopicPartition

CHUNK = 500  # records of one fetch call: some 10 ms of mapping, so that the loop stays responsive
_IDLE_SECONDS = 0.1  # how long a poll waits for the first record, and so how late a command may be served
_MAX_UNDIGESTED = 3  # chunks handed over and not yet mapped
_CALL_SECONDS = 5.0  # deadline of each question to the broker
_REASSURE_SECONDS = 1.0  # how often the high watermarks are told


class Sink(Protocol):
    """The pipeline, as the consumer sees it. All but ``revoke`` return at once; all are called on the event loop."""

    def assigned(self, committed: Sequence[Committed], logs: Mapping[str, str]) -> None: ...
    def fetched(self, chunks: Sequence[Records]) -> None: ...
    def committed(self, results: Sequence[CommitResult]) -> None: ...
    def watermarks(self, high: Mapping[TopicPartition, int]) -> None: ...
    def stop_partition(self, tp: TopicPartition, reason: str) -> None: ...
    async def revoke(self, partitions: Sequence[TopicPartition], seconds: float) -> list[Commit]: ...
    def lost(self, partitions: Sequence[TopicPartition]) -> None: ...


class Events(Protocol):
    """What the thread tells for logs and metrics. Called on its own thread."""

    def kafka(self, event: str, **details: object) -> None: ...


class ConsumerThread:
    """A member of the group. Every wait in here has a deadline, except the one for the first record."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        start: str,
        topic_ids: Callable[[Sequence[str]], Mapping[str, str]],
        events: Events,
        revoke_seconds: float,
    ) -> None:
        self._topics = list(topics)
        self._start = start
        self._topic_ids = topic_ids
        self._events = events
        self._revoke_seconds = revoke_seconds
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MAX_UNDIGESTED)
        self._epoch = 0
        self._owned: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._commits: list[Commit] = []
        self._told_at = 0.0
        self.ended: asyncio.Future[None] | None = None
        self._properties = {
            **properties,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Reading on from another place than the committed one is a decision for a person (contract, section 7.7).
            "auto.offset.reset": "error",
            "on_commit": self._guarded(self._on_commit),
            "error_cb": self._guarded(self._on_error),
        }
        # The client doesn't tell the protocol it negotiated, and the wrong call of the two is an error.
        strategy = str(properties.get("partition.assignment.strategy", ""))
        self._incremental = properties.get("group.protocol") == "consumer" or strategy.startswith("cooperative")
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)

    # From the event loop

    def start(self, sink: Sink) -> asyncio.Future[None]:
        """Join the group. The future ends when the thread does, with KafkaLost where it can't go on.

        Raises ConfigurationError when the client refuses one of ``kafka.properties``.
        """
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        try:
            self._consumer = Consumer(self._properties)
        except KafkaException as error:
            raise ConfigurationError([f"kafka.properties: {error.args[0].str()}"]) from None
        self.ended = self._loop.create_future()
        self._thread.start()
        return self.ended

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Read no more from these partitions; what was prefetched of them is thrown away, not lost."""
        self._commands.put(lambda: self._set_paused(partitions, True))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read from these partitions again, from where they were paused."""
        self._commands.put(lambda: self._set_paused(partitions, False))

    def commit(self, commits: Sequence[Commit]) -> None:
        """Commit without waiting; the results come by ``Sink.committed``, those that are no longer owned as fenced."""
        self._commands.put(lambda: self._commit(commits))

    def digested(self) -> None:
        """A chunk was taken in: there is room for the next one."""
        self._room.release()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    async def stop(self, seconds: float) -> bool:
        """Stop polling, commit what the sink says, leave the group. False when that took longer than ``seconds``.

        The thread is then left behind in the client's own code, which a frozen broker can hold for as long as it likes.
        """
        self._stopping.set()
        assert self.ended is not None  # noqa: S101 -- stop comes after start
        done, _ = await asyncio.wait([self.ended], timeout=seconds)
        return bool(done)

    def rest(self) -> None:
        """Read nothing more, but stay a member: the first step of a shutdown."""
        self._commands.put(lambda: self._set_paused(list(self._owned), True))
        self._resting = True

    _resting = False

    # On the thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            consumer = self._consumer
            consumer.subscribe(
                self._topics,
                on_assign=self._guarded(self._on_assign),
                on_revoke=self._guarded(self._on_revoke),
                on_lost=self._guarded(self._on_lost),
            )
            try:
                while not self._stopping.is_set() and self._failure is None:
                    self._turn()
            finally:
                consumer.close()
        except BaseException as caught:
            error = caught
        error = self._failure or error
        if isinstance(error, KafkaException):
            error = KafkaLost(f"the Kafka client can't go on: {error.args[0].str()}")
        self._call(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        assert self.ended is not None  # noqa: S101 -- the thread runs after start
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)

    def _turn(self) -> None:
        while not self._commands.empty():
            self._commands.get()()
        # Mapping takes milliseconds a chunk, so this wait is short. Were it long, rebalances must be served all the same.
        if not self._room.acquire(timeout=1.0):
            self._serve_without_records()
            return
        messages = self._consumer.consume(CHUNK, 0)
        if not messages:
            messages = self._consumer.consume(1, _IDLE_SECONDS)
            if messages:
                messages += self._consumer.consume(CHUNK - 1, 0)
        chunks = self._chunks(messages)
        if chunks:
            self._call(self._sink.fetched, chunks)
        else:
            self._room.release()
        self._tell_watermarks()

    def _serve_without_records(self) -> None:
        """Serve rebalances while the loop is behind, with everything paused so that no record comes out."""
        reading = [tp for tp in self._owned if tp not in self._paused]
        self._consumer.pause(_client(reading))
        stray = self._chunks(self._consumer.consume(CHUNK, 0))
        self._consumer.resume(_client([tp for tp in reading if tp in self._owned]))
        if stray:  # fetched before the pause took hold: they count like any others
            self._room.acquire()
            self._call(self._sink.fetched, stray)

    def _chunks(self, messages: Sequence[Message]) -> list[Records]:
        chunks: list[Records] = []
        current: Records | None = None
        for message in messages:
            if message.error() is not None:
                self._on_message_error(message)
                continue
            topic, number = message.topic(), message.partition()
            if current is None or number != current.partition or topic != current.topic:
                tp = TopicPartition(str(topic), int(number or 0))
                current = Records(tp.topic, tp.partition, self._owned.get(tp, -1))
                chunks.append(current)
            current.records.append(message)
        return chunks

    def _on_message_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None  # noqa: S101 -- asked by the caller
        topic, number = message.topic(), message.partition()
        if error.fatal():
            self._failure = KafkaLost(f"the Kafka client can't go on: {error.str()}")
        elif error.code() in _OUT_OF_RANGE and topic is not None and number is not None:
            self._call(self._sink.stop_partition, TopicPartition(topic, number), "offset_out_of_range")
        else:
            self._events.kafka("kafka_error", reason=error.name(), topic=topic, partition=number)

    def _tell_watermarks(self) -> None:
        now = time.monotonic()
        if now - self._told_at < _REASSURE_SECONDS or not self._owned:
            return
        self._told_at = now
        high: dict[TopicPartition, int] = {}
        for tp in self._owned:
            offsets = self._consumer.get_watermark_offsets(ClientPartition(*tp), cached=True)
            if offsets and offsets[1] >= 0:
                high[tp] = offsets[1]
        self._call(self._sink.watermarks, high)

    def _set_paused(self, partitions: Sequence[TopicPartition], paused: bool) -> None:
        owned = [tp for tp in partitions if tp in self._owned]
        if paused:
            self._paused.update(owned)
            self._consumer.pause(_client(owned))
        elif not self._resting:
            self._paused.difference_update(owned)
            self._consumer.resume(_client(owned))

    def _commit(self, commits: Sequence[Commit]) -> None:
        owned = [commit for commit in commits if self._owns(commit)]
        fenced = [CommitResult(commit, "fenced") for commit in commits if not self._owns(commit)]
        if owned:
            try:
                self._consumer.commit(offsets=_offsets(owned), asynchronous=True)
                self._commits = owned
            except KafkaException as error:
                fenced += [CommitResult(commit, error.args[0].name()) for commit in owned]
                owned = []
        if not owned:
            self._call(self._sink.committed, fenced)

    def _owns(self, commit: Commit) -> bool:
        return self._owned.get(TopicPartition(commit.topic, commit.partition)) == commit.epoch

    # Callbacks of the client, served on the thread

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        def serve(*args: Any) -> None:
            try:
                callback(*args)
            except BaseException as error:
                self._failure = self._failure or error

        return serve

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._failure = KafkaLost(f"the Kafka client can't go on: {error.str()}")
        self._events.kafka("kafka_error", reason=error.name())

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[ClientPartition]) -> None:
        told = {(p.topic, p.partition, p.offset): p.error or error for p in partitions}
        sent = [commit for commit in self._commits if (commit.topic, commit.partition, commit.offset) in told]
        if not sent:  # the end of a commit that was waited for in place
            return
        self._commits = []
        errors = [told[commit.topic, commit.partition, commit.offset] for commit in sent]
        results = [CommitResult(c, e.name() if e is not None else None) for c, e in zip(sent, errors, strict=True)]
        self._call(self._sink.committed, results)

    def _on_assign(self, consumer: Consumer, partitions: Sequence[ClientPartition]) -> None:
        self._epoch += 1
        committed, stopped = self._places(consumer, partitions)
        for place in committed:
            self._owned[TopicPartition(place.topic, place.partition)] = self._epoch
        logs = self._topic_ids(sorted({place.topic for place in committed}))
        self._call(self._sink.assigned, committed, logs)
        at = [ClientPartition(place.topic, place.partition, place.offset) for place in committed]
        (consumer.incremental_assign if self._incremental else consumer.assign)(at)
        if self._resting:
            consumer.pause(at)
        for tp, reason in stopped.items():
            consumer.pause(_client([tp]))
            self._paused.add(tp)
            self._call(self._sink.stop_partition, tp, reason)
        self._events.kafka("assigned", count=len(committed), epoch=self._epoch)

    def _places(
        self, consumer: Consumer, partitions: Sequence[ClientPartition]
    ) -> tuple[list[Committed], dict[TopicPartition, str]]:
        """Where to read from, and which partitions can't go on. Asks until the broker answers or the program stops."""
        while True:
            try:
                places: list[Committed] = []
                stopped: dict[TopicPartition, str] = {}
                for at in consumer.committed(list(partitions), timeout=_CALL_SECONDS):
                    if at.error is not None:
                        raise KafkaException(at.error)
                    low, high = consumer.get_watermark_offsets(at, timeout=_CALL_SECONDS)
                    place, reason = self._place(at, low, high)
                    places.append(place)
                    if reason:
                        stopped[TopicPartition(at.topic, at.partition)] = reason
                return places, stopped
            except KafkaException as error:
                self._events.kafka("committed_offsets_unknown", reason=error.args[0].name())
                if self._stopping.wait(1.0):
                    raise

    def _place(self, at: ClientPartition, low: int, high: int) -> tuple[Committed, str]:
        if at.offset < 0:
            offset = high if self._start == "latest" else low
            place = Committed(at.topic, at.partition, self._epoch, offset, was_committed=False)
            return place, "no_committed_offset" if self._start == "error" else ""
        place = Committed(at.topic, at.partition, self._epoch, at.offset, at.metadata or "")
        # Retention has passed the committed offset, or the topic was made anew or cut: events are gone, and which ones
        # is not for the program to decide.
        return place, "" if low <= at.offset <= high else "offset_out_of_range"

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[ClientPartition]) -> None:
        leaving = [TopicPartition(p.topic, p.partition) for p in partitions]
        deadline = time.monotonic() + self._revoke_seconds
        future = asyncio.run_coroutine_threadsafe(self._sink.revoke(leaving, self._revoke_seconds), self._loop)
        try:
            commits = future.result(self._revoke_seconds + 2.0)
        except FutureTimeout:  # the loop is stuck: fence without a commit, the next owner sends again
            commits = []
        owned = [commit for commit in commits if self._owns(commit)]
        if owned:
            self._commit_within(consumer, owned, max(1.0, deadline - time.monotonic()))
        self._disown(leaving)
        self._events.kafka("revoked", count=len(leaving), epoch=self._epoch)

    def _commit_within(self, consumer: Consumer, commits: Sequence[Commit], seconds: float) -> None:
        """Commit and wait, but not for ever: a frozen broker holds a synchronous commit for as long as it is frozen."""
        results: list[CommitResult] = []

        def work() -> None:
            try:
                consumer.commit(offsets=_offsets(commits), asynchronous=False)
                results.extend(CommitResult(commit, None) for commit in commits)
            except KafkaException as error:
                results.extend(CommitResult(commit, error.args[0].name()) for commit in commits)

        thread = threading.Thread(target=work, name="kafka-commit", daemon=True)
        thread.start()
        thread.join(seconds)
        self._call(self._sink.committed, results or [CommitResult(commit, "timeout") for commit in commits])

    def _on_lost(self, consumer: Consumer, partitions: Sequence[ClientPartition]) -> None:
        leaving = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._disown(leaving)
        self._call(self._sink.lost, leaving)
        self._events.kafka("lost", count=len(leaving), epoch=self._epoch)

    def _disown(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._owned.pop(tp, None)
            self._paused.discard(tp)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Call on the event loop. A loop that is closed has nobody left to tell."""
        try:
            self._loop.call_soon_threadsafe(self._serve, function, args)
        except RuntimeError:
            self._stopping.set()

    def _serve(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        """On the loop, where an exception would only be logged: a half-taken chunk must end the process instead."""
        try:
            function(*args)
        except Exception as error:
            self._stopping.set()
            self._end(error)


_OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


def _client(partitions: Sequence[TopicPartition]) -> list[ClientPartition]:
    return [ClientPartition(*tp) for tp in partitions]


def _offsets(commits: Sequence[Commit]) -> list[ClientPartition]:
    return [ClientPartition(c.topic, c.partition, c.offset, metadata=c.metadata) for c in commits]
