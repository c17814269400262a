"""Masking of personal data in the output of ``explain``."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.explain import explain
from stream_capi.events.value_masking import masked, masked_url, raw_shown, result_shown
from tests.events.sources_and_records import LEAD, NOW, TOPIC, lead, rules


def shown(source: dict[str, Any], target: str, **fields: Any) -> tuple[Any, Any]:
    """What is shown for a field or a routing rule of a Lead: its raw value, and the result."""
    lines = explain(rules(**source), LEAD, lead(**fields), (TOPIC, 3, 7), NOW).lines
    (line,) = [one for one in lines if one.target == target and not (target == "dedupe_id" and one.result is None)]
    return raw_shown(line), result_shown(line)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("jane.doe@example.com", "j…(20 chars)"),
        ("jane", "j…(4 chars)"),
        ("abc", "…(3 chars)"),
        ("", '""'),
        ("\nabcde", "…(6 chars)"),
        ("Ab" * 32, "…(SHA-256)"),
        (None, "null"),
        (True, "…(true or false)"),
        (16505551212, "…(number)"),
        (b"canary", "…(6 bytes)"),
        (["canary"], "…(1 item)"),
        ({"canary": "canary"}, "…(1 item)"),
        (["canary", "canary"], "…(2 items)"),
    ],
)
def test_a_masked_value_tells_its_kind_and_length(value: Any, shown: str) -> None:
    assert masked(value) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x/y?email=canary", "https://a.example/…(17 chars)"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example/x", "https://a.example/…(2 chars)"),
        ("https://a.example?q=canary", "https://a.example/…(9 chars)"),
        ("https://a.example#canary", "https://a.example/…(7 chars)"),
    ],
)
def test_a_masked_url_tells_scheme_and_host(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    ("target", "fields", "raw", "result"),
    [
        ("event_time", {}, NOW - 15_000, NOW - 15_000),
        ("data.currency", {"currency": " usd"}, " usd", "USD"),
        ("data.value", {}, 30.0, 30.0),
        ("user_data.esi", {"esi": "WEB"}, "WEB", "web"),
        ("user_data.country_code", {"country_code": "us"}, "us", "US"),
    ],
)
def test_codes_numbers_and_times_that_are_sent_are_shown(
    target: str, fields: dict[str, Any], raw: Any, result: Any
) -> None:
    assert shown({}, target, **fields) == (raw, result)


@pytest.mark.parametrize(
    ("target", "fields", "raw", "result"),
    [
        ("user_data.email", {"email": "jane@example.com"}, "j…(16 chars)", "…(SHA-256)"),
        ("user_data.user_id", {"user_id": "https://jane.example/"}, "h…(21 chars)", "h…(21 chars)"),
        ("user_data.os", {"os": "iOS of Jane"}, "i…(11 chars)", "ios"),
        ("user_data.zip", {}, None, None),
        ("dedupe_id", {"dedupe_id": "order-jane"}, "o…(10 chars)", "o…(10 chars)"),
        ("dedupe_id", {"event_id": "form-jane"}, "f…(9 chars)", "f…(9 chars)"),
    ],
)
def test_what_may_tell_who_the_person_is_is_masked(target: str, fields: dict[str, Any], raw: Any, result: Any) -> None:
    assert shown({}, target, **fields) == (raw, result)


def test_a_code_that_is_not_sent_may_be_anything_and_is_masked() -> None:
    assert shown({}, "user_data.esi", esi="jane") == ("j…(4 chars)", None)
    assert shown({}, "user_data.country_code", country_code="jane") == ("j…(4 chars)", None)
    assert shown({}, "data.currency", currency="jane") == ("j…(4 chars)", None)


@pytest.mark.parametrize(
    ("url", "raw", "result"),
    [
        (" https://a.example/jane?x", "https://a.example/…(7 chars)", "https://a.example/…(7 chars)"),
        ("https://jane:pw@a.example/", "h…(26 chars)", "https://a.example/"),
        ("jane.example/x", "j…(14 chars)", None),
    ],
)
def test_of_a_url_scheme_and_host_are_shown_where_it_is_sent_as_it_stood(
    url: str, raw: str, result: str | None
) -> None:
    assert shown({}, "event_source_url", event_source_url=url) == (raw, result)


def test_of_the_routing_what_the_settings_know_is_shown() -> None:
    events = {"event_field": "sid", "events": {"view": "page_view", "login": "skip", "*": "generate_lead"}}
    assert shown(events, "event_field", sid="view") == ("view", "page_view")
    assert shown(events, "event_field", sid="login") == ("login", "skip")
    assert shown(events, "event_field", sid="jane") == ("j…(4 chars)", "generate_lead")
    assert shown({"pixel_field": "sid"}, "pixel_field", sid="main") == ("main", "main")
    assert shown({"pixel_field": "sid"}, "pixel_field", sid="jane") == ("j…(4 chars)", None)
    assert shown({"consent_field": "sid"}, "consent_field", sid="granted") == ("g…(7 chars)", "yes")


def test_of_a_condition_the_value_is_shown_only_where_the_settings_have_it() -> None:
    equals, present = {"field": "sid", "equals": "paid"}, {"field": "sid", "present": True}
    assert shown({"where": equals}, "where", sid="paid") == ("paid", None)
    assert shown({"where": equals}, "where", sid="jane") == ("j…(4 chars)", None)
    assert shown({"where": present}, "where", sid="jane") == ("j…(4 chars)", None)
    assert shown({"where": present}, "where", sid=None) == (None, None)
