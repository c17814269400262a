"""The restricted profile: which fields and identifiers it may send."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.transform import compile_source
from stream_capi.model import Code, Rejection, Transformed
from tests.events.sources_and_records import LEAD, apply, lead, outcome, rules, sent

EVERYTHING = {
    "aleid": "a", "axwrt": "x", "alart": "t", "client_id": "c", "user_id": "42", "email": "a@b.example",
    "phone": "16505551212", "country_code": "US", "zip": "94025", "os": "ios", "sid": "s", "ifa": "i", "idfv": "v",
}  # fmt: skip
NOBODY = dict.fromkeys(EVERYTHING)


def made(**fields: Any) -> Transformed:
    return outcome(rules(pixel="strict"), LEAD, lead(**fields))


def user(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = sent(made(**fields))["user_data"]
    return found


def test_only_the_allowed_fields_are_sent() -> None:
    assert user(**EVERYTHING) == {
        "client_ip_address": "172.59.8.172",
        "client_user_agent": "chrome/123.456 android mobile",
        "esi": "web",
        "aleid": "a",
        "alart": "t",
        "client_id": "c",
        "user_id": "42",
    }


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://shop.example/quote?email=a@b.example#x", "https://shop.example"),
        ("HTTPS://Shop.Example", "https://shop.example"),
        ("http://shop.example:8080/", "http://shop.example"),
        ("https://me:secret@shop.example/x", "https://shop.example"),
        ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example"),
    ],
)
def test_the_url_is_scheme_and_host(url: str, origin: str) -> None:
    assert sent(made(event_source_url=url, client_id="c"))["event_source_url"] == origin


def test_what_an_ad_brought_along_is_taken_from_the_url_before_it_is_cut() -> None:
    event = sent(made(**NOBODY | {"event_source_url": "https://shop.example/?aleid=A&alart=T"}))
    assert event["user_data"] | {"aleid": "A", "alart": "T"} == event["user_data"]
    assert event["event_source_url"] == "https://shop.example"


@pytest.mark.parametrize("field", ["alart", "client_id", "user_id"])
def test_one_of_three_identifiers_is_enough(field: str) -> None:
    assert user(**NOBODY | {field: "7"})[field] == "7"


@pytest.mark.parametrize(
    "others", [{}, {"aleid": "a"}, EVERYTHING | {"alart": None, "client_id": " ", "user_id": None}]
)
def test_the_others_are_not(others: dict[str, Any]) -> None:
    assert made(**NOBODY | others) == Rejection(
        Code.NO_IDENTIFIER, "none of alart, client_id, user_id is there", "strict"
    )


@pytest.mark.parametrize("user_id", ["u-1", "4 2", "٤٢", "-1", "4.2", "²"])
def test_a_user_id_that_is_no_number_is_left_out_and_counted(user_id: str) -> None:
    transform = compile_source(rules(pixel="strict"), LEAD)
    event = sent(apply(transform, lead(user_id=user_id, client_id="c")))
    assert "user_id" not in event["user_data"]
    assert transform.counts.dropped == {("user_id", "not_numeric"): 1}
    assert isinstance(apply(transform, lead(user_id=user_id)), Rejection)


def test_a_numeric_user_id_keeps_its_zeros() -> None:
    assert user(user_id=" 0042 ")["user_id"] == "0042"


def test_fields_that_are_not_allowed_are_not_even_looked_at() -> None:
    transform = compile_source(rules(pixel="strict"), LEAD)
    sent(apply(transform, lead(user_id=None, client_id="c", email="nobody", phone="1", country_code="??", os="?")))
    assert not transform.counts.dropped
