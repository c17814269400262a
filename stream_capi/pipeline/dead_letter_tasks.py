"""Writes dead letters: one task each, until the broker has acknowledged it and its offset is resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from stream_capi.errors import StreamCapiError
from stream_capi.events.rejected_field import rule_of
from stream_capi.model import Code, DeadLetter, Record, Rejection, internal_error
from stream_capi.pipeline.partition import Partition
from stream_capi.pipeline.ports import DeadLetters, Observer


class DeadLetterTasks:
    """Writes dead letters. ``start`` runs a task; ``resolved`` takes the partition of each that was acknowledged."""

    def __init__(
        self,
        dead_letters: DeadLetters,
        observer: Observer,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        resolved: Callable[[Partition], None],
    ) -> None:
        self._dead_letters = dead_letters
        self._observer = observer
        self._start = start
        self._resolved = resolved

    def write(self, partition: Partition, dead_letters: Sequence[DeadLetter]) -> None:
        """Write the dead letters of a partition, which knows the tasks until they end."""
        for dead_letter in dead_letters:
            task = self._start(self._write_one(partition, dead_letter))
            partition.dead_letters[task] = dead_letter
            task.add_done_callback(partition.dead_letters.pop)

    async def _write_one(self, partition: Partition, dead_letter: DeadLetter) -> None:
        try:
            await self._dead_letters.write(dead_letter)
        except (MemoryError, StreamCapiError):
            raise
        except Exception as error:  # a record that can't be written as it came is written by reference
            why = internal_error(error)
            report_internal_error(self._observer, partition, [(dead_letter.record, why)])
            dead_letter = DeadLetter(dead_letter.record, why.code, why.detail, dead_letter.attempts, place_only=True)
            await self._dead_letters.write(dead_letter)
        partition.offsets.resolve(dead_letter.record.offset() or 0)
        self._observer.dead_lettered(partition.tp.topic, rule_of(dead_letter.code, dead_letter.detail))
        self._resolved(partition)


def report_internal_error(
    observer: Observer, partition: Partition, rejected: Iterable[tuple[Record, Rejection]]
) -> None:
    """Report the first of the unexpected errors; each has its dead letter."""
    for record, rejection in rejected:
        if rejection.code is Code.INTERNAL_ERROR:
            observer.internal_error(partition.tp, record.offset() or 0, rejection.detail)
            return
