"""Options that select records."""

from __future__ import annotations

import time

import pytest

from stream_capi.cli import dead_letters
from stream_capi.cli.selection import since_of, wanted_of
from stream_capi.errors import ConfigurationError
from stream_capi.events.selecting import Wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((None, None, None, None), None),
        (("jane", None, None, None), Wanted("key", "jane", b"jane")),
        (("", None, None, None), Wanted("key", "", b"")),
        (("hex:00fF", None, None, None), Wanted("key", "hex:00fF", b"\x00\xff")),
        (("\udcff", None, None, None), Wanted("key", "\udcff", b"\xff")),  # a command-line byte that is not UTF-8
        ((None, " e-1 ", None, None), Wanted("event_id", "e-1", b"e-1")),
        ((None, None, "d-1", None), Wanted("dedupe_id", "d-1", b"d-1")),
        ((None, None, None, "a.b=c=d"), Wanted("field", "c=d", b"", "a.b")),
        ((None, None, None, "$record=x.Y"), Wanted("field", "x.Y", b"", "$record")),
    ],
)
def test_one_of_them_is_given(given: tuple[str | None, ...], wanted: Wanted | None) -> None:
    assert wanted_of(*given) == wanted


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (("a", "b", None, None), "--key and --event-id: give one of them"),
        (("hex:0", None, None, None), "--key: hex: must be followed by pairs of the digits 0-9 and a-f"),
        ((None, " ", None, None), "--event-id: must not be empty"),
        ((None, None, "", None), "--dedupe-id: must not be empty"),
        ((None, None, None, "plan"), "--where: must be FIELD=VALUE, like customer.plan=pro"),
        ((None, None, None, "a..b=c"), "--where: the field is not a path; write names with single dots between them"),
        ((None, None, None, "=c"), "--where: the field is not a path; write names with single dots between them"),
    ],
)
def test_a_fault_is_one_line(given: tuple[str | None, ...], fault: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        wanted_of(*given)
    assert str(raised.value) == fault


def test_since_is_a_time_a_span_or_the_beginning() -> None:
    assert since_of("earliest") is None
    assert since_of("2026-11-17T00:00Z") == 1_794_873_600_000
    for text, seconds in (("90m", 5400), ("24h", 86_400), ("7d", 604_800)):
        at = since_of(text)
        assert at is not None
        assert abs(time.time() - seconds - at / 1000) < 5
    assert since_of("999999d") == 0
    for text in ("", "7w", "yesterday", "-1h", "1e3h"):
        with pytest.raises(
            ConfigurationError, match=r"--since: must be a time like .*, a span like 36h or 7d, or earliest$"
        ):
            since_of(text)


def test_dead_letters_take_the_same_since() -> None:
    assert dead_letters.picked_by(None, None, None).since is None
    assert dead_letters.picked_by(None, None, "earliest").since is None
    at = dead_letters.picked_by(None, None, "36h").since
    assert at is not None
    assert abs(time.time() - 36 * 3600 - at / 1000) < 5
