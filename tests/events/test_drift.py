"""Drift: a new writer schema that lacks a mapped path is reported once with the lost paths; an older schema isn't."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.drift import Drift, MappedPath, mapped_paths
from stream_capi.events.paths import Schema
from tests.events.sources_and_records import LEAD, nullable, record, rules

EMAIL, PHONE = MappedPath("email", "contact.email"), MappedPath("phone", "phone")
BOTH = frozenset({EMAIL, PHONE})


def test_the_first_schema_lacks_nothing_that_one_before_had() -> None:
    drift = Drift("leads")
    assert drift.seen("Lead", "id", 1, frozenset()) == []
    assert drift.lacking == []


def test_what_a_new_schema_lost_is_told_once_and_stands_until_one_has_it_again() -> None:
    drift = Drift("leads")
    assert drift.seen("Lead", "id", 1, BOTH) == []
    assert drift.seen("Lead", "id", 2, {PHONE}) == [EMAIL]
    assert drift.lacking == [EMAIL]
    assert drift.seen("Lead", "id", 3, {PHONE}) == []
    assert drift.lacking == [EMAIL]
    assert drift.seen("Lead", "id", 4, frozenset()) == [PHONE]
    assert drift.lacking == [EMAIL, PHONE]
    assert drift.seen("Lead", "id", 5, {EMAIL}) == []
    assert drift.lacking == [PHONE]
    assert drift.seen("Lead", "id", 6, {PHONE}) == [EMAIL]


def test_an_older_schema_behind_a_newer_one_is_no_drift() -> None:
    drift = Drift("leads")
    drift.seen("Lead", "id", 7, BOTH)
    assert drift.seen("Lead", "id", 3, {PHONE}) == []
    assert drift.lacking == []
    assert drift.seen("Lead", "id", 8, {EMAIL}) == [PHONE]


def test_ids_of_two_kinds_have_no_order_between_them() -> None:
    """While producers move from Apicurio's global ids to its content ids, a topic has both, and a content is the smaller."""
    drift = Drift("leads")
    drift.seen("Lead", "global id", 9, BOTH)
    assert drift.seen("Lead", "content id", 4, {PHONE}) == [EMAIL]
    assert drift.seen("Lead", "global id", 8, BOTH) == []
    assert drift.lacking == [EMAIL], "an older schema by an id of the same kind"
    assert drift.seen("Lead", "content id", 3, frozenset()) == [], "older than the newest content"
    assert drift.seen("Lead", "global id", 10, BOTH) == []
    assert drift.lacking == []


@pytest.mark.parametrize("texts", [("", ""), ("c3f1", "0a77")])
def test_schemas_without_rising_ids_are_taken_as_they_come(texts: tuple[str, str]) -> None:
    """Schemas from files, and those named by a GUID or a fingerprint."""
    drift = Drift("leads")
    drift.seen("Lead", "guid", texts[0], BOTH)
    assert drift.seen("Lead", "guid", texts[1], {PHONE}) == [EMAIL]


def test_the_records_of_a_topic_are_compared_with_their_own_kind() -> None:
    drift = Drift("leads")
    drift.seen("Lead", "id", 1, BOTH)
    assert drift.seen("Quote", "id", 2, frozenset()) == []
    assert drift.seen("Lead", "id", 3, {EMAIL}) == [PHONE]
    drift.seen("Quote", "id", 4, BOTH)
    assert drift.lacking == [PHONE]


def found(raw: Any, **source: Any) -> set[MappedPath]:
    return set(mapped_paths(rules(**source), Schema(raw)))


def test_the_mapped_paths_are_those_of_the_fields_and_of_the_routing() -> None:
    raw = record(mail="string", kind="string", ok="boolean", contact=record(phone="string"), client_id="string")
    fields = {"user_data.email": ["no.mail", "mail"], "user_data.phone": "contact.phone", "event_time": "at"}
    assert found(raw, fields=fields) == {
        MappedPath("email", "mail"),
        MappedPath("phone", "contact.phone"),
        MappedPath("client_id", "client_id"),
    }
    routed = found(
        raw,
        where=[{"field": "ok", "equals": True}, {"field": "gone", "present": True}],
        event_field="kind",
        events={"a": "generate_lead"},
        pixel_field="kind",
        consent_field="ok",
        values={"field": "kind", "table": {"a": 1}},
    )
    assert {path.field for path in routed} == {
        "where", "event_field", "pixel_field", "consent_field", "values", "client_id",
    }  # fmt: skip


@pytest.mark.parametrize(("pixel", "has"), [("main", True), ("strict", False)])
def test_a_field_that_no_lane_has_is_not_missed(pixel: str, has: bool) -> None:
    assert (MappedPath("email", "email") in found(LEAD, pixel=pixel)) is has
    assert not {path.field for path in found(LEAD, event="page_view")} & {"currency", "value"}


def test_what_tells_who_is_forgotten_is_missed_though_no_lane_sends_it() -> None:
    assert {"email", "phone", "user_id"} <= {path.field for path in found(LEAD, pixel="strict", suppress=True)}


def test_the_country_of_phones_is_missed() -> None:
    region = {"path": "country_code"}
    assert MappedPath("phone_region", "country_code") in found(LEAD, phone_region=region)
    raw = LEAD | {"fields": [field for field in LEAD["fields"] if field["name"] != "country_code"]}
    assert "phone_region" not in {path.field for path in found(raw, phone_region=region)}
    assert "phone_region" not in {path.field for path in found(LEAD, phone_region="US")}


def test_the_name_of_the_record_is_never_missed() -> None:
    where = [{"field": "$record", "equals": "Event"}]
    assert MappedPath("where", "$record") in found(record(a="string"), where=where)


def test_a_nullable_or_optional_path_is_there() -> None:
    assert MappedPath("email", "email") in found(record(email=nullable("string")))
