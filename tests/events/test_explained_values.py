"""The record's values in ``explain``: for every path of a list, and for values as people write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from stream_capi.events.explain import explain
from stream_capi.events.lines import Line, PathState, Verdict
from stream_capi.events.value_masking import held_shown, masked_event, raw_shown
from tests.events.sources_and_records import LEAD, NOW, TOPIC, lead, nullable, record, rules

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
VARIABLE = {
    "type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
}  # fmt: skip
UUID_BYTES = {"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}


def line_of(source: dict[str, Any], target: str, schema: Any, row: dict[str, Any]) -> Line:
    lines = explain(rules(**source), schema, row, (TOPIC, 3, 7), NOW).lines
    return next(line for line in lines if line.target == target)


def of_lead(paths: list[str], target: str = "user_data.user_id", /, **fields: Any) -> list[tuple[str, Any, str]]:
    line = line_of({"fields": {target: paths}}, target, LEAD, lead(**fields))
    return [(one.path, one.raw, one.state.value) for one in line.held]


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({"sid": "s-1"}, [("sid", "s-1", "taken"), ("gone", None, "not in this schema"), ("user_id", "user-1", "not needed")]),
        ({}, [("sid", None, "null"), ("gone", None, "not in this schema"), ("user_id", "user-1", "taken")]),
        ({"sid": " "}, [("sid", " ", "empty"), ("gone", None, "not in this schema"), ("user_id", "user-1", "taken")]),
        (
            {"user_id": None},
            [("sid", None, "null"), ("gone", None, "not in this schema"), ("user_id", None, "null")],
        ),
    ],
)  # fmt: skip
def test_every_path_of_a_list_tells_what_it_held(fields: dict[str, Any], held: list[Any]) -> None:
    assert of_lead(["sid", "gone", "user_id"], **fields) == held


def test_a_value_of_another_type_is_taken_as_the_mapping_takes_it() -> None:
    schema = record(a=nullable("bytes"), b="string")
    line = line_of({"fields": {"user_data.user_id": ["a", "b"]}}, "user_data.user_id", schema, {"a": b"\x01", "b": "u"})
    assert [(one.path, one.state) for one in line.held] == [("a", PathState.TAKEN), ("b", PathState.UNNEEDED)]
    assert line.verdict is Verdict.DROPPED


def test_what_stands_in_the_url_instead_makes_the_value_unusable() -> None:
    line = line_of({}, "user_data.aleid", LEAD, lead(aleid="null", event_source_url="https://a.example/?aleid=A"))
    assert (line.result, [one.state for one in line.held]) == ("A", [PathState.UNUSABLE])


def test_a_default_stands_for_paths_that_are_null() -> None:
    source = {"fields": {"user_data.esi": {"path": ["sid", "ifa"], "map": {"W": "web"}, "default": "app"}}}
    line = line_of(source, "user_data.esi", LEAD, lead(sid=None, ifa=None))
    assert [one.state for one in line.held] == [PathState.NULL, PathState.NULL]
    assert (line.path, line.raw, line.note) == (None, "app", "the default")


def test_what_the_profile_withholds_is_not_looked_at() -> None:
    line = line_of({"pixel": "strict"}, "user_data.email", LEAD, lead(email="jane@example.com", client_id="c"))
    assert [(one.path, one.raw, one.state) for one in line.held] == [("email", None, PathState.UNREAD)]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (DECIMAL, (1250).to_bytes(2, "big"), Decimal("12.50")),
        (nullable(DECIMAL), (-5).to_bytes(1, "big", signed=True), Decimal("-0.05")),
        (VARIABLE, {"scale": 1, "value": b"\x7d"}, Decimal("12.5")),
        (UUID_BYTES, UUID(int=1).bytes, str(UUID(int=1))),
        ("boolean", True, True),
        ("bytes", b"\x01", b"\x01"),
        ("string", "12.50", "12.50"),
    ],
)
def test_values_are_shown_as_people_write_them(kind: Any, value: Any, shown: Any) -> None:
    schema = record(worth=kind)
    line = line_of({"fields": {"data.value": "worth"}}, "data.value", schema, {"worth": value})
    assert line.raw == shown
    assert line.held[0].raw == shown
    of_where = {"where": {"field": "worth", "present": True}}
    assert line_of(of_where, "where", schema, {"worth": value}).raw == shown


def test_a_decimal_that_is_sent_is_shown_whole_and_another_one_masked() -> None:
    schema = record(worth=DECIMAL)
    row = {"worth": (1250).to_bytes(2, "big")}
    sent = line_of({"fields": {"data.value": "worth"}}, "data.value", schema, row)
    assert (raw_shown(sent), held_shown(sent, sent.held[0])) == (Decimal("12.50"), Decimal("12.50"))
    person = line_of({"fields": {"user_data.user_id": "worth"}}, "user_data.user_id", schema, row)
    assert (raw_shown(person), held_shown(person, person.held[0])) == ("…(number)", "…(number)")


def test_a_boolean_is_shown_for_it_says_too_little_to_tell_who_it_is() -> None:
    schema = record(ok=nullable("boolean"))
    for value in (True, False):
        line = line_of({"where": {"field": "ok", "equals": True}}, "where", schema, {"ok": value})
        assert raw_shown(line) is value
        assert held_shown(line, line.held[0]) is value


def test_what_is_not_taken_is_masked_though_the_target_is_harmless() -> None:
    source = {"fields": {"user_data.country_code": ["zip", "sid"]}}
    line = line_of(source, "user_data.country_code", LEAD, lead(zip="US", sid="jane@example.com"))
    assert [held_shown(line, one) for one in line.held] == ["US", "j…(16 chars)"]


def test_nothing_that_is_held_stands_in_a_repr() -> None:
    line = line_of(
        {"fields": {"user_data.email": ["sid", "email"]}}, "user_data.email", LEAD, lead(email="jane@x.example")
    )
    assert "jane" not in repr(line) + repr(line.held)


def test_an_event_is_masked_but_for_what_tells_nothing_of_the_person() -> None:
    event = {
        "name": "generate_lead", "event_time": NOW, "event_source_url": "https://shop.example/jane?q=1",
        "data": {"currency": "USD", "value": 12.5},
        "user_data": {
            "client_ip_address": "203.0.113.9", "esi": "web", "email": "ab" * 32, "country_code": "US", "os": "ios",
            "user_id": "jane-1",
        },
        "dedupe_id": "order-jane",
    }  # fmt: skip
    assert masked_event(event) == event | {
        "event_source_url": "https://shop.example/…(9 chars)",
        "user_data": {
            "client_ip_address": "2…(11 chars)", "esi": "web", "email": "…(SHA-256)", "country_code": "US", "os": "ios",
            "user_id": "j…(6 chars)",
        },
        "dedupe_id": "o…(10 chars)",
    }  # fmt: skip
    assert masked_event(event | {"data": None})["data"] is None
    assert masked_event({"new": "jane", "data": {"new": "jane"}}) == {"new": "j…(4 chars)", "data": "…(1 item)"}
