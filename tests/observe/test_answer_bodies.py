"""Everything in an answer's body that comes from the request is masked, however the body quotes it."""

from __future__ import annotations

import json
from html import escape
from urllib.parse import quote

import pytest

from stream_capi.applovin import body
from stream_capi.observe.api_words import masked_body

KEY = "canary-key-5f1d7c0a9b"
EVENT = {
    "name": "generate_lead", "event_time": 1_741_784_485_001, "event_source_url": "https://shop.example/thanks?q=canary",
    "data": {"currency": "USD", "value": 12.5},
    "user_data": {"user_id": "canary/user", "sid": "Jürgen", "esi": "web", "email": "ab" * 32, "zip": "94025"},
    "dedupe_id": "canary-order",
}  # fmt: skip
REQUEST = body([json.dumps(EVENT, ensure_ascii=False).encode()])
TEXT = REQUEST.decode()


def shown(text: str) -> str:
    return masked_body(text.encode(), REQUEST, KEY)


@pytest.mark.parametrize(
    "quoted",
    [
        TEXT,
        json.dumps(TEXT),
        json.dumps(json.dumps(json.dumps(EVENT))),
        escape(TEXT),
        "".join(f"&#{ord(sign)};" for sign in TEXT),
        quote(TEXT, safe=""),
        TEXT.upper(),
        f"user=canary/user,order:canary-order:{KEY}",
        "canaryuser94025",
        "canary-or",
        f"Bearer {KEY}",
        KEY.upper(),
        "J\u00fcrgen JÜRGEN J\\u00fcrgen",
    ],
)
def test_nothing_of_the_request_is_left(quoted: str) -> None:
    left = shown(f"invalid: {quoted}").casefold()
    assert left.startswith("invalid: ")
    for secret in ("canary", "rgen", "ab" * 8, "94025", "5f1d7c0a9b"):
        assert secret not in left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", ""),
        ('{"success": true}', '{"success": true}'),
        ('{"errors":[{"code":42,"field":"user_data.email"}]}', '{"errors":[{"code":42,"field":"user_data.email"}]}'),
        ("generate_lead\n\t of esi web  is  not known", "generate_lead of esi web is not known"),
        ("jane@example.com", "…"),
        ("\x1b[31mred\x00", "?[31mred?"),
    ],
)
def test_what_the_api_says_itself_stays_on_one_line(text: str, left: str) -> None:
    assert shown(text) == left


def test_a_long_body_is_bounded() -> None:
    assert len(shown("word " * 100_000)) <= 501
