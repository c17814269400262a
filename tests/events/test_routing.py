"""Routing: which records are sent, for which pixel, as which event, with what value, and with consent or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import PAUSED, Code, EventName, Lane, Rejection, Routed, Skipped, Transformed
from tests.events.sources_and_records import LEAD, apply, lead, mapped, nullable, outcome, record, rules, sent

MORE: dict[str, Any] = {
    "kind": nullable("string"),
    "pixel": nullable("string"),
    "count": nullable("long"),
    "ratio": nullable("double"),
    "flag": nullable("boolean"),
    "level": nullable({"type": "enum", "name": "Level", "symbols": ["low", "high"]}),
    "granted": nullable("boolean"),
    "said": nullable("string"),
    "purposes": nullable({"type": "array", "items": "string"}),
    "table": nullable({"type": "map", "values": ["boolean", "string"]}),
    "nested": nullable({"type": "record", "name": "N", "fields": [{"name": "ads", "type": "boolean"}]}),
}
SCHEMA = record(**{f["name"]: f["type"] for f in LEAD["fields"]}, **MORE)


def transform(**source: Any) -> Transform:
    return compile_source(rules(**source), SCHEMA)


def made(source: dict[str, Any], **fields: Any) -> Transformed:
    return outcome(rules(**source), SCHEMA, dict.fromkeys(MORE) | lead(**fields))


# where


@pytest.mark.parametrize(
    ("condition", "field", "held", "not_held"),
    [
        ({"equals": "lead"}, "kind", ["lead"], ["Lead", "", None]),
        ({"equals": 3}, "count", [3], [4, None]),
        ({"equals": 3}, "ratio", [3.0], [3.1]),
        ({"equals": 1}, "flag", [], [True]),
        ({"equals": True}, "flag", [True], [False, None]),
        ({"equals": True}, "count", [], [1]),
        ({"equals": False}, "flag", [False], [None, True]),
        ({"equals": "high"}, "level", ["high"], ["low", None]),
        ({"in": ["a", "b"]}, "kind", ["a", "b"], ["c", None]),
        ({"in": [1, 2]}, "count", [1, 2], [3]),
        ({"present": True}, "kind", ["x", ""], [None]),
        ({"present": False}, "kind", [None], ["x"]),
    ],
)
def test_only_records_that_meet_a_condition_are_meant(
    condition: dict[str, Any], field: str, held: list[Any], not_held: list[Any]
) -> None:
    source = {"where": {"field": field} | condition}
    for value in held:
        sent(made(source, **{field: value}))
    for value in not_held:
        assert made(source, **{field: value}) == Skipped("where")


def test_every_condition_must_hold() -> None:
    source = {"where": [{"field": "kind", "equals": "lead"}, {"field": "count", "in": [1, 2]}]}
    sent(made(source, kind="lead", count=2))
    assert made(source, kind="lead", count=3) == Skipped("where")
    assert made(source, kind="view", count=2) == Skipped("where")


def test_what_is_not_meant_is_not_looked_at_any_further() -> None:
    source = {"where": {"field": "kind", "equals": "lead"}}
    assert made(source, kind="other", event_source_url="none", value=-1.0) == Skipped("where")


# event_field

EVENTS = {"Lead Sent": "generate_lead", "Page": "page_view", "Login": "skip", "7": "page_view", "true": "generate_lead"}


def test_a_field_may_say_which_event_it_is() -> None:
    source = {"event_field": "kind", "events": EVENTS}
    one = made(source, kind="Lead Sent")
    assert isinstance(one, Routed)
    assert one.lane == Lane("main", EventName.GENERATE_LEAD)
    assert sent(one)["name"] == "generate_lead"
    other = made(source, kind="Page")
    assert isinstance(other, Routed)
    assert other.lane == Lane("main", EventName.PAGE_VIEW)
    assert sent(other)["data"] is None
    assert made(source, kind="Login") == Skipped("event")


def test_numbers_and_truth_values_are_looked_up_as_they_are_written() -> None:
    assert sent(made({"event_field": "count", "events": EVENTS}, count=7))["name"] == "page_view"
    assert sent(made({"event_field": "ratio", "events": EVENTS}, ratio=7.0))["name"] == "page_view"
    assert sent(made({"event_field": "flag", "events": EVENTS}, flag=True))["name"] == "generate_lead"


def test_an_event_that_is_not_in_the_table_is_dead_lettered_and_never_skipped_silently() -> None:
    source = {"event_field": "kind", "events": EVENTS}
    assert made(source, kind="Logout") == Rejection(Code.INVALID_FIELD, 'event_field "kind" is not in events', "main")
    assert made(source, kind=None) == Rejection(Code.MISSING_FIELD, 'event_field "kind" is null', "main")


def test_a_star_stands_for_whatever_else() -> None:
    source = {"event_field": "kind", "events": EVENTS | {"*": "skip"}}
    for kind in ("Logout", "", None):
        assert made(source, kind=kind) == Skipped("event")
    assert sent(made({"event_field": "kind", "events": {"*": "page_view"}}, kind="x"))["name"] == "page_view"


# pixel_field


def test_a_field_may_name_the_pixel_with_its_own_profile() -> None:
    source = {"pixel_field": "pixel"}
    one = made(source, pixel="main", email="a@b.example", user_id="1")
    assert isinstance(one, Routed)
    assert one.lane == Lane("main", EventName.GENERATE_LEAD)
    assert "email" in sent(one)["user_data"]
    other = made(source, pixel="strict", email="a@b.example", user_id="1")
    assert isinstance(other, Routed)
    assert other.lane == Lane("strict", EventName.GENERATE_LEAD)
    assert "email" not in sent(other)["user_data"]


def test_an_unknown_pixel_is_dead_lettered() -> None:
    source = {"pixel_field": "pixel"}
    assert made(source, pixel="somebody") == Rejection(
        Code.INVALID_FIELD, 'pixel_field "pixel" names none of the pixels', None
    )
    assert made(source, pixel=None) == Rejection(Code.MISSING_FIELD, 'pixel_field "pixel" is null', None)


def test_a_rejected_event_names_its_pixel() -> None:
    one = made({"pixel_field": "pixel"}, pixel="strict", esi="kiosk")
    assert isinstance(one, Rejection)
    assert one.pixel == "strict"


# consent


@pytest.mark.parametrize(
    ("source", "yes", "no"),
    [
        ({"consent_field": "granted"}, [True], [False, None]),
        ({"consent_field": "said"}, ["true", "Yes", " granted "], ["no", "false", "denied", "", "1", None]),
        (
            {"consent_field": "purposes", "consent_purposes": ["ads", "sale"]},
            [["ads", "sale"], ["x", "sale", "ads"]],
            [["ads"], [], None],
        ),
        (
            {"consent_field": "said", "consent_purposes": ["ads"]},
            ["ads", "stats,ads", "stats; ads", "stats ads"],
            ["adsense", "true", "", None],
        ),
        (
            {"consent_field": "granted", "consent_purposes": ["ads"]},
            [],
            [True, False, None],
        ),
        (
            {"consent_field": "table", "consent_purposes": ["ads"]},
            [{"ads": True}, {"ads": "granted", "stats": False}],
            [{"ads": False}, {"ads": "denied"}, {"stats": True}, {}, None],
        ),
        ({"consent_field": "nested", "consent_purposes": ["ads"]}, [{"ads": True}], [{"ads": False}, None]),
        ({"consent_field": "purposes"}, [], [["ads"], None]),
        ({"consent_field": "missing"}, [], [None]),
    ],
)
def test_without_consent_an_event_is_skipped_and_absent_means_no(
    source: dict[str, Any], yes: list[Any], no: list[Any]
) -> None:
    field = source["consent_field"]
    for value in yes:
        sent(made(source, **{field: value}))
    for value in no:
        assert made(source, **{field: value}) == Skipped("no_consent")


def test_or_sent_without_what_tells_who_the_person_is() -> None:
    source = {"consent_field": "granted", "without_consent": "strip"}
    person = {"client_id": "c", "user_id": "u", "email": "a@b.example", "phone": "16505551212", "zip": "1", "sid": "s",
              "ifa": "i", "idfv": "v"}  # fmt: skip
    click = {"aleid": "a", "axwrt": "x", "alart": "t"}
    with_consent = sent(made(source, granted=True, **person, **click))["user_data"]
    assert set(with_consent) == {*person, *click, "client_ip_address", "client_user_agent", "esi"}
    without = sent(made(source, granted=None, **person, **click))["user_data"]
    assert without == click | {
        "client_ip_address": "172.59.8.172",
        "client_user_agent": "chrome/123.456 android mobile",
        "esi": "web",
    }
    assert made(source, granted=False, **person) == Skipped("no_consent")


def test_consent_is_asked_of_each_lane() -> None:
    source = {"consent_field": "granted", "without_consent": "strip", "pixel_field": "pixel"}
    one = transform(**source)
    rows = [
        dict.fromkeys(MORE) | lead(granted=ok, pixel=pixel, alart="t")
        for ok in (True, False)
        for pixel in ("main", "strict")
    ]
    users = [sent(made)["user_data"] for made in mapped(one, rows)]
    assert ["user_id" in user for user in users] == [True, False, False, False]


# the value of a lead

TABLE = {"field": "level", "table": {"high": 120.0, "low": 5, "7": 7.5, "true": 1}}


def test_a_table_says_what_a_lead_is_worth() -> None:
    assert sent(made({"values": TABLE}, level="high"))["data"]["value"] == 120.0
    assert sent(made({"values": TABLE}, level="low"))["data"]["value"] == 5.0
    assert sent(made({"values": TABLE | {"field": "count"}}, count=7))["data"]["value"] == 7.5
    assert sent(made({"values": TABLE | {"field": "flag"}}, flag=True))["data"]["value"] == 1.0


def test_what_is_not_in_the_table_has_the_mapped_value_or_the_default() -> None:
    assert sent(made({"values": TABLE | {"field": "kind"}}, kind="?", value=30.0))["data"]["value"] == 30.0
    assert sent(made({"values": TABLE}, level=None, value=30.0))["data"]["value"] == 30.0
    defaulted = {"values": TABLE | {"field": "kind", "default": 0.0}}
    assert sent(made(defaulted, kind="duplicate", value=30.0))["data"]["value"] == 0.0
    assert sent(made(defaulted, kind=None, value=-1.0))["data"]["value"] == 0.0


def test_without_table_entry_default_and_mapped_value_a_lead_is_dead_lettered() -> None:
    without = record(**{f["name"]: f["type"] for f in LEAD["fields"] if f["name"] != "value"}, **MORE)
    one = compile_source(rules(values=TABLE), without)
    assert apply(one, dict.fromkeys(MORE) | lead(level=None)) == Rejection(
        Code.MISSING_FIELD, 'data.value: is absent (from "value")', "main"
    )
    assert sent(apply(one, dict.fromkeys(MORE) | lead(level="high")))["data"]["value"] == 120.0


def test_a_default_currency_stands_for_an_absent_one_and_never_for_a_wrong_one() -> None:
    source = {"default_currency": "eur", "fields": {"data.currency": "kind"}}
    assert sent(made(source, kind=None))["data"]["currency"] == "EUR"
    assert sent(made(source, kind=" "))["data"]["currency"] == "EUR"
    assert sent(made(source, kind="usd"))["data"]["currency"] == "USD"
    wrong = made(source, kind="dollars")
    assert isinstance(wrong, Rejection)
    assert wrong.code is Code.INVALID_FIELD
    assert sent(made({"default_currency": "EUR", "fields": {"data.currency": "nowhere"}}))["data"]["currency"] == "EUR"


# paused pixels


class Everybody:
    """A suppression list that contains everybody."""

    def key_of_hash(self, text: str) -> bytes:
        return b"key"

    key_of_user_id = key_of_hash

    def among(self, keys: Sequence[bytes]) -> list[int]:
        return list(range(len(keys)))


def test_what_names_a_paused_pixel_waits_whatever_else_is_true_of_it() -> None:
    source: dict[str, Any] = {
        "pixel_field": "pixel",
        "where": [{"field": "kind", "equals": "prod"}],
        "consent_field": "granted",
    }
    one = compile_source(replace(rules(**source), paused=frozenset({"main"})), SCHEMA, people=Everybody())
    rows = [
        dict.fromkeys(MORE) | lead(pixel=pixel, kind=kind, granted=granted, **wrong)
        for pixel in ("main", "strict", "nowhere", None)
        for kind, granted, wrong in (("test", True, {}), ("prod", False, {}), ("prod", True, {"event_time": 5}))
    ]
    results = mapped(one, rows)
    assert results[:3] == [PAUSED] * 3, "filtered out, without consent, of people to be forgotten, and wrong"
    assert PAUSED not in results[3:]
    assert not one.counts.dropped


def test_without_a_pause_nothing_waits() -> None:
    assert isinstance(made({"pixel_field": "pixel"}, pixel="main", alart="t"), Routed)
