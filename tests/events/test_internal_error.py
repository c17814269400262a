"""An unforeseen exception of one record or schema dead-letters only its records, and the detail quotes no value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_capi.avro import decode
from stream_capi.avro.framing import FILE_KEY
from stream_capi.model import Code, Rejection, Transformed
from tests.events.line import Line, encoded
from tests.events.sources_and_records import LEAD, break_rule, lead, rules

SECRET = "c4n4ry@person.example"
VALUES = [
    encoded(LEAD, lead(currency=code, event_id=f"e-{at}")) for at, code in enumerate(("USD", "BUG", "EUR", "BUG", "?"))
]


def broken(error: type[BaseException]) -> Any:
    def currency(text: str) -> str | None:
        if text == "BUG":
            raise error(f"{text} of {SECRET}")
        return text if text != "?" else None

    return currency


def rejected(made: Transformed) -> Rejection:
    assert isinstance(made, Rejection), made
    assert SECRET not in made.detail
    assert "BUG" not in made.detail
    return made


@pytest.mark.parametrize(
    "error", [ValueError, KeyError, TypeError, RecursionError, AssertionError, UnicodeError, StopIteration]
)
def test_a_record_that_raises_is_rejected_alone(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    break_rule(monkeypatch, "data.currency", broken(error))
    line = Line(json.dumps(LEAD))
    made = line.through(VALUES)
    for at in (1, 3):
        one = rejected(made[at])
        assert one.code is Code.INTERNAL_ERROR
        assert one.detail.startswith(f"{error.__name__} at events/judging.py:")
    assert [json.loads(made[at])["dedupe_id"] for at in (0, 2)] == ["e-0", "e-2"]  # type: ignore[arg-type]
    assert rejected(made[4]).code is Code.INVALID_FIELD
    (transform,) = line.transforms
    assert [counted[""] for counted in transform.counts.lanes.values()] == [2], "none is counted twice"


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
def test_what_is_no_record_s_fault_ends_the_work(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    break_rule(monkeypatch, "data.currency", broken(error))
    with pytest.raises(error):
        Line(json.dumps(LEAD)).through(VALUES)


def test_a_payload_that_raises_while_it_is_decoded_is_rejected_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decode.compile_decoder

    def compiled(*given: Any) -> Any:
        def decoded(payloads: Any) -> Any:
            if VALUES[1] in payloads:
                raise RuntimeError(SECRET)
            return real(*given)(payloads)

        return decoded

    monkeypatch.setattr(decode, "compile_decoder", compiled)
    made = Line(json.dumps(LEAD)).through(VALUES[:3])
    assert rejected(made[1]).code is Code.INTERNAL_ERROR
    assert made[1].detail.startswith("RuntimeError at avro/decode.py:")  # type: ignore[union-attr]
    assert [type(one) for one in (made[0], made[2])] == [bytes, bytes]


@pytest.mark.parametrize("part", ["decoder", "mapping"])
def test_a_schema_that_nothing_can_be_compiled_for_rejects_its_records(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    tries: list[Any] = []

    def failing(*given: Any) -> Any:
        tries.append(given)
        raise RecursionError(SECRET)

    if part == "decoder":
        monkeypatch.setattr(decode, "compile_decoder", failing)
    else:
        monkeypatch.setattr(Line, "_compile", failing)
    line = Line(json.dumps(LEAD))
    made = line.through(VALUES[:2]) + line.through(VALUES[:1])
    assert {rejected(one).code for one in made} == {Code.INTERNAL_ERROR}
    assert len(made) == 3
    assert len(tries) == 1, "what failed once is not compiled again"


def test_no_memory_for_a_schema_is_no_fault_of_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(decode, "compile_decoder", failing)
    with pytest.raises(MemoryError):
        Line(json.dumps(LEAD)).through(VALUES[:1])


async def test_a_schema_that_was_loaded_is_caught_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(json.dumps(LEAD), rules())

    def failing(*given: Any) -> Any:
        raise RecursionError(SECRET)

    monkeypatch.setattr(line.source, "_compile", failing)
    loaded = await line.source.load(FILE_KEY)
    assert isinstance(loaded, Rejection)
    assert loaded.code is Code.INTERNAL_ERROR
