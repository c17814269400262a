"""Texts of one kind of character, as long as a record can hold, in every field: time and memory are bounded.

The measure for a record is the cost of only reading it: the same text in a field that is not mapped. The measure for a text
that is just not too long is the cost of ordinary events with as many bytes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from stream_capi.config.settings import TARGETS
from stream_capi.events.fields import FIELDS
from tests.events.line import Line, encoded, line_of, memory, took
from tests.events.sources_and_records import LEAD, is_outcome, lead

pytestmark = pytest.mark.slow

LONG = 1_000_000  # bytes
FACTOR = 10
CHARACTERS = {
    "zeros": "0", "digits": "7", "letters": "a", "capitals": "A", "sigmas": "Σ", "dotted": "İ", "spaces": " ", "wide spaces": "\u2003",
    "dots": ".", "colons": ":", "commas": ",", "marks": "\u0301\u0323", "ligatures": "\ufdfa", "emoji": "😀", "ats": "@", "percents": "%",
    "escapes": "%41", "slashes": "/", "quotes": '"', "apostrophes": "'", "brackets": "[", "parameters": "&aleid=", "plus": "+", "nul": "\0",
    "lines": "\n", "controls": "\x1f", "hyphens": "-", "true": "true,",
}  # fmt: skip
BEFORE = {
    "event_source_url": ("", "https://", "https://h.example/", "https://h.example/?", "https://é.example/"),
    "user_data.email": ("", "a@"),
    "user_data.phone": ("", "+1"),
    "user_data.client_ip_address": ("", "::"),
    "event_time": ("", "2025-03-12T13:01:25."),
    "data.value": ("", "1."),
    "user_data.os": ("", "Windows "),
}
OTHERS: dict[str, dict[str, Any]] = {
    "consent": {"consent_field": "edge", "consent_purposes": ["ads"], "without_consent": "strip"},
    "a plain consent": {"consent_field": "edge", "without_consent": "strip"},
    "event_field": {"event_field": "edge", "events": {"*": "generate_lead"}},
    "pixel_field": {"pixel_field": "edge"},
    "where": {"where": {"field": "edge", "in": ["web", "app"]}},
    "values": {"values": {"field": "edge", "table": {"web": 1.0}, "default": 2.0}},
}
WITH_EDGE: Any = {**LEAD, "fields": [*LEAD["fields"], {"name": "edge", "type": "string"}]}


def as_long(start: str, character: str, size: int) -> str:
    """A text of ``size`` characters that begins with ``start`` and repeats ``character``."""
    return (start + character * (size // len(character)))[:size]


def in_bytes(start: str, character: str) -> str:
    return start + character * (LONG // len(character.encode()))


def payload(text: str) -> bytes:
    return encoded(WITH_EDGE, lead(aleid="ad-1") | {"edge": text})


@pytest.fixture(scope="module")
def unmapped() -> Line:
    return line_of(WITH_EDGE)


def line_to(target: str) -> Line:
    if target in OTHERS:
        return line_of(WITH_EDGE, **OTHERS[target])
    rule: Any = {"path": "edge", "unit": "s"} if target == "event_time" else "edge"
    if target in ("user_data.email", "data.currency"):
        rule = ["edge", "dedupe_id", "edge"]
    return line_of(WITH_EDGE, fields={target: rule})


def both(line: Line, record: bytes) -> Callable[[], Any]:
    """Map and explain a record, with the mapping compiled before."""
    return lambda: (line.through([record]), line.explained(record))


def assert_within(bound: float, work: Callable[[], Any], what: object) -> None:
    """Assert a bound on a call's processor time. Retried up to five times, since other work may disturb a single try."""
    seconds = [took(work)]
    while seconds[-1] > bound and len(seconds) < 5:
        seconds.append(took(work))
    assert seconds[-1] <= bound, (what, seconds, bound)


def characters(target: str) -> dict[str, str]:
    """All kinds of characters if a rule parses the text; a few if it only trims it."""
    worked = (
        target in BEFORE
        or target in OTHERS
        or target.startswith("data.")
        or target in ("user_data.zip", "user_data.esi")
    )
    return CHARACTERS if worked else {name: CHARACTERS[name] for name in ("zeros", "spaces", "marks", "nul")}


@pytest.mark.cases(4)
@pytest.mark.parametrize("target", [*TARGETS, *OTHERS])
def test_a_text_that_fills_a_record_costs_little_more_than_to_read_it(unmapped: Line, target: str) -> None:
    line = line_to(target)
    for start in BEFORE.get(target, ("",)):
        for name, character in characters(target).items():
            record = payload(in_bytes(start, character))
            assert is_outcome(line.outcome(record))
            normal = min(took(both(unmapped, record)) for _ in range(2))
            assert_within(FACTOR * normal, both(line, record), (name, start))


@pytest.mark.cases(4)
@pytest.mark.parametrize("target", [*TARGETS, *OTHERS])
def test_a_text_that_fills_a_record_takes_no_memory_beyond_what_reading_it_takes(unmapped: Line, target: str) -> None:
    line = line_to(target)
    for name in ("zeros", "spaces", "emoji", "true"):
        record = payload(in_bytes("", CHARACTERS[name]))
        line.outcome(record)
        normal, mapped = memory(both(unmapped, record)), memory(both(line, record))
        assert mapped.peak <= 2 * normal.peak, name
        assert mapped.kept <= 64 * 1024, name


@pytest.mark.cases(4)
@pytest.mark.parametrize("target", [*TARGETS, *OTHERS])
def test_the_longest_text_costs_no_more_than_ordinary_events_of_its_size(unmapped: Line, target: str) -> None:
    line, ordinary = line_to(target), payload("")
    longest = FIELDS[target].longest if target in FIELDS else 8_192
    normal = min(took(both(unmapped, ordinary)) for _ in range(20)) / len(ordinary)
    for start in BEFORE.get(target, ("",)):
        for name, character in characters(target).items():
            record = payload(as_long(start, character, longest))
            assert is_outcome(line.outcome(record))
            assert_within(FACTOR * normal * len(record), both(line, record), (name, start))


@pytest.mark.cases(4)
@pytest.mark.parametrize("name", CHARACTERS)
def test_no_host_costs_much_more_than_an_ordinary_international_one(name: str) -> None:
    line = line_to("event_source_url")
    ordinary = payload("https://www.müller-straßenbau.example/")
    assert isinstance(line.outcome(ordinary), bytes)
    normal = min(took(both(line, ordinary)) for _ in range(20))
    for length in (31, 50, 63, 100, 101, 126, 253):
        assert_within(FACTOR * normal, both(line, payload("https://" + as_long("", CHARACTERS[name], length))), length)
        dotted = ".".join(as_long("", CHARACTERS[name], 50) for _ in range(length // 50))
        assert_within(FACTOR * normal, both(line, payload("https://" + dotted)), length)


URL, ADDRESS = "event_source_url", "user_data.client_ip_address"


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("target", "texts"),
    [
        (URL, [f"https://é.example/{at}/" + "é" * 4_000 for at in range(500)]),
        (URL, [f"https://[{at:x}::" + "0" * 900 + "]/é" for at in range(1_000)]),
        (ADDRESS, [f"{at:x}::" + "0" * 900 for at in range(2_000)]),
        (ADDRESS, [f"{at:x}::1" + " " * 900 for at in range(3_000)]),
        ("user_data.os", [f"Windows {at}" + "x" * 50 for at in range(3_000)]),
        ("user_data.os", [f"Windows {at}" + " " * 2_000 for at in range(3_000)]),
    ],
)
def test_no_cache_keeps_what_records_bring(target: str, texts: list[str]) -> None:
    """Thousands of different values leave at most 512 KiB behind."""
    line, records = line_of(WITH_EDGE, fields={target: "edge"}), [payload(text) for text in texts]
    line.through(records[:1])

    def all_of_them() -> None:
        for record in records:
            line.through([record])
        gc.collect()

    assert memory(all_of_them).kept <= 512 * 1024
