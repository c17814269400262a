"""The traffic of an episode: one thread per topic produces, and records in the history what the brokers acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_capi.model import Code, EventName
from stream_capi.sandbox.samples import Samples
from tests.soak.faults import is_poison
from tests.soak.history import Aborted, Acknowledged, Doubtful, Entry, Place
from tests.soak.plan import Topic
from tests.stack.produce import BAD, Encode

_TICK = 0.25
_BAD_SHARE = 0.02
_ABORTED_SHARE = 0.3  # of all transactions
_FILLER_SHARE = 0.5
_FLUSH_SECONDS = 60.0
# Small segments, so that they are compacted within the episode. Compaction removes only fillers, which share one key; each
# event has its own key.
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "2000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "500",
}


class Made(NamedTuple):
    """A record to produce. ``code``: the one that it must be dead-lettered with."""

    event_id: str
    value: bytes
    code: str | None


Answered = Callable[[Made, Place | None], None]  # None: not acknowledged


class Traffic:
    """Produces to one topic until ``stop``. While ``left_open`` is set, the current transaction is not ended."""

    def __init__(
        self, bootstrap: str, name: str, topic: Topic, rate: float, seed: int, encode: Encode, note: Callable[[Entry], None],
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self.name, self.topic = name, topic
        self.left_open = threading.Event()
        self._settings: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
        if topic.transactional:
            self._settings["transactional.id"] = name
        self._per_tick = max(1, round(rate * _TICK))
        self._chance = random.Random(seed)
        self._samples = Samples(seed, bad_share=0)
        self._encode, self._note, self._now = encode, note, now
        self._producer: Producer | None = None
        self._highest: dict[int, int] = {}  # acknowledged offsets, by partition
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"traffic-{name}", daemon=True)
        # Before any fault, so that there is traffic from the first second on: the schema, and the topic of transactions.
        self._event()
        if topic.transactional:
            self._producer = self._with_transactions()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop once the brokers have answered for all records. Raises AssertionError if they don't in time."""
        self._ending.set()
        self._thread.join(2 * _FLUSH_SECONDS)
        assert not self._thread.is_alive(), f"the traffic of {self.name} does not end"

    def _run(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            batch = [self._event() for _ in range(self._per_tick)]
            if self.topic.transactional:
                self._in_a_transaction(batch)
            else:
                self._at_once(batch)
            self._ending.wait(max(0.0, _TICK - (time.monotonic() - began)))
        if not self.topic.transactional and self._producer is not None:
            self._producer.flush(_FLUSH_SECONDS)

    def _event(self) -> Made:
        name = EventName(self.topic.event)
        event = self._samples.event(name, int(time.time() * 1000))
        code = self._chance.choice(BAD) if self._chance.random() < _BAD_SHARE else None
        value = self._encode(self.name, name, event, code)
        if code is None and is_poison(event["event_id"]):
            code = Code.REFUSED
        return Made(event["event_id"], value, code and code.value)

    def _at_once(self, batch: list[Made]) -> None:
        if self._producer is None:
            self._producer = Producer(self._settings)
        self._produce(self._producer, batch, self._acknowledged)
        self._producer.poll(0)

    def _acknowledged(self, made: Made, place: Place | None) -> None:
        if place is None:
            self._note(Doubtful(self._now(), made.event_id))
        else:
            self._note(Acknowledged(self._now(), place, made.event_id, made.code))

    def _produce(self, producer: Producer, batch: list[Made], answered: Answered) -> None:
        for made in batch:
            producer.produce(self.name, made.value, made.event_id.encode(), on_delivery=self.told(answered, made))
            if self.topic.compacted and self._chance.random() < _FILLER_SHARE:
                producer.produce(self.name, None, b"filler")

    def told(self, answered: Answered, made: Made) -> Callable[[KafkaError | None, Message], None]:
        """The callback for the broker's answer.

        For a batch that the broker has already and no longer remembers, the answer names no offset, and the client counts on
        from that for the batch's further records: such places are unknown.
        """

        def told(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            place = None
            if (
                error is None
                and partition is not None
                and offset is not None
                and offset > self._highest.get(partition, -1)
            ):
                self._highest[partition] = offset
                place = self.name, partition, offset
            answered(made, place)

        return told

    def _in_a_transaction(self, batch: list[Made]) -> None:
        """Produce the batch in one transaction, and record its end for each of its records."""
        places: dict[Made, Place | None] = {}
        try:
            committed = self._transact(batch, places.__setitem__)
        except KafkaException:
            committed = None
        if committed is None:
            self._producer = None  # the next producer with this id aborts what this one has left open
        for made in batch:
            if committed is False:
                self._note(Aborted(self._now(), made.event_id, places.get(made)))
            else:
                self._acknowledged(made, places.get(made) if committed else None)

    def _with_transactions(self) -> Producer:
        producer = Producer(self._settings)
        producer.init_transactions(60)
        return producer

    def _transact(self, batch: list[Made], answered: Answered) -> bool | None:
        """Whether the transaction was committed; None if that is unknown."""
        if self._producer is None:
            self._producer = self._with_transactions()
        producer = self._producer
        producer.begin_transaction()
        self._produce(producer, batch, answered)
        producer.flush(_FLUSH_SECONDS)
        while self.left_open.is_set() and not self._ending.is_set():
            producer.poll(0.1)
        if self._chance.random() >= _ABORTED_SHARE:
            committed = _ended(producer.commit_transaction)
            if committed is not False:
                return committed
        if not _ended(producer.abort_transaction):
            self._producer = None
        return False


def _ended(ask: Callable[[float], None]) -> bool | None:
    """Retry to end a transaction until it succeeds. False: it must be aborted instead; None: its end is unknown."""
    deadline = time.monotonic() + _FLUSH_SECONDS
    while time.monotonic() < deadline:
        try:
            ask(10)
        except KafkaException as raised:
            error: KafkaError = raised.args[0]
            if not error.retriable():
                return False if error.txn_requires_abort() else None
        else:
            return True
    return None
