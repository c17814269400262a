"""A path that the writer's schema lacks reads as null."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.model import Code, Rejection
from tests.events.sources_and_records import LEAD, PAGE_VIEW, lead, outcome, page_view, record, rules, sent

REQUIRED = {
    "event_time": "event_time",
    "event_source_url": "event_source_url",
    "currency": "data.currency",
    "value": "data.value",
    "client_ip_address": "user_data.client_ip_address",
    "client_user_agent": "user_data.client_user_agent",
    "esi": "user_data.esi",
}


def without(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    return record(**{field["name"]: field["type"] for field in raw["fields"] if field["name"] not in names})


@pytest.mark.parametrize("field", sorted(REQUIRED))
def test_a_required_field_is_absent_then(field: str) -> None:
    missing = Rejection(Code.MISSING_FIELD, f'{REQUIRED[field]}: is absent (from "{field}")', "main")
    assert outcome(rules(), without(LEAD, field), lead()) == missing


@pytest.mark.parametrize("field", sorted(set(REQUIRED) - {"currency", "value"}))
def test_a_page_view_is_no_other(field: str) -> None:
    missing = Rejection(Code.MISSING_FIELD, f'{REQUIRED[field]}: is absent (from "{field}")', "main")
    assert outcome(rules(event="page_view"), without(PAGE_VIEW, field), page_view()) == missing


@pytest.mark.parametrize("field", ["email", "zip", "os", "sid", "aleid"])
def test_an_optional_field_is_left_out(field: str) -> None:
    event = sent(outcome(rules(), without(LEAD, field), lead()))
    assert field not in event["user_data"]


def test_every_other_path_of_a_list_is_still_looked_at() -> None:
    mapping = {
        "event_time": ["sent_at", "event_time"],
        "data.value": ["worth", "value"],
        "user_data.esi": ["in", "esi"],
    }
    event = sent(outcome(rules(fields=mapping), LEAD, lead()))
    assert event == sent(outcome(rules(), LEAD, lead()))


def test_an_id_is_made_of_the_place_in_the_topic() -> None:
    event = sent(outcome(rules(), without(LEAD, "dedupe_id", "event_id"), lead(dedupe_id="d", event_id="e")))
    assert len(event["dedupe_id"]) == 64


def test_a_condition_is_not_met() -> None:
    made = outcome(rules(where={"field": "nowhere", "equals": "x"}), LEAD, lead())
    assert not isinstance(made, bytes)
    sent(outcome(rules(where={"field": "nowhere", "present": False}), LEAD, lead()))
