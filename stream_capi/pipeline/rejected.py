"""Rejected events that wait uncommitted, because so many of a source are rejected that it can't be their fault.

A source is held from the moment on when its guard refuses dead letters. The hold is over when the share among the events that
came since is in bounds: then what waits becomes dead letters after all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from stream_capi.core.clock import Clocks
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.ratio_guard import SourceGuard
from stream_capi.model import Code, DeadLetter, Record
from stream_capi.pipeline.partition import Partition
from stream_capi.pipeline.ports import Observer
from stream_capi.pipeline.source import Source

# How long a source is held at least: at the very bound it would be held and released many times a second.
_HOLD_SECONDS = 2.0
_BY_CLOCK = (Code.IN_FUTURE, Code.TOO_OLD)
_JUDGE_SECONDS = 60.0  # after which events that wait are judged again by a clock that hasn't changed: it goes on


class Quarantine:
    """The guard of each source, and what waits because of it.

    :param max_ratio: of events that may become dead letters, for sources without a ratio of their own.
    :param now: seconds of a monotonic clock.
    :param write: writes dead letters.
    :param map_again: maps records of a partition a second time, as if they had just been read.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        max_ratio: float,
        clocks: Clocks,
        now: Callable[[], float],
        observer: Observer,
        write: Callable[[Partition, Sequence[DeadLetter]], None],
        map_again: Callable[[Partition, list[Record]], None],
    ) -> None:
        self.since: dict[str, float] = {}  # when each source's hold began
        self._sources = sources
        self._max_ratio = max_ratio
        self._clocks = clocks
        self._now = now
        self._observer = observer
        self._write = write
        self._map_again = map_again
        self._guards = {topic: self._guard_of(source) for topic, source in sources.items()}
        self._waiting: dict[str, deque[tuple[Partition, DeadLetter]]] = {topic: deque() for topic in sources}
        self._judged = (*clocks.judge(), now())  # by which clock, and when last

    def _guard_of(self, source: Source) -> SourceGuard:
        return SourceGuard(self._max_ratio if source.max_ratio is None else source.max_ratio)

    def __iter__(self) -> Iterator[tuple[Partition, DeadLetter]]:
        """What waits."""
        return chain.from_iterable(self._waiting.values())

    def passed(self, topic: str, count: int) -> None:
        """Count events of a source that were good."""
        self._guards[topic].passed(count)

    def reject(self, partition: Partition, dead_letters: Sequence[DeadLetter]) -> None:
        """Dead-letter the events, or let them wait while their source is held."""
        topic = partition.tp.topic
        if self._guards[topic].admits(len(dead_letters)):
            self._write(partition, dead_letters)
            return
        if topic not in self.since:
            self.since[topic] = self._now()
            self._observer.intake_held(topic, HeldReason.DEAD_LETTER_RATIO)
        self._waiting[topic].extend((partition, dead_letter) for dead_letter in dead_letters)

    def review(self) -> None:
        """Judge again what waits as too old or too new, and end holds that are over. To be called a few times a second."""
        self._judge_again()
        self._release()

    def _judge_again(self) -> None:
        """Event times that wait as wrong are measured again when another clock measures them, and each minute."""
        (known, base), now = self._clocks.judge(), self._now()
        known_before, base_before, at = self._judged
        if known == known_before and abs(base - base_before) <= 1.0 and now - at < _JUDGE_SECONDS:
            return
        self._judged = (known, base, now)
        for topic in self.since:
            by_clock: dict[Partition, list[Record]] = {}
            others: deque[tuple[Partition, DeadLetter]] = deque()
            for partition, dead_letter in self._waiting[topic]:
                if dead_letter.code in _BY_CLOCK:
                    by_clock.setdefault(partition, []).append(dead_letter.record)
                else:
                    others.append((partition, dead_letter))
            self._waiting[topic] = others
            self._guards[topic].pause(True)
            for partition, records in by_clock.items():
                self._map_again(partition, records)
            self._guards[topic].pause(False)

    def _release(self) -> None:
        """Good events have come since: when the share of bad ones is back in bounds, they were poison after all."""
        now = self._now()
        for topic in [topic for topic, since in self.since.items() if now - since >= _HOLD_SECONDS]:
            if not self._guards[topic].over() and self._waiting[topic]:
                continue
            waiting = self._end_hold(topic)
            if waiting:
                self._observer.intake_held(topic, None)
            else:
                self._observer.hold_over(topic, "events that waited were judged anew, and none is rejected any more")
            for partition, dead_letter in waiting:
                self._write(partition, [dead_letter])

    def _end_hold(self, topic: str) -> deque[tuple[Partition, DeadLetter]]:
        """Give the topic a new guard; returns what waited."""
        waiting, self._waiting[topic] = self._waiting[topic], deque()
        del self.since[topic]
        self._guards[topic] = self._guard_of(self._sources[topic])
        return waiting

    def forget_fenced(self) -> None:
        """Drop what waits of assignments that have ended; a hold for nothing else ends with it."""
        for topic, waiting in self._waiting.items():
            left = deque((partition, dead_letter) for partition, dead_letter in waiting if not partition.offsets.fenced)
            self._waiting[topic] = left
            if waiting and not left:
                self._end_hold(topic)
                self._observer.hold_over(topic, "events that waited are left to the next owner")
