"""A run whose rows would take far more memory than its bytes is decoded and mapped in slices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_capi.model import Code, Rejection
from stream_capi.pipeline import source
from tests.events.line import Line, encoded, line_of, memory
from tests.events.making import LEAD, lead

ITEM = {"type": "record", "name": "Item", "fields": [{"name": "x", "type": "int"}]}
RAW: Any = {**LEAD, "fields": [*LEAD["fields"], {"name": "items", "type": {"type": "array", "items": ITEM}}]}


def records(count: int, items: int) -> list[bytes]:
    payloads = [encoded(RAW, lead(event_id=f"e-{at}") | {"items": [{"x": 1}] * items}) for at in range(count)]
    payloads[count // 2] = payloads[count // 2][:-1]
    return payloads


def ids(line: Line, payloads: list[bytes]) -> list[str]:
    made = line.through(payloads)
    return [one.code if isinstance(one, Rejection) else json.loads(one)["dedupe_id"] for one in made]  # type: ignore[arg-type]


def right(count: int) -> list[str]:
    return [Code.DECODE_ERROR if at == count // 2 else f"e-{at}" for at in range(count)]


@pytest.mark.slow
def test_rows_of_a_run_take_no_more_than_a_slice_may() -> None:
    line, payloads = line_of(RAW), records(30, 40_000)
    line.through(payloads[:1])
    taken = memory(lambda: line.through(payloads))
    assert ids(line, payloads) == right(30)
    assert taken.peak < 1.5 * source._DECODED_AT_ONCE, "all at once they are 280 MB"


@pytest.mark.parametrize("at_once", [0, 1, 10_000, 100_000, 1 << 40])
def test_a_slice_is_one_record_at_least_and_nothing_is_lost_between_them(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(source, "_DECODED_AT_ONCE", at_once)
    assert ids(line_of(RAW), records(9, 40)) == right(9)
    assert line_of(RAW).through([]) == []
