"""Values composed of fragments that people, forms and exports write: mapping, ``explain`` and reference agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.events.sources_and_records import LEAD, lead, rules
from tests.events.test_same_as_reference import Row, compare
from tests.proof.profile import SHORT

OFTEN = settings(deadline=None, max_examples=30 if SHORT else 150, suppress_health_check=list(HealthCheck))

DIGITS = (
    "0",
    "00",
    "1",
    "49",
    "650",
    "555",
    "1212",
    "1234567",
    "6505551212",
    "000",
    "(0)",
    "(650)",
    "１２３",
    "٣",
    "²",
)
SIGNS = (
    "+",
    "-",
    ".",
    ",",
    "/",
    ";",
    "|",
    "#",
    "##",
    "*",
    "_",
    "?",
    "•",
    " ",
    "\u00a0",
    "'",
    "’",
    "(",
    ")",
    "\u200b",
    "…",
    "–",
)
WORDS = (
    "ext",
    "ext. ",
    "x",
    " extension ",
    "tel:",
    "TEL:",
    "e",
    "n/a",
    ";ext=",
    "\n",
    "\t",
    "＃",
    "．",
    "ｘ",
    "\x7f",
    "ß",
)
PHONE = (*DIGITS, *DIGITS, *SIGNS, *WORDS)
EMAIL = (
    "a", "john.smith", "@", "@", "@x.example", "b.example", "é", "ß", "İ", "Σ", ".", "..", "-", "_", "+t", "'", '"', "(", ")", "[", "]",
    "<", ">", ",", ";", ":", "/", "?", "\\", "*", "`", "{", "}", "~", " ", "\u3000", "\u200b", "\ufeff", "\ufe0f", "\ufffd", "\x00", "\x7f",
    "\x85", "\n", "\r", "mailto:", "MAILTO:", "null", "ab" * 32,
)  # fmt: skip
ADDRESS = (
    "203.0.113.9", "8.8.8.8", "10.0.0.1", "100.64.0.9", "172.16.0.1", "172.32.0.1", "::1", "2001:db8::7", "fe80::1", "::ffff:10.0.0.1",
    "::ffff:100.64.0.9", "::FFFF:8.8.8.8", "%eth0", "%", "[", "]", ":80", ":", ":99999", ",", ", ", " ", "unknown", "0", ".", "\n", "٣",
)  # fmt: skip
ZIP = ("0", "00", "501", "94025", "-", " ", "1234", "94025-1234", "K1A", "null", "N/A", "９", "\n", ".0")
OS = (
    "Windows", "linux", "Android", "iPhone OS", "mac os x", "Ubuntu", " ", "Phone", "mobile", "touch", "TV", "ce", "armv8l", "aarch64",
    "arm", "10", ".", "_", "-", '"', "'", "“", "version", " version", "x", "é",
)  # fmt: skip


def composed(pieces: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), min_size=1, max_size=7).map("".join)


# Besides random values a few common ones, so that the fast path for columns meets the exceptions too.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "phone": st.one_of(composed(PHONE), composed(DIGITS), st.sampled_from(("+1 650-555-1212", "16505551212", None))),
    "email": st.one_of(composed(EMAIL), st.sampled_from(("a@b.example", "J.Smith@b.example", None))),
    "client_ip_address": st.one_of(composed(ADDRESS), st.sampled_from(("203.0.113.9", "8.8.8.8"))),
    "zip": st.one_of(composed(ZIP), st.sampled_from(("94025", None))),
    "os": st.one_of(composed(OS), st.sampled_from(("iOS", "Windows", None))),
    "country_code": st.sampled_from(("US", "us", "DE", None, "x")),
}


@pytest.mark.slow
@OFTEN
@given(st.data())
def test_composed_values(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    rows: list[Row] = [
        lead(**{name: data.draw(VALUES[name]) for name in names}) for _ in range(data.draw(st.sampled_from((1, 4, 9))))
    ]
    source: dict[str, Any] = {}
    if data.draw(st.booleans()):
        source["phone_region"] = data.draw(st.sampled_from(("US", "DE", {"path": "country_code"})))
    delivery: dict[str, Any] = {"hash": data.draw(st.sampled_from(("local", "passthrough")))}
    compare(LEAD, rows, rules(delivery=delivery, **source))
