"""One odd record causes no outage, and if a bug strikes while records are taken in, the log names the records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from stream_capi.avro.framing import FILE_KEY, Run, Unframed, frame
from stream_capi.model import Code, Record, Records, TopicPartition
from stream_capi.observe.telemetry import Telemetry
from stream_capi.pipeline import source as source_module
from stream_capi.pipeline.source import TopicSource
from tests.fake_record import FakeRecord
from tests.simulation import LEADS, Line, always, simulated

TP = TopicPartition("leads", 0)


def test_a_fault_of_the_framing_is_that_of_its_record_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(framing: str, records: Sequence[Record], values: Sequence[bytes], **more: Any) -> Any:
        if b"boom" in values:
            raise KeyError("jane@example.com")
        return frame(framing, records, values, **more)

    monkeypatch.setattr(source_module, "frame", broken)
    nothing: Any = None
    source = TopicSource("leads", "raw", nothing, nothing, LEADS, "main", 1.0)
    values = [b"one", b"boom", b"two"]
    records = [FakeRecord(value) for value in values]
    first, bad, last = source.frame(records, values)
    assert (first, last) == (Run(FILE_KEY, 0, [b"one"]), Run(FILE_KEY, 2, [b"two"]))
    assert isinstance(bad, Unframed)
    assert (bad.index, bad.rejection.code) == (1, Code.INTERNAL_ERROR)
    assert "jane" not in bad.rejection.detail


def test_a_lack_of_memory_while_framing_is_no_records_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise good records would become dead letters because of a fault of the machine."""

    def short(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(source_module, "frame", short)
    nothing: Any = None
    source = TopicSource("leads", "raw", nothing, nothing, LEADS, "main", 1.0)
    with pytest.raises(MemoryError):
        source.frame([FakeRecord(b"one")], [b"one"])


def chunk(line: Line, records: Sequence[FakeRecord]) -> Records:
    return Records(*TP, line.epoch, list(records))


@simulated
async def test_a_bug_names_the_records_that_were_taken_in() -> None:
    failed: list[tuple[Any, ...]] = []
    line = Line(always(200))
    line.assign(TP)
    watched: Any = line.pipeline._observer
    watched.chunk_failed = lambda *args: failed.append(args)
    line.sources["leads"].frame = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        line.pipeline.fetched([chunk(line, [FakeRecord(place=(*TP, offset)) for offset in (7, 8, 12)])])
    assert failed == [(TP, 7, 12)]


def test_the_log_line_of_a_bug_has_topic_partition_and_offsets(capsys: pytest.CaptureFixture[str]) -> None:
    from stream_capi.observe import logs

    logs.configure("info", "json")
    nothing: Any = type("M", (), {"__getattr__": lambda *_: None})()
    Telemetry(nothing).chunk_failed(TP, 7, 12)
    line = capsys.readouterr().err
    for text in ('"topic":"leads"', '"partition":0', '"offset":7', '"last_offset":12', '"level":"critical"'):
        assert text in line


@simulated
async def test_headers_count_in_the_memory_budget() -> None:
    async def buffered(headers: list[tuple[str, bytes | None]] | None) -> int:
        line = Line(always(200))
        line.assign(TP)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(line.pipeline.run())
            await asyncio.sleep(0)
            line.pipeline.fetched([chunk(line, [FakeRecord(b"1", headers=headers, place=(*TP, 0))])])
            found = line.pipeline.buffered_bytes
            running.cancel()
        return found

    bare = await buffered(None)
    assert await buffered([]) == bare
    assert await buffered([("h", b"x" * 1000)]) >= bare + 2000
    assert await buffered([("h", None)] * 10_000) >= bare + 2_000_000
