"""Texts from outside that the program parses: a commit's metadata, a Retry-After header, a record written as JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_capi.core.offset_metadata import decode_outcomes, topic_id_of
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.core.outcomes import MAX_RETRY_AFTER_SECONDS, Delivered, classify, retry_after_seconds
from stream_capi.events.plain_json import NotOfSchema, row_from_json
from stream_capi.events.transform import compile_source
from stream_capi.model import Answer
from tests.events.sources_and_records import LEAD, apply, is_outcome, rules
from tests.proof.corpus import keeping, kept
from tests.proof.profile import tries

EPOCH = 1_800_000_000.0
TEXTS = st.one_of(st.text(max_size=60), st.text("capi2:0123456789~!kQ", max_size=40))
DATES = st.text("MonTueWdhFriSat,JFbarApyulgSepOctNvDc 0123456789:+-GMTUZ", max_size=40)
CANARY = "c4n4ry"
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from((CANARY, "web", "1", "é"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(("string", "double", "stream_capi.Esi", "x")), inner, max_size=2),
    ),
    max_leaves=4,
)


def tracker(opened: list[bool]) -> PartitionOffsets:
    offsets = PartitionOffsets("leads", 0, 1, 100, leader_epoch=0)
    offsets.track(range(100, 101 + len(opened)), [1] * (len(opened) + 1), 101 + len(opened), [(100, 0)])
    for at, is_open in enumerate(opened, 101):
        if not is_open:
            offsets.resolve(at)
    return offsets


@tries(300)
@given(TEXTS, st.integers(0, 10**12), st.text(max_size=4))
def test_any_metadata_gives_ranges_beyond_the_commit_or_none(text: str, committed: int, log: str) -> None:
    with keeping("metadata", text.encode("utf-8", "surrogatepass")):
        in_order(text, committed, log)
        in_order(f"capi2:{log}:{committed}:{text}", committed, log)


@tries(400)
@given(st.lists(st.booleans(), max_size=200), st.integers(0, 80), st.sampled_from("~0Aa:{ é\0"), st.booleans())
def test_metadata_with_one_character_altered_says_the_same_or_nothing(
    opened: list[bool], at: int, char: str, insert: bool
) -> None:
    """The same, if the change affects only bits that are not part of any decoded byte."""
    text = tracker(opened).outcomes_beyond(topic_id="kQ3Z")
    said = decode_outcomes(text, 100, "kQ3Z")
    altered = text[:at] + char + text[at + (not insert) :]
    assert decode_outcomes(altered, 100, "kQ3Z") in ((), said)


def test_metadata_that_was_found_before() -> None:
    for text in kept("metadata"):
        in_order(text.decode("utf-8", "surrogatepass"), 100, "")


def in_order(text: str, committed: int, log: str) -> None:
    at = committed
    for first, last, _ in decode_outcomes(text, committed, log):
        assert at <= first < last
        at = last
    assert isinstance(topic_id_of(text), str)


@tries(400)
@given(st.one_of(st.text(max_size=40), DATES, st.integers().map(str), st.floats().map(str)), st.integers(100, 999))
def test_any_retry_after_is_a_bounded_time_or_none(text: str, status: int) -> None:
    with keeping("retry_after", text.encode("utf-8", "surrogatepass")):
        bounded(text, status)


def test_retry_after_that_was_found_before() -> None:
    for text in kept("retry_after"):
        bounded(text.decode("utf-8", "surrogatepass"), 429)


def bounded(text: str, status: int) -> None:
    after = retry_after_seconds(text, EPOCH)
    assert after is None or 0.0 <= after <= MAX_RETRY_AFTER_SECONDS
    assert isinstance(classify(Answer(status, retry_after=text), EPOCH), Delivered) == (status == 200)


@tries(300)
@given(
    st.one_of(
        st.text(max_size=40),
        st.dictionaries(st.sampled_from([field["name"] for field in LEAD["fields"]]), JSON, max_size=24).map(
            json.dumps
        ),
    )
)
def test_any_json_is_a_record_or_no_record_and_a_record_has_an_outcome(text: str) -> None:
    with keeping("json", text.encode("utf-8", "surrogatepass")):
        record_or_not(text)


def test_json_that_was_found_before() -> None:
    for text in kept("json"):
        record_or_not(text.decode("utf-8", "surrogatepass"))


def record_or_not(text: str) -> None:
    try:
        row: dict[str, Any] = row_from_json(LEAD, text)
    except NotOfSchema as error:
        message = str(error)
    else:
        assert is_outcome(apply(compile_source(rules(), LEAD), row))
        return
    assert CANARY not in message
