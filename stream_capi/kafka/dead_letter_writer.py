"""Write dead letters: the original record, and why it could not be delivered (contract, section 8).

A dead letter is the event's terminal outcome only once the broker has acknowledged it, so ``write`` returns no earlier. It
retries whatever goes wrong; meanwhile the event stays open and its partition waits.

A thread of its own polls the client and passes results to the event loop. The bytes in the client at once are bounded; other
dead letters wait outside, where their records are kept anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from stream_capi import __version__
from stream_capi.config.settings import KafkaSection
from stream_capi.core.flow import Backoff
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.client_errors import error_of, is_fatal, made
from stream_capi.kafka.properties import producer_properties
from stream_capi.model import DeadLetter, Record
from stream_capi.record_headers import LOST, headers_of, lost_headers

BY_REFERENCE = "capi-by-reference"
SOURCE_HEADERS = ("capi-source-topic", "capi-source-partition", "capi-source-offset", "capi-source-timestamp")
OWN_HEADERS = frozenset(
    {"capi-error-code", "capi-error-detail", *SOURCE_HEADERS, "capi-attempts", "capi-version", BY_REFERENCE, LOST}
)

_AT_ONCE_BYTES = 8 * 1_048_576
_DEAD_LETTER_OVERHEAD = 1024
_DETAIL_CHARACTERS = 1000
_MOST_HEADERS = 100_000  # of a record with more, the client hands over none: its dead letter could not be read
_REFERENCE_BYTES = 4096  # of key and original headers, that a dead letter by reference still carries
_SILENCE_SECONDS = 10.0  # without an acknowledgement for so long, it is reported
_POLL_SECONDS = 0.5
_BACKOFF = Backoff(0.2, 5.0, jitter=0.5)
# Stands for an acknowledgement without an offset. The client gives one when a broker says that it has the record already.
# After leaders had moved, one was seen whose record was in no log. Writing again may leave the dead letter there twice,
# believing it may lose an event.
_UNPLACED = KafkaError.DUPLICATE_SEQUENCE_NUMBER
_MOST_UNPLACED = 2  # brokers that give none at all are believed then
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

Headers = list[tuple[str, str | bytes | None]]


class Form(NamedTuple):
    """What is produced for a dead letter."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    by_reference: bool = False

    def __repr__(self) -> str:
        return f"Form({len(self.headers)} headers, by reference: {self.by_reference})"


class DeadLetterWriter:
    """One producer for one dead-letter topic, used from one event loop.

    ``on_state`` is called on the loop with the reason when dead letters can't be written, and with None when they can again.
    """

    def __init__(self, kafka: KafkaSection, topic: str, on_state: Callable[[str | None], None] | None = None) -> None:
        self._topic = topic
        self._properties = producer_properties(kafka)
        self._on_state = on_state
        # Called with milliseconds by the broker's clock, and with the seconds that the dead letter took.
        self.on_stamped: Callable[[int, float], None] | None = None
        self._failing: dict[int, str] = {}  # by dead letter
        self._room = _Room(_AT_ONCE_BYTES)
        self._closing = threading.Event()
        self._fatal = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-dead-letters", daemon=True)

    def start(self) -> None:
        """Make the producer; it connects when the first dead letter comes. Raises ConfigurationError."""
        self._loop = asyncio.get_running_loop()
        self._producer = self._made()
        self._thread.start()

    async def write(self, dead_letter: DeadLetter) -> None:
        """Return when the broker has acknowledged the dead letter, however long that takes. Cancelling it is safe.

        A dead letter too large for the topic is tried alone, since it may have been its batch that was too large, and then
        written by reference: its source position and its error, without the value.
        """
        form = _first_form(dead_letter)
        alone = False
        attempt = unplaced = 0
        try:
            while (error := await self._attempt(dead_letter, form, alone)) is not None:
                if error.code() == _UNPLACED:
                    unplaced += 1
                    if unplaced > _MOST_UNPLACED:
                        break
                    continue
                if error.code() in _TOO_LARGE and not form.by_reference:
                    form = reference(dead_letter) if alone else form
                    alone = True
                    continue
                attempt += 1
                self._report(dead_letter, error.name())
                await asyncio.sleep(_BACKOFF.delay(attempt, random.random()))
        finally:
            self._report(dead_letter, None)

    def log_in_as(self, user: str, password: str) -> None:
        """Log in with another password from now on. Connections stay until the brokers ask again."""
        self._properties["sasl.password"] = password  # of a producer that is made later
        self._producer.set_sasl_credentials(user, password)

    @property
    def failing(self) -> str:
        """Why dead letters can't be written at present, or the empty text."""
        return next(iter(self._failing.values()), "")

    async def close(self, seconds: float) -> None:
        """Give what is on its way ``seconds`` to arrive, then end. Dead letters not acknowledged by then stay unwritten."""
        if not self._thread.is_alive():
            return
        await asyncio.to_thread(self._producer.flush, seconds)
        self._closing.set()
        # Not longer: a thread that the client holds is left behind, it keeps nothing from ending.
        await asyncio.to_thread(self._thread.join, 2 * _POLL_SECONDS)

    # One attempt

    async def _attempt(self, dead_letter: DeadLetter, form: Form, alone: bool) -> KafkaError | None:
        """Produce once and await the broker's answer; None when it is a yes."""
        size = _DEAD_LETTER_OVERHEAD if dead_letter.place_only else _size(dead_letter.record)
        async with self._room.taken(self._room.capacity if alone else size):
            answer: asyncio.Future[KafkaError | None] = self._loop.create_future()

            sent_at = time.monotonic()

            def on_delivery(error: KafkaError | None, message: Message) -> None:
                if error is None and message.offset() is None:
                    error = KafkaError(_UNPLACED)
                with contextlib.suppress(RuntimeError):  # the loop has closed, and nobody waits any more
                    if error is None and self.on_stamped is not None:
                        kind, milliseconds = message.timestamp()
                        if kind == TIMESTAMP_LOG_APPEND_TIME:
                            self._loop.call_soon_threadsafe(self.on_stamped, milliseconds, time.monotonic() - sent_at)
                    self._loop.call_soon_threadsafe(_settle, answer, error)

            try:
                self._producer.produce(self._topic, form.value, form.key, headers=form.headers, on_delivery=on_delivery)
            except KafkaException as error:
                return error_of(error)
            except BufferError:
                return KafkaError(KafkaError._QUEUE_FULL)
            while True:
                done, _ = await asyncio.wait([answer], timeout=_SILENCE_SECONDS)
                if done:
                    return answer.result()
                self._report(dead_letter, "no_acknowledgement")

    def _report(self, dead_letter: DeadLetter, reason: str | None) -> None:
        """Note whether a dead letter fails. Report when the first one fails and when the last one has recovered."""
        before = self.failing
        if reason is None:
            self._failing.pop(id(dead_letter), None)
        else:
            self._failing[id(dead_letter)] = reason
        if bool(self.failing) != bool(before) and self._on_state is not None:
            self._on_state(self.failing or None)

    # On the thread

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_SECONDS)
            if self._fatal.is_set():
                self._renew()

    def _renew(self) -> None:
        """Replace a producer that had a fatal error. What it still held comes back as failed and goes to the new one."""
        spent = self._producer
        with contextlib.suppress(ConfigurationError):  # no threads left, for instance: tried again after the next poll
            self._producer = self._made()
            self._fatal.clear()
            spent.purge()
            spent.flush(_POLL_SECONDS)

    def _made(self) -> Producer:
        return made(Producer, {**self._properties, "error_cb": self._on_error})

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._fatal.set()


class _Room:
    """Bytes that may be in use at once, given out in the order of asking."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = capacity
        self._queue: deque[tuple[asyncio.Future[None], int]] = deque()

    @contextlib.asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait for this many bytes, or for all there are."""
        size = min(size, self.capacity)
        if self._queue or size > self._free:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append((turn, size))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # its turn had come just before
                    self._give_back(size)
                raise
        else:
            self._free -= size
        try:
            yield
        finally:
            self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._free += size
        while self._queue:
            turn, wanted = self._queue[0]
            if turn.cancelled():
                self._queue.popleft()
            elif wanted <= self._free:
                self._queue.popleft()
                self._free -= wanted
                turn.set_result(None)
            else:
                return


def _settle(answer: asyncio.Future[KafkaError | None], error: KafkaError | None) -> None:
    if not answer.done():
        answer.set_result(error)


def _size(record: Record) -> int:
    return (
        _DEAD_LETTER_OVERHEAD
        + len(record.value() or b"")
        + len(record.key() or b"")
        + sum(len(name) + len(value or b"") for name, value in headers_of(record))
    )


def _first_form(dead_letter: DeadLetter) -> Form:
    """The form to try first: as much of the record as the dead letter is allowed to read."""
    if dead_letter.place_only:
        return Form(None, b"", [*_own(dead_letter), (BY_REFERENCE, b"true")], by_reference=True)
    return reference(dead_letter) if dead_letter.by_reference else whole(dead_letter)


def whole(dead_letter: DeadLetter) -> Form:
    """Original key, value and headers, and what is known of the failure; what was known of a former one is replaced."""
    record = dead_letter.record
    own = _own(dead_letter)
    original: Headers = [(name, value) for name, value in headers_of(record) if name not in OWN_HEADERS]
    lost = lost_headers(record)
    room = _MOST_HEADERS - len(own) - 2  # what is lost, and that it is by reference
    if len(original) > room:
        lost = lost if lost == "all" else str(int(lost or 0) + len(original) - room)
        del original[room:]
    if lost:
        own.append((LOST, lost.encode()))
    return Form(record.key(), record.value(), original + own)


def _own(dead_letter: DeadLetter) -> Headers:
    """The headers that say what is known of the failure. Reads nothing of the record but its place and time."""
    record = dead_letter.record
    kind, milliseconds = record.timestamp()
    headers: dict[str, object] = {
        "capi-error-code": dead_letter.code.value,
        "capi-error-detail": _printable(dead_letter.detail[:_DETAIL_CHARACTERS]),
        "capi-source-topic": record.topic(),
        "capi-source-partition": record.partition(),
        "capi-source-offset": record.offset(),
        "capi-source-timestamp": milliseconds if kind else -1,
        "capi-attempts": dead_letter.attempts,
        "capi-version": __version__,
    }
    return [(name, str(value).encode("utf-8", "replace")) for name, value in headers.items()]


def _printable(text: str) -> str:
    """The text without what moves a terminal's cursor or has no UTF-8: names out of schemas may hold it."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def reference(dead_letter: DeadLetter) -> Form:
    """A dead letter without its value; of key and original headers, what is small.

    The value is empty, not null: in a compacted topic a null deletes what has the same key.
    """
    key, value, headers, _ = whole(dead_letter)
    if _size(dead_letter.record) - len(value or b"") - _DEAD_LETTER_OVERHEAD > _REFERENCE_BYTES:
        headers = [(name, text) for name, text in headers if name in OWN_HEADERS]
        key = key if len(key or b"") <= _REFERENCE_BYTES else None
    return Form(key, b"", [*headers, (BY_REFERENCE, b"true")], by_reference=True)
