"""A rule's fast path for columns gives the same results as the rule for single values."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_capi.events.fields import FIELDS, Field, too_long
from stream_capi.events.judging import judge_of
from stream_capi.events.value_rules import Wrong
from stream_capi.events.whole import are_tidy, escaped, numbers
from tests.events.hostile_values import IDS, NASTY
from tests.proof.profile import tries

GOOD = {
    "event_source_url": "https://shop.example/quote?a=b", "data.currency": "USD", "user_data.client_ip_address": "203.0.113.9",
    "user_data.client_user_agent": "Mozilla/5.0 (X11)", "user_data.esi": "web", "user_data.email": "Jane@shop.example",
    "user_data.phone": "+1 650 555 1212", "user_data.country_code": "US", "user_data.zip": "94025", "user_data.os": "ios",
}  # fmt: skip
TEXTS = [field for field in FIELDS.values() if field.target not in ("event_time", "data.value")]
Column = Sequence[str | None]


def nasty(field: Field) -> list[str | None]:
    return [
        None,
        "",
        " ",
        "\u2003",
        *NASTY.get(field.name, ()),
        *IDS,
        *GOOD.values(),
        "x" * field.longest,
        "x" * field.longest + " ",
    ]


def alone(field: Field, text: str | None, country: str | None, **settings: bool) -> tuple[Any, Any]:
    """By the rule for single values: the result, and what is wrong with the text."""
    if not text:
        return None, None
    if len(text) > field.longest:
        return None, too_long(field.longest)
    rule = field.rule_for(**settings).one
    if not text.strip():
        return None, None
    value = text.strip() if rule is None else rule(text, country) if field.beside else rule(text)
    if isinstance(value, Wrong):
        return None, value
    return value, None if value else field.wrong


def check(field: Field, column: Column, countries: Column, **settings: bool) -> None:
    values, wrong, sent, plain = judge_of(field, **settings)(column, countries if field.beside else None)
    expected = [alone(field, text, country, **settings) for text, country in zip(column, countries, strict=True)]
    assert [value or None for value in values] == [value for value, _ in expected]
    assert wrong == {at: why for at, (_, why) in enumerate(expected) if why is not None}
    assert sent == sum(value is not None for value, _ in expected)
    there = [value for value in values if value]
    if plain and there:
        assert escaped(there) == there


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("hash_here", [False, True])
@pytest.mark.parametrize("field", TEXTS, ids=lambda field: field.target)
def test_a_column_is_judged_as_its_values_are(field: Field, hash_here: bool, restricted: bool) -> None:
    settings = {"hash_here": hash_here, "restricted": restricted}
    good = [GOOD.get(field.target, "id-1")] * 5
    for country in ("US", "DE"):
        for odd in nasty(field):
            for column in (
                [*good, odd, *good],
                [odd, *good],
                [*good, odd],
                [odd] * 6,
                [odd],
                [None, odd, None, *good, odd],
            ):
                check(field, column, [country] * len(column), **settings)


@pytest.mark.parametrize("field", TEXTS, ids=lambda field: field.target)
def test_hard_values_beside_each_other_are_no_harder(field: Field) -> None:
    draw = random.Random(1)
    for _ in range(60):
        column = draw.choices([*nasty(field), *[GOOD.get(field.target, "id-1")] * 9], k=draw.choice((2, 7, 30)))
        check(field, column, draw.choices(["US", None], k=len(column)), hash_here=True, restricted=draw.random() < 0.5)


def test_many_distinct_spellings_are_not_all_kept() -> None:
    field = FIELDS["user_data.os"]
    table: dict[str, str] = field.rule.whole.table  # type: ignore[attr-defined]
    judge = judge_of(field, hash_here=True, restricted=False)
    for at in range(30):
        values, *_ = judge([f"Windows {at}.{number}" for number in range(100)], None)
        assert set(values) == {"desktop_os"}
    assert len(table) <= 1_100


@tries(300)
@given(st.lists(st.text(alphabet='",\\[]xé\u2028\x00\n', max_size=6), max_size=4))
@example(['x",', "next"])
@example(['","', ""])
def test_texts_are_escaped_as_json_has_them(texts: list[str]) -> None:
    assert [json.loads(f'"{text}"') for text in escaped(texts)] == texts


def test_numbers_are_written_as_json_has_them() -> None:
    values = [0.0, 1, 2.5, 1e22, 1e-7, 2**53, None]
    assert numbers(values) == ["0.0", "1", "2.5", "1e+22", "1e-7", "9007199254740992", "null"]


@pytest.mark.parametrize("text", ["a b", " a", "a ", "\t", '"', "\\", "é", "\x00", "\u2028", "123456", "a\n"])
def test_what_is_to_be_trimmed_or_escaped_or_is_too_long_is_not_tidy(text: str) -> None:
    assert not are_tidy([["a", None, ""], [None, text, "a"]], 5)
    assert are_tidy([["a", None, ""], ["bcdef", "\x7f", "12345"]], 5)
    assert are_tidy([], 5)
