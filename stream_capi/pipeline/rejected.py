"""Rejected events that wait uncommitted, because so many of a source are rejected that it can't be their fault.

Of a topic with several sources each has its own guard, and one more is for what belongs to none of them.

A source is held from the moment on when its guard refuses dead letters. The hold is over when the share among the events that
came since is in bounds: then what waits becomes dead letters after all.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from stream_capi.core.clock import Clocks
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.ratio_guard import SourceGuard
from stream_capi.events.rejected_field import RejectedRule, most_rejected, rule_of
from stream_capi.model import Code, DeadLetter, Record
from stream_capi.pipeline.partition import Partition
from stream_capi.pipeline.ports import Observer
from stream_capi.pipeline.source import Source

# How long a source is held at least: at the very bound it would be held and released many times a second.
_HOLD_SECONDS = 2.0
_BY_CLOCK = (Code.IN_FUTURE, Code.TOO_OLD)
_RECENT = 200  # rejections of a source whose rules are remembered, as many as its guard's window
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
        max_ratio: float,
        clocks: Clocks,
        now: Callable[[], float],
        observer: Observer,
        write: Callable[[Partition, Sequence[DeadLetter]], None],
        map_again: Callable[[Partition, list[Record]], None],
    ) -> None:
        self.since: dict[str, float] = {}  # when each source's hold began, by its name
        self._sources: dict[str, Source] = {}
        self._max_ratio = max_ratio
        self._clocks = clocks
        self._now = now
        self._observer = observer
        self._write = write
        self._map_again = map_again
        self._guards: dict[str, SourceGuard] = {}
        self._waiting: dict[str, deque[tuple[Partition, DeadLetter]]] = {}
        self._rules: dict[str, deque[RejectedRule]] = {}  # of each source's last rejections
        self._judged = (*clocks.judge(), now())  # by which clock, and when last

    def source(self, name: str) -> Source:
        """The source of a name that is held."""
        return self._sources[name]

    def rules(self, name: str) -> Counter[RejectedRule]:
        """The rules by which the last events of a source that were rejected failed."""
        return Counter(self._rules.get(name, ()))

    def _guard(self, source: Source) -> SourceGuard:
        guard = self._guards.get(source.name)
        if guard is None:
            guard = SourceGuard(self._max_ratio if source.max_ratio is None else source.max_ratio)
            self._guards[source.name], self._sources[source.name] = guard, source
            self._waiting.setdefault(source.name, deque())
        return guard

    def __iter__(self) -> Iterator[tuple[Partition, DeadLetter]]:
        """What waits."""
        return chain.from_iterable(self._waiting.values())

    def passed(self, source: Source, count: int) -> None:
        """Count events of a source that were good."""
        self._guard(source).passed(count)

    def reject(self, partition: Partition, source: Source, dead_letters: Sequence[DeadLetter]) -> None:
        """Dead-letter the events, or let them wait while their source is held."""
        guard = self._guard(source)
        if not guard.paused:
            recent = self._rules.setdefault(source.name, deque(maxlen=_RECENT))
            recent.extend(rule_of(dead_letter.code, dead_letter.detail) for dead_letter in dead_letters[-_RECENT:])
        if guard.admits(len(dead_letters)):
            self._write(partition, dead_letters)
            return
        if source.name not in self.since:
            self.since[source.name] = self._now()
            mostly = most_rejected(self.rules(source.name))
            self._observer.intake_held(source.name, mostly, HeldReason.DEAD_LETTER_RATIO)
        self._waiting[source.name].extend((partition, dead_letter) for dead_letter in dead_letters)

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
        for name in list(self.since):
            by_clock: dict[Partition, list[Record]] = {}
            others: deque[tuple[Partition, DeadLetter]] = deque()
            for partition, dead_letter in self._waiting[name]:
                if dead_letter.code in _BY_CLOCK:
                    by_clock.setdefault(partition, []).append(dead_letter.record)
                else:
                    others.append((partition, dead_letter))
            self._waiting[name] = others
            counting = [self._guards[name], *(self._guard(partition.source) for partition in by_clock)]
            for guard in counting:
                guard.pause(True)
            for partition, records in by_clock.items():
                self._map_again(partition, records)
            for guard in counting:
                guard.pause(False)

    def _release(self) -> None:
        """Good events have come since: when the share of bad ones is back in bounds, they were poison after all."""
        now = self._now()
        for name in [name for name, since in self.since.items() if now - since >= _HOLD_SECONDS]:
            if not self._guards[name].over() and self._waiting[name]:
                continue
            waiting = self._end_hold(name)
            if waiting:
                self._observer.intake_held(name, "", None)
            else:
                self._observer.hold_over(name, "events that waited were evaluated again, and none is rejected any more")
            for partition, dead_letter in waiting:
                self._write(partition, [dead_letter])

    def _end_hold(self, name: str) -> deque[tuple[Partition, DeadLetter]]:
        """Give the source a new guard; returns what waited."""
        waiting, self._waiting[name] = self._waiting[name], deque()
        del self.since[name], self._guards[name]
        self._rules.pop(name, None)
        return waiting

    def forget_fenced(self) -> None:
        """Drop what waits of assignments that have ended; a hold for nothing else ends with it."""
        for name, waiting in self._waiting.items():
            left = deque((partition, dead_letter) for partition, dead_letter in waiting if not partition.offsets.fenced)
            self._waiting[name] = left
            if waiting and not left:
                self._end_hold(name)
                self._observer.hold_over(name, "events that waited are left to the next owner")
