"""A range of the real topics, mapped by one configuration or by two: nothing is sent, committed or dead-lettered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.range_reader import RangeReader
from stream_capi.kafka.ranges import Moment, Range, TopicLog, total
from stream_capi.model import Records, TopicPartition
from stream_capi.operations.dry_run_comparison import Comparison
from stream_capi.operations.dry_run_mapper import DryRunMapper
from stream_capi.operations.dry_run_tally import DryRunTally
from stream_capi.operations.range_job import Progress

NEWEST = 100_000  # records that are looked at where no start is asked for
_CLOSE_SECONDS = 5.0
Ranges = Mapping[TopicPartition, Range]


def plan(
    admin: KafkaAdmin,
    topics: Sequence[str],
    partitions: Collection[int],
    start: Moment | None,
    end: Moment,
    limit: int | None,
) -> dict[TopicPartition, Range]:
    """The offsets to read. Without a ``start``: the newest ones before ``end``, as many as the limit says.

    The limit is for all partitions together. Raises ConfigurationError, Unavailable, KafkaLost.
    """
    ranges: dict[TopicPartition, Range] = {}
    for topic in topics:
        ranges |= TopicLog(admin, topic, partitions).ranges(start or Moment("earliest"), end)
    if start is None:
        return shared(ranges, NEWEST if limit is None else limit, newest=True)
    return ranges if limit is None else shared(ranges, limit, newest=False)


def shared(ranges: Ranges, limit: int, *, newest: bool) -> dict[TopicPartition, Range]:
    """Cut ranges to a number of offsets: an equal share of each partition, and what one lacks from the others."""
    found: dict[TopicPartition, Range] = {}
    left = limit
    for number, tp in enumerate(sorted(ranges, key=lambda tp: (ranges[tp].size, tp))):
        start, end = ranges[tp]
        share = min(ranges[tp].size, left // (len(ranges) - number))
        left -= share
        found[tp] = Range(end - share, end) if newest else Range(start, start + share)
    return {tp: found[tp] for tp in sorted(found)}


@dataclass
class DryRun:
    """What a run has come to. ``partial``: it ended before its ranges did. ``error`` is what ended it."""

    ranges: Ranges
    tally: DryRunTally = field(default_factory=DryRunTally)
    other: DryRunTally | None = None
    comparison: Comparison | None = None
    deleted: int = 0
    partial: bool = False
    error: StreamCapiError | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def without_record(self) -> int:
        """The offsets that compaction and the marks of transactions take."""
        return max(0, total(self.ranges) - self.deleted - self.tally.read)


async def run(
    settings: Settings,
    other: Settings | None,
    ranges: Ranges,
    show: Callable[[Progress], None],
    stop: asyncio.Event,
) -> DryRun:
    """Map the ranges by the settings, and by the ``other`` ones where they are given, until the end or until ``stop``.

    What ends it early stands in the result with what was counted so far. Raises ConfigurationError.
    """
    done = DryRun(ranges)
    work = _Work(settings, other, done, show)
    mapping = asyncio.create_task(work.map_all())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([mapping, stopping], return_when=asyncio.FIRST_COMPLETED)
        mapping.cancel()
        await asyncio.gather(mapping, return_exceptions=True)
        if mapping.cancelled():
            done.partial = True
        else:
            mapping.result()
    except ConfigurationError:
        raise
    except StreamCapiError as error:
        done.partial, done.error = True, error
    finally:
        stopping.cancel()
        await work.close()
    return done


class _Work:
    """The parts of a run. The reader has a thread of its own, since its calls block."""

    def __init__(
        self, settings: Settings, other: Settings | None, done: DryRun, show: Callable[[Progress], None]
    ) -> None:
        topics = list(dict.fromkeys(tp.topic for tp in done.ranges))
        now_ms = int(time.time() * 1000)
        self._settings = settings
        self._done = done
        self._show = show
        self._waits: tuple[str, ...] = ()
        self._reader: RangeReader | None = None
        self._thread = ThreadPoolExecutor(1)
        self._mappers = [(DryRunMapper(settings, topics, now_ms, self._waits_for), done.tally)]
        if other is not None:
            done.other, done.comparison = DryRunTally(), Comparison()
            self._mappers.append((DryRunMapper(other, topics, now_ms, self._waits_for), done.other))

    async def map_all(self) -> None:
        """Read and map to the end. Raises ConfigurationError, Unavailable, KafkaLost."""
        reader = self._reader = await self._call(RangeReader, self._settings.kafka, self._done.ranges)
        while not reader.ended:
            for chunk in await self._call(reader.read):
                await self._map(chunk)
            self._done.deleted = sum(reader.deleted.values())
            self._show_progress(reader)

    async def _map(self, chunk: Records) -> None:
        tp = TopicPartition(chunk.topic, chunk.partition)
        mapped = [(await mapper.map(chunk), tally) for mapper, tally in self._mappers]
        for parts, tally in mapped:
            for part in parts:
                tally.add(tp, part)
        for mapper, tally in self._mappers:
            mapper.drain_into(tally.of_source)
        if self._done.comparison is not None:
            self._done.comparison.add(tp, mapped[0][0], mapped[1][0])

    def _waits_for(self, what: str) -> None:
        waits = (what,) if what else ()
        if waits != self._waits and self._reader is not None:
            self._waits = waits
            self._show_progress(self._reader)

    def _show_progress(self, reader: RangeReader) -> None:
        tally, offsets = self._done.tally, total(self._done.ranges)
        sent, rejected = tally.sent.total(), tally.dead_lettered.total()
        self._show(Progress(offsets, reader.done, sent, rejected, self._waits, False))

    async def close(self) -> None:
        """Close what was opened; a client that a frozen broker holds is left to the process's end."""
        for mapper, tally in self._mappers:
            mapper.tell_shared(tally.of_source)
            self._done.notes += mapper.notes
            await mapper.aclose()
        if self._reader is not None:
            closing: Future[Any] = self._thread.submit(self._reader.close)
            await asyncio.wait([asyncio.wrap_future(closing)], timeout=_CLOSE_SECONDS)
        self._thread.shutdown(wait=False)

    async def _call(self, function: Callable[..., Any], *words: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *words)
