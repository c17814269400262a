"""``explain``: how one record becomes an event, field by field."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from stream_capi.events.explain import Explanation, explain
from stream_capi.events.fields import UNFIT
from stream_capi.events.lines import Line, Verdict
from stream_capi.model import Code, Lane, Rejection, Routed, Skipped
from tests.events.sources_and_records import LEAD, NOW, TOPIC, lead, lead_sent, outcome, record, rules


def explained(source: dict[str, Any] | None = None, /, **fields: Any) -> Explanation:
    return explain(rules(**(source or {})), LEAD, lead(**fields), (TOPIC, 3, 7), NOW)


def line(explanation: Explanation, target: str) -> Line:
    (found,) = [one for one in explanation.lines if one.target == target]
    return found


def test_each_field_tells_where_it_comes_from_what_is_done_and_what_is_sent() -> None:
    found = line(explained({"fields": {"user_data.email": ["sid", "email"]}}, email=" A@b.example"), "user_data.email")
    assert (found.paths, found.path, found.raw, found.verdict) == (
        ("sid", "email"),
        "email",
        " A@b.example",
        Verdict.SENT,
    )
    assert found.rule == "trimmed, lower-cased, SHA-256 unless it is one"
    assert len(found.result) == 64


@pytest.mark.parametrize(
    ("given", "made", "note"),
    [
        (" 203.0.113.9", "203.0.113.9", ""),
        ("203.0.113.9:4711", "203.0.113.9", "without port, brackets and zone"),
        ("10.0.0.1, 203.0.113.9", "203.0.113.9", "the first public one"),
        ("10.0.0.1, ::1", "10.0.0.1", "the first one: none of the list is public; counted as suspect: private"),
        ("fe80::1%eth0", "fe80::1", "without port, brackets and zone; counted as suspect: link_local"),
    ],
)
def test_what_an_address_was_taken_out_of_is_told(given: str, made: str, note: str) -> None:
    found = line(explained(client_ip_address=given), "user_data.client_ip_address")
    assert (found.result, found.note) == (made, note)


@pytest.mark.parametrize(
    ("source", "target", "rule"),
    [
        ({}, "event_time", "epoch milliseconds"),
        (
            {"fields": {"event_time": {"path": "event_time", "unit": "us"}}},
            "event_time",
            "epoch milliseconds; a number counts us",
        ),
        ({}, "event_source_url", "an absolute http or https URL"),
        ({"pixel": "strict"}, "event_source_url", "scheme and host of an absolute URL"),
        ({}, "data.currency", "an ISO 4217 code, upper-cased"),
        ({}, "user_data.user_id", "trimmed"),
        ({"pixel": "strict"}, "user_data.user_id", "digits"),
        ({"pixel": "strict"}, "user_data.client_id", "trimmed"),
        ({}, "user_data.phone", "digits only, SHA-256 unless it is one"),
        ({"delivery": {"hash": "passthrough"}}, "user_data.phone", "digits only"),
        ({}, "user_data.sid", "trimmed"),
    ],
)
def test_the_rule_is_told_as_the_settings_make_it(source: dict[str, Any], target: str, rule: str) -> None:
    assert line(explained(source), target).rule == rule


def test_a_constant_comes_from_no_path() -> None:
    source = {"fields": {"data.value": {"const": 12}, "user_data.sid": {"const": " s "}}}
    value, sid = line(explained(source), "data.value"), line(explained(source), "user_data.sid")
    assert (value.paths, value.path, value.raw, value.result) == ((), None, 12, 12)
    assert (sid.paths, sid.path, sid.raw, sid.result) == ((), None, " s ", "s")


@pytest.mark.parametrize(
    ("fields", "target", "code"),
    [
        ({"event_time": NOW - 60_000}, "event_time", None),
        ({"event_time": NOW - 60_001}, "event_time", Code.TOO_OLD),
        ({"event_time": NOW + 5_000}, "event_time", None),
        ({"event_time": NOW + 5_001}, "event_time", Code.IN_FUTURE),
        ({"event_time": 1_741_784_500}, "event_time", Code.INVALID_FIELD),
        ({"event_time": None}, "event_time", Code.MISSING_FIELD),
        ({"client_ip_address": "10.0.0.1"}, "user_data.client_ip_address", Code.INVALID_FIELD),
        ({"client_ip_address": "203.0.113.7"}, "user_data.client_ip_address", None),
        ({"client_ip_address": " "}, "user_data.client_ip_address", Code.MISSING_FIELD),
        ({"client_ip_address": "x"}, "user_data.client_ip_address", Code.INVALID_FIELD),
    ],
)
def test_the_limits_of_the_settings_hold_in_it_too(fields: dict[str, Any], target: str, code: Code | None) -> None:
    source: dict[str, Any] = {"delivery": {"max_age_seconds": 60, "max_future_seconds": 5, "private_ip": "refuse"}}
    explanation = explained(source, **fields)
    assert line(explanation, target).verdict is (Verdict.FAILS if code else Verdict.SENT)
    assert outcome(rules(**source), LEAD, lead(**fields)) == explanation.outcome
    assert (explanation.outcome.code if isinstance(explanation.outcome, Rejection) else None) is code


def test_every_target_has_a_line() -> None:
    targets = [one.target for one in explained().lines]
    assert targets == [
        "event_time", "event_source_url", "data.currency", "data.value", "user_data.client_ip_address",
        "user_data.client_user_agent", "user_data.esi", "user_data.aleid", "user_data.axwrt", "user_data.alart",
        "user_data.client_id", "user_data.user_id", "user_data.email", "user_data.phone", "identifiers",
        "user_data.country_code", "user_data.zip", "user_data.os", "user_data.sid", "user_data.ifa", "user_data.idfv",
        "dedupe_id", "dedupe_id",
    ]  # fmt: skip


def test_every_fault_is_told_and_the_first_decides() -> None:
    explanation = explained(event_source_url="/x", value=-1.0, esi="kiosk", os="BeOS")
    fails = {one.target: one.note for one in explanation.lines if one.verdict is Verdict.FAILS}
    assert fails == {
        "event_source_url": "must be an absolute http or https URL with a host",
        "data.value": "must be a finite number of 0 or more",
        "user_data.esi": "must be web or app",
    }
    assert line(explanation, "user_data.os").verdict is Verdict.DROPPED
    assert isinstance(explanation.outcome, Rejection)
    assert explanation.outcome.detail.startswith("event_source_url: ")


def test_what_is_absent_dropped_or_withheld_says_so() -> None:
    explanation = explained({"pixel": "strict"}, user_id="u-1", client_id=None, email="a@b.example")
    assert line(explanation, "user_data.client_id").verdict is Verdict.ABSENT
    assert line(explanation, "user_data.user_id").note == "must be a number in the restricted profile"
    assert line(explanation, "user_data.email").verdict is Verdict.WITHHELD
    assert line(explanation, "user_data.email").raw is None
    identifiers = line(explanation, "identifiers")
    assert (identifiers.verdict, identifiers.note) == (Verdict.FAILS, "none of alart, client_id, user_id is there")


def test_what_comes_from_elsewhere_says_from_where() -> None:
    table = {"field": "sid", "table": {"high": 99.0}}
    source = {"values": table, "default_currency": "EUR", "fields": {"data.currency": "ifa"}}
    explanation = explained(
        source,
        event_source_url="https://a.b/?aleid=A",
        sid="high",
        event_id="",
        client_ip_address="10.0.0.1",
        user_id="12345",
    )
    notes = {one.target: (one.result, one.note) for one in explanation.lines if one.note}
    assert notes["user_data.aleid"] == ("A", "the URL's aleid")
    assert notes["data.value"] == (99.0, "by the table of values")
    assert notes["data.currency"] == ("EUR", "default_currency")
    assert notes["user_data.client_ip_address"] == ("10.0.0.1", "counted as suspect: private")
    assert notes["user_data.user_id"] == ("12345", "counted as suspect: short")
    assert notes["dedupe_id"][1] == "from topic, partition and offset"


@pytest.mark.parametrize(
    ("rule", "sid", "told"),
    [
        (
            {"path": "sid", "map": {"WEB": "web", "IOS_APP": "app"}},
            "IOS_APP",
            ("sid", "IOS_APP", "app", "by its map", True),
        ),
        ({"path": "sid", "map": {"WEB": "web"}, "default": "app"}, "K 1", ("sid", "K 1", "app", "the default", False)),
        ({"path": "sid", "map": {"WEB": "web"}, "default": "app"}, None, (None, "app", "app", "the default", True)),
        (["sid", {"const": "app"}], None, (None, "app", "app", "the default", True)),
        (["sid", {"const": "app"}], " WEB", ("sid", " WEB", "web", "", True)),
    ],
)
def test_what_a_map_made_of_a_value_is_told(rule: Any, sid: str | None, told: tuple[Any, ...]) -> None:
    found = line(explained({"fields": {"user_data.esi": rule}}, sid=sid), "user_data.esi")
    assert (found.path, found.raw, found.result, found.note, found.harmless) == told
    assert found.verdict is Verdict.SENT


def test_a_value_that_is_in_no_map_is_told_by_its_rule_alone() -> None:
    rule = {"path": "sid", "map": {"WEB": "web"}}
    explanation = explained(
        {"fields": {"user_data.esi": rule, "user_data.os": rule | {"map": {"m": "ios"}}}}, sid="K 1"
    )
    found = line(explanation, "user_data.esi")
    assert (found.verdict, found.note, found.harmless) == (Verdict.FAILS, "is not in its map", False)
    assert line(explanation, "user_data.os").verdict is Verdict.DROPPED
    assert explanation.outcome == Rejection(Code.INVALID_FIELD, 'user_data.esi: is not in its map (from "sid")', "main")


def test_a_value_that_the_table_does_not_have_may_be_anything() -> None:
    table = {"field": "email", "table": {"high": 99.0}, "default": 1.0}
    assert not line(explained({"values": table}, email="jane@example.com"), "data.value").harmless
    assert line(explained({"values": table}, email="high"), "data.value").harmless


def test_a_path_that_this_schema_lacks_says_so() -> None:
    explanation = explained({"fields": {"user_data.sid": ["session", "visit.id"]}})
    assert line(explanation, "user_data.sid").note == "not in this schema"
    assert line(explanation, "user_data.ifa").note == ""


def test_the_url_of_the_restricted_profile_is_shown_as_it_is_sent() -> None:
    explanation = explained({"pixel": "strict"}, event_source_url="https://a.b/c?d", client_id="c")
    assert line(explanation, "event_source_url").result == "https://a.b"
    assert explanation.lane == Lane("strict", rules().event)  # type: ignore[arg-type]


def test_the_routing_is_told_up_to_the_question_that_decides() -> None:
    source = {
        "where": {"field": "esi", "equals": "web"},
        "event_field": "sid",
        "events": {"view": "page_view", "login": "skip"},
        "pixel_field": "ifa",
        "consent_field": "idfv",
    }
    sent = explained(source, sid="view", ifa="main", idfv="yes")
    assert [(one.target, one.result, one.verdict) for one in sent.lines[:4]] == [
        ("where", None, Verdict.PASSED),
        ("event_field", "page_view", Verdict.PASSED),
        ("pixel_field", "main", Verdict.PASSED),
        ("consent_field", "yes", Verdict.PASSED),
    ]
    assert isinstance(sent.outcome, Routed)
    assert [one.target for one in explained(source, esi="app").lines] == ["where"]
    login = explained(source, sid="login")
    assert (login.lines[-1].target, login.lines[-1].verdict, login.outcome) == (
        "event_field", Verdict.SKIPS, Skipped("event"),
    )  # fmt: skip
    unknown = explained(source, sid="view", ifa="nobody")
    assert unknown.lines[-1].note == "is not one of those in the settings"
    assert isinstance(unknown.outcome, Rejection)
    assert unknown.outcome.code is Code.INVALID_FIELD
    refused = explained(source, sid="view", ifa="main", idfv=None)
    assert (refused.lines[-1].verdict, refused.lines[-1].note) == (Verdict.SKIPS, "absent means no")


IS = {"field": "sid"}
CONSENT = {"consent_field": "sid"}
STRIP = CONSENT | {"without_consent": "strip"}
EVENTS = {"event_field": "sid", "events": {"view": "page_view"}}
NONE_OF_THOSE = "is not one of those in the settings"


@pytest.mark.parametrize(
    ("source", "target", "given", "told"),
    [
        ({"where": IS | {"equals": "paid"}}, "where", "paid", ("is paid", Verdict.PASSED, None, "")),
        ({"where": IS | {"equals": "paid"}}, "where", "x", ("is paid", Verdict.SKIPS, None, "")),
        ({"where": IS | {"in": ["a", "b"]}}, "where", "b", ("is a or b", Verdict.PASSED, None, "")),
        ({"where": IS | {"present": True}}, "where", None, ("is present", Verdict.SKIPS, None, "")),
        ({"where": IS | {"present": False}}, "where", None, ("is null", Verdict.PASSED, None, "")),
        (EVENTS, "event_field", "view", ("a value in events", Verdict.PASSED, "page_view", "")),
        (EVENTS, "event_field", "x", ("a value in events", Verdict.FAILS, None, NONE_OF_THOSE)),
        (EVENTS, "event_field", None, ("a value in events", Verdict.FAILS, None, "is null")),
        ({"pixel_field": "sid"}, "pixel_field", "main", ("the name of a pixel", Verdict.PASSED, "main", "")),
        ({"pixel_field": "sid"}, "pixel_field", "x", ("the name of a pixel", Verdict.FAILS, None, NONE_OF_THOSE)),
        ({"pixel_field": "sid"}, "pixel_field", None, ("the name of a pixel", Verdict.FAILS, None, "is null")),
        (CONSENT, "consent_field", "yes", ("a consent", Verdict.PASSED, "yes", "")),
        (CONSENT, "consent_field", "no", ("a consent", Verdict.SKIPS, "no", "")),
        (CONSENT, "consent_field", None, ("a consent", Verdict.SKIPS, "no", "absent means no")),
        (STRIP, "consent_field", "yes", ("a consent", Verdict.PASSED, "yes", "")),
        (
            STRIP,
            "consent_field",
            "no",
            ("a consent", Verdict.PASSED, "no", "sent without the fields that identify the person"),
        ),
        (
            CONSENT | {"consent_purposes": ["ads", "sale"]},
            "consent_field",
            "ads",
            ("a consent to ads, sale", Verdict.SKIPS, "no", ""),
        ),
    ],
)
def test_a_question_of_the_routing_tells_its_rule_and_its_answer(
    source: dict[str, Any], target: str, given: str | None, told: tuple[Any, ...]
) -> None:
    found = line(explained(source, sid=given, user_id=None, aleid="A"), target)
    assert (found.paths, found.path, found.raw) == (("sid",), "sid", given)
    assert (found.rule, found.verdict, found.result, found.note) == told


def test_without_consent_what_tells_who_the_person_is_is_withheld() -> None:
    explanation = explained({"consent_field": "sid", "without_consent": "strip"}, aleid="A", email="a@b.example")
    assert (
        line(explanation, "consent_field").note == "absent means no; sent without the fields that identify the person"
    )
    assert line(explanation, "user_data.email").note == "without consent"
    assert isinstance(explanation.outcome, bytes)


def test_where_no_identifier_is_left_the_event_says_why() -> None:
    nobody = {"user_id": None, "email": "a@b.example"}
    stripped = explained({"consent_field": "sid", "without_consent": "strip"}, **nobody)
    found = line(stripped, "identifiers")
    assert (found.verdict, found.note) == (Verdict.SKIPS, "none is left without consent")
    assert stripped.outcome == Skipped("no_consent")
    absent = explained(user_id=None)
    found = line(absent, "identifiers")
    assert (found.verdict, found.note) == (
        Verdict.FAILS, "none of aleid, axwrt, alart, client_id, user_id, email, phone is there",
    )  # fmt: skip
    assert absent.outcome == Rejection(Code.NO_IDENTIFIER, found.note, "main")


ABSENT, DROPPED, SENT = Verdict.ABSENT, Verdict.DROPPED, Verdict.SENT
DERIVED = "from topic, partition and offset"


@pytest.mark.parametrize(
    ("dedupe_id", "event_id", "told"),
    [
        (" d ", "e", [("dedupe_id", SENT, "d", "")]),
        (None, "e", [("dedupe_id", ABSENT, None, ""), ("dedupe_id", SENT, "e", "the event_id")]),
        (True, "e", [("dedupe_id", DROPPED, None, UNFIT.sentence), ("dedupe_id", SENT, "e", "the event_id")]),
        (None, True, [("dedupe_id", ABSENT, None, ""), ("event_id", DROPPED, None, UNFIT.sentence)]),
        (" ", None, [("dedupe_id", ABSENT, None, ""), ("event_id", ABSENT, None, "")]),
    ],
)
def test_the_id_tells_what_it_is_made_of(dedupe_id: object, event_id: object, told: list[tuple[Any, ...]]) -> None:
    any_id = {name: ["null", "string", "boolean"] for name in ("dedupe_id", "event_id")}
    raw = record(**{f["name"]: any_id.get(f["name"], f["type"]) for f in LEAD["fields"]})
    row = lead(dedupe_id=dedupe_id, event_id=event_id)
    lines = [one for one in explain(rules(), raw, row, (TOPIC, 3, 7), NOW).lines if one.target.endswith("_id")]
    ids = [(one.target, one.verdict, one.result, one.note) for one in lines if not one.target.startswith("user_data.")]
    derived = sha256(b"leads-3-7").hexdigest()
    assert ids == told + ([] if told[-1][1] is SENT else [("dedupe_id", SENT, derived, DERIVED)])
    outcome(rules(), raw, row)


@pytest.mark.parametrize(
    ("sid", "result", "note"),
    [
        ("one", "o-1", "by its map"),
        ("two", "o-2", "the event_id"),
        ("three", sha256(b"leads-3-7").hexdigest(), DERIVED),
    ],
)
def test_an_id_is_by_its_map_or_by_the_next_id(sid: str, result: str, note: str) -> None:
    fields = {
        "dedupe_id": {"path": "sid", "map": {"one": "o-1"}},
        "event_id": {"path": "sid", "map": {"two": " o-2 "}},
    }
    *_, last = explained({"fields": fields}, sid=sid).lines
    assert (last.target, last.verdict, last.result, last.note) == ("dedupe_id", SENT, result, note)
    assert lead_sent({"fields": fields}, sid=sid)["dedupe_id"] == result


def test_a_value_of_a_type_that_is_no_text_is_dropped() -> None:
    raw = record(
        **{f["name"]: ["null", "boolean", "string"] if f["name"] == "sid" else f["type"] for f in LEAD["fields"]}
    )
    found = line(explain(rules(), raw, lead(sid=True), (TOPIC, 3, 7), NOW), "user_data.sid")
    assert (found.verdict, found.note, found.raw, found.result) == (DROPPED, UNFIT.sentence, True, None)


def test_an_explanation_shows_nothing_of_the_person_in_its_repr() -> None:
    explanation = explained(email="canary@b.example")
    assert "canary" not in repr(explanation) + repr(explanation.lines)


@pytest.mark.parametrize(
    ("source", "country", "verdict", "completed"),
    [
        ({"phone_region": "DE"}, None, Verdict.PASSED, "49301234567"),
        ({"phone_region": {"path": "country_code"}}, "de", Verdict.PASSED, "49301234567"),
        ({"phone_region": {"path": "country_code"}}, None, Verdict.ABSENT, "0301234567"),
        ({"phone_region": {"path": "country_code"}}, "Germany", Verdict.DROPPED, "0301234567"),
    ],
)
def test_a_phone_is_told_as_it_came_and_as_it_is_completed(
    source: dict[str, Any], country: str | None, verdict: Verdict, completed: str
) -> None:
    explanation = explained(source, phone="030/1234567", country_code=country)
    region, phone = line(explanation, "phone_region"), line(explanation, "user_data.phone")
    assert region.verdict is verdict
    assert region.result == ("DE" if verdict is Verdict.PASSED else None)
    assert (phone.raw, phone.completed) == ("030/1234567", completed)
    assert phone.result == sha256(completed.encode()).hexdigest()
    assert phone.rule == "completed for the country, digits only, SHA-256 unless it is one"


@pytest.mark.parametrize("phone", ["1", "n/a", None, "ab" * 32])
def test_a_phone_that_is_not_completed_is_told_in_one_form(phone: str | None) -> None:
    assert line(explained({"phone_region": "US"}, phone=phone), "user_data.phone").completed is None


def test_the_phone_of_the_second_path_is_the_one_that_is_told() -> None:
    source = {"phone_region": "US", "fields": {"user_data.phone": ["sid", "phone"]}}
    assert line(explained(source, phone="6502530000"), "user_data.phone").completed == "16502530000"


def test_a_source_without_a_region_tells_of_none() -> None:
    assert [one for one in explained(phone="6502530000").lines if one.target == "phone_region"] == []
