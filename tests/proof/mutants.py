"""Mutants: patches that each break one promise of the program, to show that the models can fail."""

from __future__ import annotations

import contextlib
import gc
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from stream_capi.core.batch import Batch
from stream_capi.core.flow import Gate
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.outcomes import RefusedBatch
from stream_capi.kafka.commits import Commits
from stream_capi.model import Commit, CommitResult, DeadLetter
from stream_capi.pipeline.dead_letter_tasks import DeadLetterTasks
from stream_capi.pipeline.lane import LaneLine
from stream_capi.pipeline.partition import Partition


def _nothing_beyond(self: PartitionOffsets, limit: int = 0, topic_id: str = "") -> str:
    return f"capi2:{topic_id}:{self.watermark}:"


Patch = Callable[[pytest.MonkeyPatch], None]


@contextlib.contextmanager
def broken(mutant: Patch) -> Iterator[None]:
    """Apply a mutant until the context ends. Warnings about coroutines and objects that its failure leaves are hidden."""
    hook = sys.unraisablehook
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        sys.unraisablehook = lambda _: None
        mutant(patch)
        try:
            yield
        finally:
            gc.collect()
            sys.unraisablehook = hook


def commit_on_dispatch(patch: pytest.MonkeyPatch) -> None:
    """An event counts as done when its request is sent."""
    send = LaneLine._send

    def send_and_resolve(self: LaneLine, batch: Batch, now: float) -> Batch:
        for owner, record in zip(batch.owners, batch.records, strict=True):
            owner.resolve(record.offset() or 0)
        return send(self, batch, now)

    patch.setattr(LaneLine, "_send", send_and_resolve)


def commit_what_was_read(patch: pytest.MonkeyPatch) -> None:
    """The read position is committed, as a consumer with automatic commits does."""
    patch.setattr(PartitionOffsets, "watermark", property(lambda self: self._end))
    patch.setattr(PartitionOffsets, "outcomes_beyond", _nothing_beyond)


def watermark_over_highest_seen(patch: pytest.MonkeyPatch) -> None:
    """The offset after the highest one with an outcome is committed."""
    highest: dict[int, int] = {}
    keep: list[PartitionOffsets] = []  # so that no ``id()`` is used again
    resolve = PartitionOffsets.resolve

    def remember(self: PartitionOffsets, offset: int) -> None:
        keep.append(self)
        highest[id(self)] = max(highest.get(id(self), self.start), offset + 1)
        resolve(self, offset)

    def remember_all(self: PartitionOffsets, offsets: Iterable[int]) -> None:
        for offset in offsets:
            remember(self, offset)

    patch.setattr(PartitionOffsets, "resolve", remember)
    patch.setattr(PartitionOffsets, "resolve_all", remember_all)
    patch.setattr(PartitionOffsets, "watermark", property(lambda self: highest.get(id(self), self.start)))
    patch.setattr(PartitionOffsets, "outcomes_beyond", _nothing_beyond)


def no_ownership_check(patch: pytest.MonkeyPatch) -> None:
    """All that the pipeline wants committed is committed, whoever owns the partition by then."""

    def split(self: Commits, commits: Sequence[Commit]) -> tuple[list[Commit], list[CommitResult]]:
        return list(commits), []

    patch.setattr(Commits, "_split", split)


def resolve_before_answer(patch: pytest.MonkeyPatch) -> None:
    """Every answer resolves its events in the tracker, as if it were a 200."""
    conclude = LaneLine.conclude

    def conclude_well(self: LaneLine, batch: Batch, *rest: Any) -> None:
        for owner, record in zip(batch.owners, batch.records, strict=True):
            owner.resolve(record.offset() or 0)
        conclude(self, batch, *rest)

    patch.setattr(LaneLine, "conclude", conclude_well)


def dead_letter_resolved_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    """A dead letter counts as done before it is written."""

    async def write_one(self: DeadLetterTasks, partition: Partition, dead_letter: DeadLetter) -> None:
        partition.offsets.resolve(dead_letter.record.offset() or 0)
        await self._dead_letters.write(dead_letter)

    patch.setattr(DeadLetterTasks, "_write_one", write_one)


def split_judged_one_by_one(patch: pytest.MonkeyPatch) -> None:
    """A refused event is dead-lettered as soon as it is found, before the rest of its batch is decided."""
    split = LaneLine._split

    def judge(self: LaneLine, batch: Batch, outcome: RefusedBatch, now: float) -> None:
        if len(batch) == 1 and batch.split is not None and not self.gate.held:
            self.refused(batch, outcome.reason)
            self._drop_piece(batch, now)
        else:
            split(self, batch, outcome, now)

    patch.setattr(LaneLine, "_split", judge)


def refused_batch_is_dead_lettered_whole(patch: pytest.MonkeyPatch) -> None:
    """A batch with one bad event is dead-lettered as a whole."""

    def lose(self: LaneLine, batch: Batch, outcome: RefusedBatch, now: float) -> None:
        self.refused(batch, outcome.reason)

    patch.setattr(LaneLine, "_split", lose)


def events_resolved_before_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    """The outcomes in a commit's metadata are ignored."""
    patch.setattr(PartitionOffsets, "was_resolved_before", lambda self, offset, leader_epoch: False)


def held_batches_are_dropped_with_the_hand_over(patch: pytest.MonkeyPatch) -> None:
    """A hand-over of one partition also drops the events of others that wait in the same batch."""
    patch.setattr(
        Batch, "without_fenced", lambda self: Batch(self.lane) if any(o.fenced for o in self.owners) else self
    )


def a_pause_is_undone_by_the_rest_of_its_wave(patch: pytest.MonkeyPatch) -> None:
    """A success opens a gate although another answer has asked for a pause."""
    succeeded = Gate.succeeded

    def open_it(self: Gate, now: float) -> None:
        self._pause_ends = float("-inf")
        succeeded(self, now)

    patch.setattr(Gate, "succeeded", open_it)


MUTANTS: tuple[Patch, ...] = (
    commit_on_dispatch,
    commit_what_was_read,
    watermark_over_highest_seen,
    no_ownership_check,
    resolve_before_answer,
    dead_letter_resolved_before_it_is_written,
    split_judged_one_by_one,
    refused_batch_is_dead_lettered_whole,
    events_resolved_before_are_sent_again,
    held_batches_are_dropped_with_the_hand_over,
    a_pause_is_undone_by_the_rest_of_its_wave,
)
