"""The text in a commit's metadata: its format, its size limit, and which texts are ignored."""

from __future__ import annotations

from base64 import b85decode, b85encode
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.core.offset_metadata import (
    METADATA_LIMIT,
    Resolved,
    decode_outcomes,
    encode_outcomes,
    resolved_since,
    topic_id_of,
)
from tests.core.trackers import decoded, track, tracker


def test_the_text_keeps_its_form() -> None:
    """Another format needs another version: members of two releases share a group during a rolling update."""
    offsets = tracker(100)
    track(offsets, *range(100, 400))
    for offset in [*range(110, 150), 399]:
        offsets.resolve(offset)
    text = "capi2:abc:100:G;1ay1po>t`2hg"
    assert offsets.outcomes_beyond(topic_id="abc") == text
    assert decoded(text, 100, "abc") == ((110, 150), (399, 400))
    around_a_byte = ((1, 128), (130, 258))  # 127 is the largest number of one byte
    text = "capi2::0:j%XDS1ponm0)PP"
    assert tracker(0, around_a_byte).outcomes_beyond() == text
    assert decoded(text, 0) == around_a_byte


@pytest.mark.parametrize("ranges", [(), ((110, 150), (399, 400))])
@pytest.mark.parametrize(("since", "watermark"), [(0, 0), (0, 100), (99, 100), (100, 100), (3, 2**60)])
def test_since_when_all_was_resolved_is_told_besides_the_outcomes(
    ranges: tuple[tuple[int, int], ...], since: int, watermark: int
) -> None:
    """``decode_outcomes`` skips it, as it did before ``since`` was added: so members of older releases read the rest."""
    beyond = tuple((watermark + first, watermark + last) for first, last in ranges)
    offsets = tracker(watermark, beyond)
    without = offsets.outcomes_beyond(topic_id="abc")
    assert resolved_since(without, watermark, "abc") is None
    offsets.since = since
    text = offsets.outcomes_beyond(topic_id="abc")
    assert decoded(text, watermark, "abc") == beyond
    assert resolved_since(text, watermark, "abc") == since
    assert resolved_since(text, watermark + 1, "abc") is None, "the offset was set by somebody since"
    assert resolved_since(text, watermark, "other") is None, "the topic was recreated"
    assert [resolved_since(text[:-cut], watermark, "abc") for cut in range(1, 8)] == [None] * 7


def ranges_before(metadata: str) -> list[tuple[int, int, int]] | None:
    """Decode a text as the release without ``since`` did; None for a text that it ignored."""
    _, _, committed, body = metadata.split(":", 3)
    data, numbers, number, shift = b85decode(body), list[int](), 0, 0
    for byte in data[4:]:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if data[:4] != crc32(data[4:]).to_bytes(4, "big"):
        return [] if not body else None
    found: list[tuple[int, int, int]] = []
    at, leader_epoch, former = int(committed), -1, -1
    for skip, length in zip(numbers[::2], numbers[1::2], strict=True):
        if length == 0:
            leader_epoch = skip
        elif leader_epoch == -1 or (skip == 0 and found and leader_epoch == former):
            return None
        else:
            found.append((at + skip, at + skip + length, leader_epoch))
            at, former = at + skip + length, leader_epoch
    return found


_SIZES = st.one_of(st.integers(0, 300), st.integers(0, 2**40))


@pytest.mark.slow
@given(_SIZES, st.lists(st.tuples(_SIZES, _SIZES, st.integers(0, 300)), max_size=8), st.none() | _SIZES)
def test_two_releases_read_each_others_texts(
    watermark: int, steps: list[tuple[int, int, int]], distance: int | None
) -> None:
    """A release that knows ``since`` and one that doesn't, as members of one group."""
    ranges: list[Resolved] = []
    for skip, length, rise in steps:
        before = ranges[-1] if ranges else Resolved(0, watermark, 0)
        first = before.last + skip + (1 if rise == 0 else 0)
        ranges.append(Resolved(first, first + length + 1, before.leader_epoch + rise))
    since = None if distance is None else max(0, watermark - distance)
    text = encode_outcomes(watermark, ranges, METADATA_LIMIT, "abc", since)
    assert decode_outcomes(text, watermark, "abc") == tuple(ranges)
    assert ranges_before(text) == ranges
    assert resolved_since(text, watermark, "abc") == since, "None of a text without it, as the release before wrote it"


def test_since_is_left_out_where_there_is_no_room() -> None:
    offsets = tracker(100, ((110, 150),))
    offsets.since = 20
    whole = offsets.outcomes_beyond(topic_id="abc")
    for limit in range(len(whole)):
        text = offsets.outcomes_beyond(limit, "abc")
        assert len(text) <= limit
        assert resolved_since(text, 100, "abc") in (None, 20)
        assert decoded(text, 100, "abc") == ()


def test_no_distance_leads_before_the_log() -> None:
    runs = b"\x65\x00"
    text = b85encode(crc32(runs).to_bytes(4, "big") + runs).decode()
    assert resolved_since(f"capi2::101:{text}", 101) == 0
    assert resolved_since(f"capi2::100:{text}", 100) is None


def test_the_text_of_release_0_1_names_its_log_and_no_outcome() -> None:
    """It has no leader epochs, so after a truncation of the log its outcomes could belong to other records."""
    text = "capi1:abc:100:JslzC3Mlyj0R"
    assert topic_id_of(text) == "abc"
    assert decode_outcomes(text, 100, "abc") == ()


def test_what_has_just_room_is_told_and_nothing_beyond_the_limit() -> None:
    for ranges in (((3, 4),), ((3, 4), (10, 300)), ((3, 400), (900, 901), (1000, 9000))):
        offsets = tracker(0, ranges)
        whole = offsets.outcomes_beyond()
        assert decoded(offsets.outcomes_beyond(len(whole)), 0) == ranges
        assert decoded(offsets.outcomes_beyond(len(whole) - 1), 0) == ranges[:-1]
        assert all(len(offsets.outcomes_beyond(limit)) <= limit for limit in range(len(whole)))


@pytest.mark.parametrize(
    ("committed", "log", "why"),
    [(101, "abc", "the offset was reset since"), (100, "other", "the topic was recreated"), (100, "", "no id known")],
)
def test_metadata_that_does_not_fit_is_ignored(committed: int, log: str, why: str) -> None:
    text = tracker(100, ((110, 150),)).outcomes_beyond(topic_id="abc")
    assert decoded(text, 100, "abc")
    assert decoded(text, committed, log) == (), why


@pytest.mark.parametrize(
    "text", ["", "x", "capi3::100:", "capi2::100:~~~~~", "capi2::100:00", "capi2::x:", "a:b:c:d", "capi2::100:\x00"]
)
def test_metadata_of_others_is_ignored(text: str) -> None:
    assert decoded(text, 100) == ()


@pytest.mark.parametrize("skip", range(240, 256))
def test_a_text_that_lost_its_end_is_not_believed(skip: int) -> None:
    """Without its last four characters this text would still decode, with offset 2 as resolved, which is open."""
    offsets = tracker()
    track(offsets, *range(skip + 4))
    offsets.resolve(1)
    offsets.resolve(2 + skip)
    text = offsets.outcomes_beyond()
    assert decoded(text, 0) == ((1, 2), (2 + skip, 3 + skip))
    assert [decoded(text[:-cut], 0) for cut in range(1, 12)] == [()] * 11


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (b"\x05\x00\x01", "an open run without a resolved one"),
        (b"\x05\x00\x01\x01\x05", "the same after a pair"),
        (b"\x01\x01", "a run without a leader epoch before it"),
        (b"\x05\x00\x01\x01\x00\x02", "a run that joins the one before it"),
        (b"\x05\x00\x01\x81", "a number without its end"),
        (b"\x05\x00\x01\x01\x81", "the same after a pair"),
        (b"\x05\x00\x01" + b"\x80" * 9 + b"\x01", "a number of more than 63 bits"),
    ],
)
def test_a_text_that_no_release_has_written_is_not_believed_although_its_checksum_is_right(
    runs: bytes, why: str
) -> None:
    text = b85encode(crc32(runs).to_bytes(4, "big") + runs).decode()
    assert decoded(f"capi2::100:{text}", 100) == (), why


def test_ranges_of_any_size_come_back() -> None:
    ranges = ((101, 2**56), (2**57, 2**62))
    assert decoded(tracker(100, ranges).outcomes_beyond(), 100) == ranges
    at_once = ((100, 101),)
    assert decoded(tracker(100, at_once).outcomes_beyond(), 100) == at_once


def test_a_limit_with_no_room_even_for_the_name_leaves_the_text_empty() -> None:
    offsets = tracker(100, ((110, 150),))
    head = "capi2:abc:100:"
    assert offsets.outcomes_beyond(len(head) - 1, "abc") == ""
    assert offsets.outcomes_beyond(len(head), "abc") == head


def test_the_log_is_named_even_where_nothing_lies_beyond() -> None:
    assert topic_id_of(tracker(5).outcomes_beyond(topic_id="abc")) == "abc"
    assert topic_id_of("somebody else's") == ""


def test_metadata_stays_below_the_limit_and_leaves_the_far_end_out() -> None:
    offsets = tracker()
    track(offsets, *range(20_000))
    for offset in range(1, 20_000, 2):
        offsets.resolve(offset)
    text = offsets.outcomes_beyond(topic_id="i" * 22)
    assert METADATA_LIMIT == 4096, "Kafka's default for offset.metadata.max.bytes"
    assert METADATA_LIMIT - 4 <= len(text.encode()) <= METADATA_LIMIT
    assert [len(offsets.outcomes_beyond(limit, "abc")) for limit in (22, 30, 100)] == [22, 30, 100]
    ranges = decoded(text, 0, "i" * 22)
    assert ranges[:2] == ((1, 2), (3, 4))
    assert all(not offsets.is_open(first) for first, _ in ranges)


@given(st.text(max_size=60), st.integers(0, 200))
def test_any_metadata_is_read_without_an_error(text: str, committed: int) -> None:
    for body in (text, f"capi2::{committed}:{text}"):
        ranges = decode_outcomes(body, committed)
        assert all(committed <= first < last for first, last, _ in ranges)
