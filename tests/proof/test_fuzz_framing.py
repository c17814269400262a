"""Any bytes in front of a payload, and any header: every record is in one run or rejected as unframed, in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.avro.framing import HEADER, WIRE_FORMATS, Run, Unframed, frame
from stream_capi.model import Code
from tests.fake_record import FakeRecord
from tests.proof.corpus import keeping, kept
from tests.proof.profile import tries

PREFIXES = st.sampled_from(
    (
        b"",
        b"\0",
        b"\0\0\0\0\1",
        b"\0\0\0\0\2",
        b"\1",
        b"\1" + b"g" * 16,
        b"\xc3",
        b"\xc3\1",
        b"\xc3\1" + b"f" * 8,
        b"\2",
    )
)
VALUES = st.builds(bytes.__add__, PREFIXES, st.binary(max_size=12))
HEADERS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.just([]),
    st.lists(
        st.tuples(st.sampled_from((HEADER, "other", "")), st.one_of(st.none(), PREFIXES, st.binary(max_size=20))),
        max_size=3,
    ),
)


@pytest.mark.slow
@tries(400)
@given(st.sampled_from(WIRE_FORMATS), st.lists(st.builds(FakeRecord, VALUES, HEADERS), max_size=8))
def test_every_record_is_framed_or_told(framing: str, records: list[FakeRecord]) -> None:
    assert_all_framed_or_rejected(framing, records)


@tries(200)
@given(st.sampled_from(WIRE_FORMATS), st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_random_bytes_are_framed_or_told(framing: str, values: list[bytes]) -> None:
    with keeping("framing", values[0]):
        assert_all_framed_or_rejected(framing, [FakeRecord(value) for value in values])


def test_what_was_found_before() -> None:
    for value in kept("framing"):
        for framing in WIRE_FORMATS:
            assert_all_framed_or_rejected(framing, [FakeRecord(value)])


def assert_all_framed_or_rejected(framing: str, records: list[FakeRecord]) -> None:
    given_records: Any = records
    at = 0
    for part in frame(framing, given_records, [record.value() or b"" for record in records]):
        if isinstance(part, Unframed):
            assert part.index == at
            assert part.rejection.code is Code.DECODE_ERROR
            at += 1
            continue
        assert isinstance(part, Run)
        assert part.start == at
        assert part.payloads
        for record, payload in zip(records[at : at + len(part.payloads)], part.payloads, strict=True):
            assert (record.value() or b"").endswith(payload)
        at += len(part.payloads)
    assert at == len(records)
