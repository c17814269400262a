"""The ledger: which events were produced, and the fate of each one by what broker and endpoint report.

Committed offsets are sampled from the broker all the time. Each sample is compared with what the endpoint had answered and
what was in the dead-letter topic by then. So a sampled commit that went too far is found, even if its events are delivered
later.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from tests.stack import Kafka, Produced
from tests.stack.asking import asker
from tests.stack.waiting import until

Place = tuple[str, int, int]
_READING_SECONDS = 20.0  # within which a dead letter that is in the topic must have been read


class FoundDeadLetter(NamedTuple):
    """A dead letter as it is in the topic."""

    source: Place
    code: str
    headers: dict[str, bytes | None]
    key: bytes | None
    value: bytes | None


class DeadLetterReader:
    """Reads the dead-letter topic while it grows."""

    def __init__(self, broker: Kafka, topic: str) -> None:
        self.found: list[FoundDeadLetter] = []
        self._topic = topic
        # Assigned, not subscribed: a subscription would wait for a rebalance after each fault of the broker.
        self._reader = Consumer(
            {
                "bootstrap.servers": broker.bootstrap,
                "group.id": f"{topic}-watch",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 500,
                "topic.metadata.refresh.interval.ms": 1000,  # the topic may be created later
                "log_level": 0,
            }
        )
        self._reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])

    def read(self, seconds: float = 0.05) -> None:
        """Read the dead letters that have been added since."""
        for message in self._reader.consume(1000, seconds):
            if message.error() is not None:
                continue
            headers: dict[str, bytes | None] = {
                name: _bytes(value) for name, value in dict(message.headers() or []).items()
            }
            text = {name: (value or b"").decode() for name, value in headers.items() if name.startswith("capi-")}
            source = (text["capi-source-topic"], int(text["capi-source-partition"]), int(text["capi-source-offset"]))
            self.found.append(FoundDeadLetter(source, text["capi-error-code"], headers, message.key(), message.value()))

    def close(self) -> None:
        self._reader.close()


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


class Ledger:
    """Watches a group from a thread. ``answered`` returns the dedupe ids that the endpoint has answered with a 200 so far."""

    def __init__(
        self,
        broker: Kafka,
        group: str,
        topics: Iterable[str],
        dead_letters: str,
        answered: Callable[[], Counter[str]],
        every: float = 0.1,
    ) -> None:
        self.produced: dict[Place, Produced] = {}
        self.samples = 0
        self._frozen: Tally | None = None
        self.faults: list[str] = []
        self.trouble = ""  # the error of the last sample that failed
        self.committed: dict[tuple[str, int], int] = {}
        self.patience = _READING_SECONDS
        self._broker = broker
        self._group = group
        self._topics = list(topics)
        self._answered = answered
        self._every = every
        self._dead_letters = DeadLetterReader(broker, dead_letters)
        self._asker = asker(broker.bootstrap, group)
        self._checked: dict[tuple[str, int], int] = defaultdict(int)
        self._ends: dict[tuple[str, int], int] = defaultdict(int)
        self._dead_lettered: set[Place] = set()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="ledger", daemon=True)

    def __enter__(self) -> Ledger:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.freeze()
        self._dead_letters.close()
        self._asker.close()

    def freeze(self) -> None:
        """Stop sampling: the test is about to change the group or the topic in a way that the ledger can't follow."""
        self._frozen = self._frozen or self.tally()
        self._ending.set()
        self._thread.join()  # each of its calls has a deadline; closing the reader during one would crash the process

    def add(self, produced: Iterable[Produced]) -> None:
        """Add events that the broker has acknowledged."""
        with self._lock:
            for event in produced:
                self.produced[event.topic, event.partition, event.offset] = event
                tp = (event.topic, event.partition)
                self._ends[tp] = max(self._ends[tp], event.offset + 1)

    # Sampling

    def _watch(self) -> None:
        places: list[TopicPartition] = []
        while not self._ending.is_set():
            try:
                places = places or [
                    TopicPartition(topic, number)
                    for topic in self._topics
                    for number in self._broker.end_offsets(topic)
                ]
                self._sample(places)
            except (KafkaException, TimeoutError) as error:
                self.trouble = repr(error)  # expected in tests in which the broker is down or frozen
            except Exception as error:
                self.faults.append(f"the ledger's own fault: {error!r}")
                return
            self._ending.wait(self._every)

    def _sample(self, places: list[TopicPartition]) -> None:
        found = self._asker.committed(places, timeout=3)
        answered = self._answered()  # read after the offsets: what they pass must have been answered before
        with self._lock:
            self.samples += 1
            self._read_dead_letters()
            for place in found:
                if place.offset >= 0:
                    self._hold_against(place.topic, place.partition, place.offset, answered)

    def _hold_against(self, topic: str, partition: int, offset: int, answered: Counter[str]) -> None:
        tp = (topic, partition)
        before = self.committed.get(tp, 0)
        if offset < before:
            self.faults.append(f"{topic}[{partition}]: the committed offset went back from {before} to {offset}")
        self.committed[tp] = offset
        for at in range(self._checked[tp], offset):
            event = self.produced.get((topic, partition, at))
            if event is None or event.event_id in answered or (topic, partition, at) in self._dead_lettered:
                continue  # None: a tombstone, or an event that the test did not add
            # After the first fault the test fails anyway: don't wait for each of perhaps thousands of others.
            deadline = time.monotonic() + (0 if self.faults else self.patience)
            while (topic, partition, at) not in self._dead_lettered and time.monotonic() < deadline:
                self._read_dead_letters(0.5)
            if (topic, partition, at) not in self._dead_lettered:
                self.faults.append(f"{topic}[{partition}]: committed {offset}, and the event at {at} is unanswered")
        self._checked[tp] = max(self._checked[tp], offset)

    def _read_dead_letters(self, seconds: float = 0.05) -> None:
        before = len(self._dead_letters.found)
        self._dead_letters.read(seconds)
        self._dead_lettered.update(dead_letter.source for dead_letter in self._dead_letters.found[before:])

    # Results

    def lag(self, *topics: str) -> int:
        """How many events the committed offsets have not passed, by the last sample: of these topics, or of all."""
        with self._lock:
            return sum(
                max(0, end - self.committed.get(tp, 0))
                for tp, end in self._ends.items()
                if not topics or tp[0] in topics
            )

    def await_first_commits(self, seconds: float = 30) -> None:
        """Wait until each partition that has events has a committed offset.

        Events that were answered before a partition's first commit are sent again after a fault: without a commit, nothing
        records their outcomes.
        """
        until(lambda: all(self.committed.get(tp, 0) for tp in self._ends), seconds, "a first commit of each partition")

    def await_all(self, seconds: float) -> None:
        """Wait until the committed offsets have passed every event that was added."""
        try:
            until(
                lambda: bool(self.faults) or self.lag() == 0, seconds, f"commits behind all {len(self.produced)} events"
            )
        except AssertionError as error:
            error.add_note(f"{self.samples} samples taken; the last that could not be: {self.trouble or 'none'}")
            error.add_note(f"committed: {self.committed}")
            raise
        assert not self.faults, "\n".join(self.faults[:10])

    def dead_letters(self) -> list[FoundDeadLetter]:
        """The dead letters so far."""
        with self._lock:
            self._read_dead_letters(0.2)
            return list(self._dead_letters.found)

    def tally(self) -> Tally:
        """The fates of all events, as seen so far. Without I/O, so that it can be called after everything has ended."""
        if self._frozen is not None:
            return self._frozen
        with self._lock:
            produced, dead_lettered, committed = dict(self.produced), set(self._dead_lettered), dict(self.committed)
        answered = self._answered()  # last, so that they include what the copied offsets pass
        found = Counter(
            _fate(place, event, answered, dead_lettered, committed.get(place[:2], 0))
            for place, event in produced.items()
        )
        return Tally(len(produced), *(found[fate] for fate in Tally._fields[1:]))

    def close(self, seconds: float = 60) -> None:
        """Assert that every event is committed, and was either delivered or dead-lettered with its code."""
        self.await_all(seconds)
        answered, dead_letters = self._answered(), self.dead_letters()
        by_place = {dead_letter.source: dead_letter for dead_letter in dead_letters}
        wrong: list[str] = []
        for place, event in self.produced.items():
            dead_letter = by_place.get(place)
            if event.bad_code is None:
                if not answered[event.event_id]:
                    wrong.append(
                        f"{place}: lost ({'dead-lettered as ' + dead_letter.code if dead_letter else 'nowhere'})"
                    )
            elif dead_letter is None:
                wrong.append(f"{place}: not dead-lettered, should be {event.bad_code.value}")
            elif dead_letter.code != event.bad_code.value:
                wrong.append(f"{place}: dead-lettered as {dead_letter.code}, should be {event.bad_code.value}")
            elif answered[event.event_id]:
                wrong.append(f"{place}: delivered, although it is {event.bad_code.value}")
        wrong += [f"{dead_letter.source}: dead-lettered as {dead_letter.code} for no reason" for dead_letter in dead_letters
                  if dead_letter.source in self.produced and self.produced[dead_letter.source].bad_code is None]  # fmt: skip
        assert not wrong, f"{len(wrong)} of {len(self.produced)} events are not accounted for:\n" + "\n".join(
            wrong[:10]
        )
        assert not self.faults, "\n".join(self.faults[:10])


def _fate(place: Place, event: Produced, answered: Counter[str], dead_lettered: set[Place], committed: int) -> str:
    if answered[event.event_id]:
        return "delivered"
    if place in dead_lettered:
        return "dead_lettered"
    return "lost" if place[2] < committed else "uncommitted"


class Tally(NamedTuple):
    """Counts of the events by fate. ``lost`` are those without an outcome that a commit has passed."""

    produced: int
    delivered: int
    dead_lettered: int
    uncommitted: int
    lost: int


def assert_private(output: str, *secrets: str) -> None:
    """Assert that an output has no sample's personal data and no secret: every sample has an address of example.com."""
    for text in ("@example.com", *secrets):
        assert text not in output, f"{text!r} stands in an output"
    for line in output.splitlines():
        if line.startswith("{"):
            json.loads(line)  # each line is complete JSON: nothing else wrote into the log
