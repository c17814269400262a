"""From a chunk of records to lanes, rejected events and skips.

A chunk's offsets are opened, its records framed, decoded and mapped. Each result goes to its lane's batch or to the
quarantine, or is skipped on purpose and counted. Runs whose schema isn't known yet wait here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import chain
from operator import add
from typing import Any

from stream_capi.avro.framing import Run, SchemaKey, Unframed
from stream_capi.core.batch import TOO_LARGE, longest_event
from stream_capi.model import (
    Code,
    Columns,
    DeadLetter,
    Lane,
    Paused,
    Record,
    Records,
    Rejection,
    Routed,
    Skipped,
    Transformed,
)
from stream_capi.pipeline.dead_letter_tasks import report_internal_error
from stream_capi.pipeline.delivery import Clock, Delivery
from stream_capi.pipeline.lookups import Lookups
from stream_capi.pipeline.partition import Partition, Waiting
from stream_capi.pipeline.ports import Observer
from stream_capi.pipeline.rejected import Quarantine
from stream_capi.pipeline.source import Codec, Coded, Source, parts_of
from stream_capi.record_headers import header_bytes

_LOG_APPEND_TIME = 2  # the type of a timestamp that the broker gave


def judge_by_record_times(
    source: Source,
    codec: Codec,
    payloads: Sequence[bytes],
    partition: int,
    columns: Columns,
    mapped: list[Transformed],
    now_ms: int,
) -> None:
    """Before the endpoint's clock is known, an event is in the future if it is ahead of the local clock and its record."""
    for at, result in enumerate(mapped):
        written = columns.timestamps[at]
        if isinstance(result, Rejection) and result.code is Code.IN_FUTURE and written > now_ms:
            (mapped[at],) = source.transform(codec, [payloads[at]], partition, [columns.offsets[at]], written)


class Mapper:
    """Takes chunks in.

    :param max_bytes: of a request's body: an event that is larger alone is rejected.
    :param start: runs a task.
    :param mapped: takes the partition of a run that has waited for its schema.
    """

    def __init__(
        self,
        delivery: Delivery,
        quarantine: Quarantine,
        observer: Observer,
        clock: Clock,
        max_bytes: int,
        start: Callable[[Coroutine[Any, Any, None]], object],
        mapped: Callable[[Partition], None],
    ) -> None:
        self._delivery = delivery
        self._clocks = delivery.clocks
        self._quarantine = quarantine
        self._observer = observer
        self._max_payload = longest_event(max_bytes)
        self._mapped = mapped
        self._waiting: dict[tuple[str, SchemaKey], list[Waiting]] = {}
        self._lookups = Lookups(start, self._on_schema, observer, clock.random)

    def take(self, partition: Partition, chunk: Records) -> None:
        """Take in a chunk: each of its offsets becomes open, or is passed over as already resolved."""
        topic, offsets = partition.tp.topic, partition.offsets
        columns, values = chunk.columns, chunk.values
        self._observer.consumed(topic, len(values))
        kind, stamped = columns.records[-1].timestamp()
        if kind == _LOG_APPEND_TIME:
            self._clocks.brokers_stamped(stamped)
        end = columns.offsets[-1] + 1
        if offsets.resolved_before:
            known = map(offsets.was_resolved_before, columns.offsets, chunk.each_leader_epoch())
            kept = [at for at, is_known in enumerate(known) if not is_known]
            columns, values = self._keep(kept, columns, values, topic, "outcome_known")
        if not all(values):  # an empty value stays: it is no tombstone
            kept = [at for at, value in enumerate(values) if value is not None]
            columns, values = self._keep(kept, columns, values, topic, "tombstone")
        whole: list[bytes] = values  # type: ignore[assignment]  # those that are None are gone
        sizes = list(map(len, whole))
        if headers := header_bytes(columns.records):
            sizes = list(map(add, sizes, headers))
        offsets.track(columns.offsets, sizes, end, chunk.leader_epochs)
        if whole:
            self._map(partition, columns, whole)

    def _keep(
        self, kept: Sequence[int], columns: Columns, values: list[bytes | None], topic: str, reason: str
    ) -> tuple[Columns, list[bytes | None]]:
        """What is at these indexes; the rest is skipped for ``reason``."""
        if len(kept) < len(values):
            self._observer.skipped(topic, reason, len(values) - len(kept))
            return columns.pick(kept), [values[at] for at in kept]
        return columns, values

    def map_again(self, partition: Partition, records: list[Record]) -> None:
        """Map records whose offsets are open as if they had just been read."""
        self._map(partition, Columns.of(records), [record.value() or b"" for record in records])

    def _map(self, partition: Partition, columns: Columns, values: Sequence[bytes]) -> None:
        source = partition.source
        for run in source.frame(columns.records, values):
            if isinstance(run, Unframed):
                self._route(partition, source, columns.cut(run.index, run.index + 1), [run.rejection])
                continue
            of_run = columns.cut(run.start, run.start + len(run.payloads))
            key = (source.topic, run.key)
            codec = source.codec(run.key) if key not in self._waiting else None
            if codec is None:
                self._wait_for_schema(partition, run, of_run)
            else:
                self._transform(partition, codec, run, of_run)

    def _transform(self, partition: Partition, coded: Coded, run: Run, columns: Columns) -> None:
        for codec, payloads, indexes in parts_of(coded, run.payloads):
            of_part = columns if indexes is None else columns.pick(indexes)
            if isinstance(codec, Codec):
                mapped = self._mapped_by(partition, codec, payloads, of_part)
                self._route(partition, codec.source or partition.source, of_part, mapped)
            else:
                self._route(partition, partition.source, of_part, [codec] * len(payloads))

    def _mapped_by(
        self, partition: Partition, codec: Codec, payloads: Sequence[bytes], columns: Columns
    ) -> list[Transformed]:
        now_ms, known = self._clocks.event_now()
        mapped = partition.source.transform(codec, payloads, partition.tp.partition, columns.offsets, now_ms)
        if not known:
            judge_by_record_times(partition.source, codec, payloads, partition.tp.partition, columns, mapped, now_ms)
        return mapped

    # From what was mapped to lanes, dead letters and skips

    def _route(self, partition: Partition, source: Source, columns: Columns, mapped: Sequence[Transformed]) -> None:
        if source.lane is not None and set(map(type, mapped)) == {bytes}:
            payloads: Sequence[bytes] = mapped  # type: ignore[assignment]  # just shown by the line above
            if max(map(len, payloads)) <= self._max_payload:
                self._send(partition, source, source.lane, payloads, columns)
                return
        rejected: list[tuple[Record, Rejection]] = []
        lanes: dict[Lane, tuple[list[bytes], list[int]]] = {}
        for at, (record, result) in enumerate(zip(columns.records, mapped, strict=True)):
            if isinstance(result, Skipped):
                self._observer.skipped(source.topic, result.reason, 1)
                partition.offsets.resolve(columns.offsets[at])
                continue
            if isinstance(result, Rejection):
                rejected.append((record, result))
                continue
            if isinstance(result, Paused):
                partition.offsets.set_aside(columns.offsets[at])
                continue
            lane, payload = (result.lane, result.payload) if isinstance(result, Routed) else (source.lane, result)
            if len(payload) > self._max_payload:
                rejected.append((record, TOO_LARGE))
                continue
            assert lane is not None  # noqa: S101 -- bytes come only from a source with one lane
            of_lane, places = lanes.setdefault(lane, ([], []))
            of_lane.append(payload)
            places.append(at)
        for lane, (of_lane, places) in lanes.items():
            self._send(partition, source, lane, of_lane, columns.pick(places))
        if rejected:
            report_internal_error(self._observer, partition, rejected)
            dead_letters = [DeadLetter(record, rejection.code, rejection.detail) for record, rejection in rejected]
            self._quarantine.reject(partition, source, dead_letters)

    def _send(
        self, partition: Partition, source: Source, lane: Lane, payloads: Sequence[bytes], columns: Columns
    ) -> None:
        self._quarantine.passed(source, len(payloads))
        if source is not partition.source:
            self._quarantine.passed(partition.source, len(payloads))
        self._delivery.add(lane, payloads, columns, partition.offsets, source.window)

    # Schemas that aren't known yet

    def _wait_for_schema(self, partition: Partition, run: Run, columns: Columns) -> None:
        key = (partition.source.topic, run.key)
        if key not in self._waiting:
            self._waiting[key] = []
            self._lookups.want(partition.source, run.key)
        self._waiting[key].append(Waiting(partition, run, columns))
        partition.waiting_runs += 1

    def _on_schema(self, source: Source, key: SchemaKey, codec: Coded) -> None:
        """The schema is known now: go on with the runs that waited for it."""
        for partition, run, columns in self._waiting.pop((source.topic, key), ()):
            partition.waiting_runs -= 1
            if not partition.offsets.fenced:
                self._transform(partition, codec, run, columns)
                self._mapped(partition)

    def forget_fenced(self) -> None:
        """Drop the runs of assignments that have ended: while the registry is down each would keep its memory."""
        for (topic, key), waiting in list(self._waiting.items()):
            if live := [one for one in waiting if not one.partition.offsets.fenced]:
                self._waiting[topic, key] = live
            else:
                del self._waiting[topic, key]
                self._lookups.forget(waiting[0].partition.source, key)

    @property
    def waiting_schemas(self) -> Counter[str]:
        """How many schemas each topic waits for."""
        return Counter(topic for topic, _ in self._waiting)

    @property
    def without_schema(self) -> Iterator[Waiting]:
        """The runs whose schema isn't known yet."""
        return chain.from_iterable(self._waiting.values())
