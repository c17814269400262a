"""The memory of a mapped event while it waits for its answer."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from benchmarks.contenders.bare import loaded
from benchmarks.contenders.shapes import SHIPPED
from benchmarks.mapping import mapping_of
from benchmarks.templates import Templates, varint_of
from stream_capi.model import EventName
from tests.bench.test_plain import SETUP


@pytest.mark.slow
def test_a_payload_keeps_its_own_bytes_and_not_the_buffer_it_was_written_into() -> None:
    templates = Templates(SHIPPED, dict.fromkeys(EventName, 7), seed=3)
    now_ms = int(time.time() * 1000)
    values = [templates.value(EventName.GENERATE_LEAD, number, varint_of(now_ms))[5:] for number in range(1000)]
    mapped = mapping_of(loaded(SETUP), 0, SETUP.shape, now_ms)
    mapped(values)  # fill the caches, which are not counted
    tracemalloc.start()
    payloads = mapped(values)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    written = sum(len(payload) for payload in payloads if isinstance(payload, bytes))
    assert kept < 1.5 * written, f"{kept / len(payloads):.0f} bytes kept for {written / len(payloads):.0f} written"
