"""Each hostile schema, decoded, mapped and explained: it is refused for its reason, or works, at a bounded cost."""

from __future__ import annotations

import contextlib
import json

import pytest

from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.writer_schema import RefusedSchema, WriterSchema, build, definitions
from stream_capi.events.guess import guesses
from stream_capi.events.mapping_check import mapping_faults
from stream_capi.model import Code, EventName, Rejection
from tests.avro.hostile_schemas import Hostile, named, schemas
from tests.avro.records import LEAD, record
from tests.events.line import Line, memory, took
from tests.events.sources_and_records import is_outcome, rules

PAYLOADS = (b"", b"\0" * 80, b"\2" * 80, b"\xff" * 80)
FACTOR = 10
LEAD_TEXT = json.dumps(LEAD)
FIELDS = {"event_time": "f0", "user_data.user_id": "f0.x", "user_data.email": ["f1", "f0[0]", "f0.x.y"]}


@pytest.fixture(scope="module")
def normal() -> float:
    """Seconds for the shipped Lead schema: parse, compile, map and explain."""
    return min(took(lambda: whole(Line(LEAD_TEXT))) for _ in range(10))


def may_take(hostile: Hostile, normal: float) -> float:
    """The limit in seconds: ten times the normal time.

    The normal time grows with the number of names in a schema that works, and with the time to parse the JSON of one that
    is refused.
    """
    if hostile.why is None:
        return FACTOR * normal * float(max(1.0, hostile.text.count('"') / LEAD_TEXT.count('"')))
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        normal += took(lambda: json.loads(hostile.text))
    return FACTOR * normal


def whole(line: Line) -> None:
    for made in line.through(PAYLOADS):
        assert is_outcome(made)
    for payload in PAYLOADS:
        assert is_outcome(line.explained(payload))


@pytest.mark.cases(150)
@pytest.mark.slow
@pytest.mark.parametrize("hostile", schemas(), ids=str)
def test_a_hostile_schema_is_refused_for_its_reason_or_read_with(hostile: Hostile, normal: float) -> None:
    line = Line(hostile.text, rules(fields=FIELDS))
    whole(line)
    bound, seconds = may_take(hostile, normal), [took(lambda: whole(Line(hostile.text, rules(fields=FIELDS))))]
    while seconds[-1] > bound and len(seconds) < 5:
        seconds.append(took(lambda: whole(Line(hostile.text, rules(fields=FIELDS)))))
    assert seconds[-1] <= bound
    codec, built = line.codec(), build(FILE_KEY, hostile.text)
    if hostile.why is None:
        assert isinstance(built, WriterSchema), built
        assert not isinstance(codec, Rejection), codec
        mapping_faults(line.rules, built.raw)
        guesses(built.raw, EventName.GENERATE_LEAD)
        return
    assert isinstance(built, RefusedSchema)
    assert hostile.why in built.reason
    assert len(built.reason) < 2_500
    built.reason.encode()
    assert isinstance(codec, Rejection)
    assert codec.code is Code.DECODE_ERROR
    assert codec.detail == f"schema file is refused: {built.reason}"


@pytest.mark.cases(150)
@pytest.mark.parametrize("hostile", [one for one in schemas() if isinstance(one.text, str)], ids=str)
def test_a_hostile_reference_is_put_in_or_refused(hostile: Hostile) -> None:
    try:
        known = definitions(json.loads(hostile.text))
    except (ValueError, RecursionError):
        return
    for name in [*list(known)[:3], "R", "Inner"]:
        assert isinstance(
            build(FILE_KEY, json.dumps(record(name, named(name="Own"))), known), WriterSchema | RefusedSchema
        )


@pytest.mark.repeat(of="test_a_hostile_schema_is_refused_for_its_reason_or_read_with")
@pytest.mark.slow
def test_the_largest_schemas_take_bounded_memory() -> None:
    for hostile in schemas():
        if hostile.what in (
            "2,000 fields",
            "8,000 types",
            "4,990 fields",
            "an enum of 10,000 symbols",
            "one record in 2,000 places",
        ):
            taken = memory(lambda text=hostile.text: whole(Line(text)))  # type: ignore[misc]
            assert taken.peak < 128 << 20, hostile.what
