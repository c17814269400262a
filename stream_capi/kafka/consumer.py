"""The Kafka consumer on a thread of its own.

One thread owns the client: it polls, serves every callback, and carries out the commands that the pipeline queues (pause,
resume, commit). What decides its shape:

- An exception that escapes a callback inside ``consume()`` discards the messages that the call had fetched, and the next
  commit would pass over them. So no callback raises: the exception is kept, and ends the thread after the callback.
- A commit for a partition that this member no longer owns *succeeds* and rewinds the group. Revocations are served on this
  thread too, so it is enough to check ownership right before the call.

Over 400 lines: ``assignment``, ``start_offsets``, ``read_policy``, ``commits`` and ``client_errors`` have what could be
separated. What is left is the order in which one thread does things, and every method reads or changes the same assignment.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.core.held_reason import HeldReason
from stream_capi.errors import KafkaLost
from stream_capi.kafka.assignment import Reading
from stream_capi.kafka.client_errors import (
    OUT_OF_RANGE,
    Events,
    Faults,
    error_of,
    is_fatal,
    lost,
    made,
    why_out_of_range,
)
from stream_capi.kafka.commits import CALL_SECONDS, Commits
from stream_capi.kafka.properties import uses_new_protocol
from stream_capi.kafka.read_policy import ReadPolicy
from stream_capi.kafka.start_offsets import Place, find_places
from stream_capi.kafka.watch import STATISTICS_MS, StatisticsWatch
from stream_capi.model import NO_LEADER_EPOCH, Commit, CommitResult, Committed, Records, TopicPartition, Trouble

# Records of one fetch call. A call costs several hand-overs of the interpreter's lock between the two threads, in a virtual
# machine 20 µs each: so not too few. And all are mapped in one go, in some 10 ms, so that the loop stays responsive.
CHUNK = 1000
_IDLE_SECONDS = 0.1  # how long a poll waits for the first record, and so how late a command may be served
_BEHIND_SECONDS = 1.0  # how long the loop may grant no credit before reading stops
_REASSURE_SECONDS = 1.0  # how often the high watermarks are reported
_ASK_SECONDS = 5.0  # how often those of paused partitions are asked for, which no fetch brings
_LOOK_SECONDS = 10.0  # how often a topic of which nothing is assigned is looked for
_UNASSIGN_SECONDS = 1.0  # until the client has taken back the assignment after the last commit
_JOIN_SECONDS = 2.0  # of a stop's time: until a join has ended that is under way
_LEAVE_SHARE = 0.2  # of a stop's time: kept for leaving the group


class Sink(Protocol):
    """The pipeline, as the consumer sees it. All methods but ``revoke`` return at once; all are called on the event loop."""

    def assigned(self, committed: Sequence[Committed], topic_ids: Mapping[str, str]) -> None: ...
    def fetched(self, chunks: Sequence[Records]) -> None: ...
    def committed(self, results: Sequence[CommitResult]) -> None: ...
    def watermarks(self, high: Mapping[TopicPartition, int]) -> None: ...
    def stop_partition(self, tp: TopicPartition, reason: HeldReason) -> None: ...
    async def revoke(self, partitions: Sequence[TopicPartition], seconds: float) -> list[Commit]: ...
    def lost(self, partitions: Sequence[TopicPartition]) -> None: ...


class ConsumerThread:
    """A member of the group. Every wait in here has a deadline, except the one for the first record.

    ``policy`` says what is read of the partitions.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        policy: ReadPolicy,
        topic_ids: Callable[[Sequence[str]], Mapping[str, str]],
        events: Events,
        revoke_seconds: float,
    ) -> None:
        self._policy = policy
        self._topics = list(policy.topics)
        self._topic_ids = topic_ids
        self._events = events
        self._revoke_seconds = revoke_seconds
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # One chunk at a time: if the next were fetched earlier, it would have left the processor's caches when it is mapped.
        self._room = threading.Semaphore(1)
        self._most = CHUNK
        self._stopping = threading.Event()
        self._stop_by: float | None = None
        self.leave_for_good = False  # set before ``stop``: a static member leaves the group, too
        # Called on the thread before calls that may hold the interpreter's lock for good.
        self.on_leave: Callable[[], None] = lambda: None
        self._resting = False
        self._failure: BaseException | None = None
        self._known_epoch = 0  # the last one that the sink knows; on the loop
        self.ended: asyncio.Future[None] | None = None
        # On the thread
        self._epoch = 0
        self._left = False
        self._joined = False  # an assignment came, and was not lost since
        self._place_at = self._reported_at = self._asked_at = 0.0
        self._look_at = time.monotonic() + _LOOK_SECONDS / 3
        self._faults = Faults(events)
        self.watch = StatisticsWatch(self._faults)
        self._ends: dict[TopicPartition, int] = {}
        self._hushed: set[TopicPartition] = set()  # paused, so that a query gets through
        self._ended: list[TopicPartition] = []  # read to the end that the policy sets; to be reported to the sink
        self._commits = Commits(self._owns, lambda results: self._call(self._sink.committed, results))
        self._properties = {
            **properties,
            **policy.properties,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Reading on from another place than the committed one is a decision for a person (contract, section 7.7).
            "auto.offset.reset": "error",
            "on_commit": self._guarded(self._on_commit),
            "error_cb": self._guarded(self._on_error),
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": self._guarded(self._on_statistics),
        }
        strategy = str(properties.get("partition.assignment.strategy", ""))
        self._classic = not uses_new_protocol(properties)
        # Under the newer protocol a static member leaves for a while on every path.
        self._stays = self._classic and bool(properties.get("group.instance.id"))
        incremental = not self._classic or strategy.strip().lower().startswith("cooperative")
        self._reading = Reading(incremental, self._on_message_error)
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)

    # From the event loop

    def start(self, sink: Sink) -> asyncio.Future[None]:
        """Join the group. The future ends when the thread does, with KafkaLost where it can't go on.

        Raises ConfigurationError when the client refuses one of ``kafka.properties``.
        """
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._consumer = made(Consumer, self._properties)
        self.ended = self._loop.create_future()
        self._thread.start()
        return self.ended

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop reading from these partitions. What was prefetched is discarded, and fetched again later."""
        known = self._known_epoch
        self._commands.put(lambda: self._hold(self._meant(partitions, known)))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read from these partitions again, from where they were paused."""
        known = self._known_epoch
        self._commands.put(lambda: self._resume(self._meant(partitions, known)))

    def commit(self, commits: Sequence[Commit]) -> None:
        """Commit without waiting; the results come by ``Sink.committed``, those that are no longer owned as fenced."""
        self._commands.put(lambda: self._commits.send(self._consumer, commits))

    def grant_credit(self, most: int | None = None) -> None:
        """The next chunk may come, of at most ``most`` records."""
        self._most = CHUNK if most is None else min(most, CHUNK)
        self._room.release()

    def log_in_as(self, user: str, password: str) -> None:
        """Log in with another password from now on. Connections stay until the brokers ask again."""
        self._commands.put(lambda: self._consumer.set_sasl_credentials(user, password))

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The partitions that are not read from at present."""
        return frozenset(self._reading.paused)

    @property
    def missing_topics(self) -> frozenset[str]:
        """The topics that the broker doesn't know."""
        return self._faults.missing

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What waits for a broker without an error of the client."""
        return self.watch.troubles

    @property
    def timeouts(self) -> Mapping[str, int]:
        """Requests that timed out, by broker."""
        return self.watch.timeouts

    def rest(self) -> None:
        """Read nothing more, but stay a member: the first step of a shutdown."""
        self._resting = True
        self._commands.put(lambda: self._pause(list(self._reading.owned)))

    async def stop(self, seconds: float) -> bool:
        """Stop polling, commit what the sink says, leave the group. False when that took longer than ``seconds``.

        The thread is then left behind in the client's code, which a frozen broker can block without end.
        """
        self._stop_by = time.monotonic() + seconds * (1 - _LEAVE_SHARE)
        self._stopping.set()
        assert self.ended is not None  # noqa: S101 -- stop comes after start
        done, _ = await asyncio.wait([self.ended], timeout=seconds)
        return bool(done)

    # On the thread

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                self._topics,
                on_assign=self._guarded(self._on_assign),
                on_revoke=self._guarded(self._on_revoke),
                on_lost=self._guarded(self._on_lost),
            )
            while not self._stopping.is_set() and self._failure is None:
                self._turn()
        except BaseException as error:
            self._failure = self._failure or error
        self.on_leave()
        if self._failure is not None:  # reported before the close, which a frozen broker can hold
            self._call(self._end, self._failure)
        try:
            self._leave()
        except BaseException as error:
            self._failure = self._failure or error
        self._call(self._end, self._failure)

    def _leave(self) -> None:
        """Commit and leave the group. A static member ends without LeaveGroup, so that it can come back (KIP-345).

        As much as possible is done before ``close()``, which has no deadline: there the client answers a rebalance that began
        just before, and if the group has ended it waits for ever, holding the interpreter's lock.
        """
        self._give_up(list(self._reading.owned))
        self._left = True
        # If a rebalance has overtaken this member, the client's answer to it fails, as an error of the call that serves it.
        # Everything is committed by now. Without the close the group would wait for this member.
        try:
            self._unassign()
        except (KafkaException, SystemError) as error:
            reason = error_of(error).str() if isinstance(error, KafkaException) else type(error).__name__
            self._events.kafka("the client could not take back its assignment", reason=reason)
        self._consumer.close()

    def _unassign(self) -> None:
        """Serve the group's callbacks and unsubscribe. In a classic group this makes even a static member leave."""
        if self._stays and not self.leave_for_good:
            self._consumer.consume(CHUNK, _IDLE_SECONDS)
            return
        join_by = min(time.monotonic() + _JOIN_SECONDS, self._stop_by or 0.0)
        # Before the first assignment the client doesn't know that it is a member, and would send no LeaveGroup.
        while not self._joined and time.monotonic() < join_by:
            self._consumer.consume(CHUNK, 0.01)
        self._consumer.unsubscribe()
        deadline = max(join_by, time.monotonic() + _UNASSIGN_SECONDS)
        while self._consumer.consume(CHUNK, 0.01) or self._consumer.assignment() or self._is_member():
            if time.monotonic() > deadline:  # a join under way holds it up: the close goes on with it
                return

    def _is_member(self) -> bool:
        """Whether the client has yet to send LeaveGroup: it puts that off while it joins, and forgets it in its close.

        By the newer protocol the client makes its member id itself, and leaves in its close as well.
        """
        return self._classic and bool(self._consumer.memberid())

    def _lost(self, error: KafkaError) -> KafkaLost:
        return lost(error, str(self._properties["group.id"]))

    def _end(self, error: BaseException | None) -> None:
        assert self.ended is not None  # noqa: S101 -- the thread runs after start
        if isinstance(error, KafkaException):
            error = self._lost(error_of(error))
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)

    def _turn(self) -> None:
        while not self._commands.empty():
            self._commands.get()()
        self._commits.expire(self._consumer)
        self._place_the_unplaced()
        chunks: list[Records] = []
        # Mapping takes milliseconds a chunk, so this wait is short.
        if not self._room.acquire(timeout=_BEHIND_SECONDS):
            chunks = self._wait_for_room()
        chunks += self._fetch(self._most, 0.0) or self._fetch(1, _IDLE_SECONDS)
        if chunks:
            self._call(self._sink.fetched, chunks)
        else:
            self._room.release()
        self._report_watermarks()
        self._look_for_topics()
        self._report_ended()

    def _wait_for_room(self) -> list[Records]:
        """The loop is behind: go on polling with everything paused, since a member that doesn't poll is evicted.

        Returns what was fetched before the pause took effect, when there is room for it.
        """
        stray: list[Records] = []
        waiting: set[TopicPartition] = set()
        while not self._stopping.is_set() and self._failure is None:
            reading = [tp for tp in self._reading.owned if tp not in self._reading.paused]
            waiting.update(reading)
            self._pause(reading)
            stray += self._fetch(self._most, 0.0)
            if self._room.acquire(timeout=_BEHIND_SECONDS):
                break
        self._resume([tp for tp in waiting if tp in self._reading.owned])
        return stray

    def _fetch(self, count: int, seconds: float) -> list[Records]:
        allowed = self._policy.allowed(count)
        if not allowed:
            return []
        chunks = self._reading.fetch(self._consumer, allowed, seconds)
        chunks = [part for chunk in chunks if (part := self._policy.part_of(chunk)).records]
        self._pause_ended()
        return chunks

    def _pause_ended(self) -> None:
        ended = self._policy.take_ended()
        if ended:
            self._pause(ended)
            self._ended += ended

    def _report_ended(self) -> None:
        """Called last in a turn: what was fetched with these ends has been handed over by then."""
        for tp in self._ended:
            if tp in self._reading.owned:
                self._call(self._policy.handed_over, tp, self._reading.owned[tp])
        self._ended = []

    def _on_message_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None  # noqa: S101 -- asked by the caller
        topic, number = message.topic(), message.partition()
        if is_fatal(error):
            self._failure = self._failure or self._lost(error)
        elif error.code() in OUT_OF_RANGE and topic is not None and number is not None:
            self._call(self._sink.stop_partition, TopicPartition(topic, number), why_out_of_range(error))
        elif error.code() == KafkaError._PARTITION_EOF:
            tp = TopicPartition(topic or "", number or 0)
            if tp in self._reading.owned:
                self._policy.log_ended(tp, message.offset() or 0)
        else:
            self._faults.report_error(error, topic, number)

    def _report_watermarks(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < _REASSURE_SECONDS or not self._reading.owned:
            return
        self._reported_at = now
        # A question that times out behind a long answer would cost the connection, and with it the answer.
        ask = now - self._asked_at >= _ASK_SECONDS and not self.watch.busy
        if ask:
            self._asked_at = now
        try:
            self._report_ends(self._reading.high(self._consumer, _REASSURE_SECONDS if ask else None))
        except KafkaException as error:
            self._faults.report_error(error_of(error))

    def _look_for_topics(self) -> None:
        """Report a missing topic: the broker reports it with the classic protocol only. Never called in a callback."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        read = {tp.topic for tp in (*self._reading.owned, *self._reading.unplaced)}
        for topic in self._topics:
            if topic not in read and not self._stopping.is_set():
                try:
                    found = self._consumer.list_topics(topic, timeout=_REASSURE_SECONDS).topics[topic]
                except KafkaException as error:
                    self._faults.report_error(error_of(error))
                    return
                if found.error is None:
                    self._faults.found(topic)
                else:
                    self._faults.report_error(found.error, topic)

    # Reading and not reading

    def _report_ends(self, high: Mapping[TopicPartition, int]) -> None:
        self._ends.update(high)
        self._call(self._sink.watermarks, high)

    def _meant(self, partitions: Sequence[TopicPartition], known: int) -> list[TopicPartition]:
        """The partitions that the sink can have meant: an assignment that it doesn't know yet starts without its pauses."""
        return [tp for tp in partitions if self._reading.owned.get(tp, known + 1) <= known]

    def _hold(self, partitions: Sequence[TopicPartition]) -> None:
        self._hushed.difference_update(partitions)
        self._pause(partitions)

    def _pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._reading.pause(self._consumer, partitions)

    def _resume(self, partitions: Sequence[TopicPartition]) -> None:
        if not self._resting:
            self._reading.resume(self._consumer, [tp for tp in partitions if not self._policy.is_over(tp)])

    def _owns(self, commit: Commit) -> bool:
        return self._reading.owned.get(TopicPartition(commit.topic, commit.partition)) == commit.epoch

    # Callbacks of the client, served on the thread

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        def serve(*args: Any) -> None:
            try:
                callback(*args)
            except BaseException as error:
                self._failure = self._failure or error

        return serve

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._failure = self._failure or self._lost(error)
        else:
            self._faults.report_error(error)

    def _on_statistics(self, statistics: str) -> None:
        reading = self._reading
        if not self._left:
            self.watch.judge(statistics, {**reading.owned, **reading.unplaced}, reading.paused, self._ends)

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[ClientPartition]) -> None:
        if error is None:
            self._faults.answered()
        self._commits.answered(self._consumer, error, partitions)

    def _on_assign(self, consumer: Consumer, partitions: Sequence[ClientPartition]) -> None:
        self._epoch += 1
        joins, self._joined = not self._joined, True
        assigned = [TopicPartition(p.topic, p.partition) for p in partitions]
        # After leaving has begun nothing is read, but the assignment must be answered in full: otherwise the group's list and
        # the client's own differ, the client refuses to unassign the group's, and its close never ends.
        places = [] if self._left else self._find(self._wanted(assigned)) or []
        self._reading.assign(consumer, assigned, places, self._epoch)
        self._take_up(places)
        if (assigned or joins) and not self._left:  # an empty share is one, too: this member is idle, and joins no more
            self._events.kafka("assigned", count=len(assigned), epoch=self._epoch)

    def _find(self, partitions: Sequence[TopicPartition]) -> list[Place] | None:
        """Find where to read from. None if the broker doesn't answer now; it is asked again soon.

        Retrying here would delay every other callback, and finally cost the membership.
        """
        self._place_at = time.monotonic() + _REASSURE_SECONDS
        try:
            return find_places(self._consumer, partitions, self._policy.start, CALL_SECONDS)
        except KafkaException as error:
            self._faults.report_error(error_of(error))
            return None

    def _place_the_unplaced(self) -> None:
        unplaced = self._wanted(self._reading.unplaced)
        if (unplaced or self._hushed) and time.monotonic() >= self._place_at:
            places = self._find(unplaced)
            self._take_up(places or [])
            self._hush(unanswered=places is None)

    def _wanted(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        return [tp for tp in partitions if self._policy.wants(tp)]

    def _hush(self, unanswered: bool) -> None:
        """Read nothing until the start offsets are found, if the query was lost behind a long answer on a slow connection.

        The client closes a connection on which a request times out, and the answer under way is lost with it.
        """
        if unanswered and self.watch.busy:
            reading = [tp for tp in self._reading.owned if tp not in self._reading.paused]
            self._hushed.update(reading)
            self._pause(reading)
        elif self._hushed:
            hushed, self._hushed = self._hushed, set()
            self._resume([tp for tp in hushed if tp in self._reading.owned])

    def _take_up(self, places: Sequence[Place]) -> None:
        """Own these partitions and notify the sink, before the first of their records can arrive."""
        if not places:
            return
        self._policy.begin(places)
        self._faults.answered()
        committed: list[Committed] = []
        for place in places:
            epoch = self._reading.own(place)
            self._faults.found(place.tp.topic)
            at = Committed(*place.tp, epoch, place.offset, place.metadata, place.was_committed, place.leader_epoch)
            committed.append(at)
            if place.was_committed and place.leader_epoch == NO_LEADER_EPOCH:
                self._faults.unvalidated(place.tp.topic)
        topic_ids = self._topic_ids(sorted({place.tp.topic for place in places}))
        self._call(self._assigned, self._epoch, committed, topic_ids)
        self._report_ends({place.tp: place.high for place in places})
        self._pause([place.tp for place in places if place.stopped or self._resting])
        self._resume([place.tp for place in places if not place.stopped])
        self._pause_ended()
        for place in places:
            if place.stopped:
                self._call(self._sink.stop_partition, place.tp, place.stopped)

    def _assigned(self, epoch: int, committed: Sequence[Committed], topic_ids: Mapping[str, str]) -> None:
        self._known_epoch = epoch
        self._sink.assigned(committed, topic_ids)

    def _on_revoke(self, _: Consumer, partitions: Sequence[ClientPartition]) -> None:
        leaving = [TopicPartition(p.topic, p.partition) for p in partitions]
        if self._left:  # the sink never knew of these
            self._reading.disown(leaving)
        else:
            self._give_up(leaving)

    def _give_up(self, leaving: Sequence[TopicPartition]) -> None:
        """Await the requests in flight for these partitions, commit, and disown them."""
        if not leaving:
            return
        seconds = self._revoke_seconds
        if self._stop_by is not None:
            seconds = min(seconds, self._stop_by - time.monotonic())
        deadline = time.monotonic() + seconds
        commits = self._outcome(leaving, seconds) if self._failure is None and seconds > 0 else None
        if commits is None:
            self._call(self._sink.lost, leaving)
        elif commits:
            self._commits.wait_for(self._consumer, commits, max(1.0, deadline - time.monotonic()))
        self._reading.disown(leaving)
        self._events.kafka("revoked", count=len(leaving), epoch=self._epoch)

    def _outcome(self, leaving: Sequence[TopicPartition], seconds: float) -> list[Commit] | None:
        """What the sink wants committed; None if the loop is stuck, and the next owner must send again."""
        given_up = threading.Event()

        async def drain() -> list[Commit]:
            # If it started or went on later, it would fence these partitions after they may have been assigned again.
            return [] if given_up.is_set() else await self._sink.revoke(leaving, seconds)

        draining = drain()
        try:
            future = asyncio.run_coroutine_threadsafe(draining, self._loop)
        except RuntimeError:  # the loop is closed
            draining.close()
            return None
        try:
            return future.result(seconds + 2.0)
        except FutureTimeout:
            given_up.set()
            future.cancel()
            return None

    def _on_lost(self, consumer: Consumer, partitions: Sequence[ClientPartition]) -> None:
        leaving = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._joined = False
        self._reading.disown(leaving)
        self._call(self._sink.lost, leaving)
        self._events.kafka("lost", count=len(leaving), epoch=self._epoch)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Call on the event loop. After the loop has closed, do nothing: the process ends."""
        try:
            self._loop.call_soon_threadsafe(self._serve, function, args)
        except RuntimeError:
            self._stopping.set()

    def _serve(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run on the event loop, where an exception would only be logged: it must end the process instead."""
        try:
            function(*args)
        except Exception as error:
            self._stopping.set()
            self._end(error)
