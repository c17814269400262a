"""The faults that ``check`` finds in a mapping before the first event."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.mapping_check import mapping_faults, mapping_notes
from tests.events.sources_and_records import LEAD, PAGE_VIEW, nullable, record, rules

TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}
CUSTOMER = {
    "type": "record",
    "name": "Customer",
    "fields": [
        {"name": "email", "type": nullable("string")},
        {"name": "age", "type": "boolean"},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "items", "type": {"type": "array", "items": "string"}},
    ],
}


def schema(**types: Any) -> dict[str, Any]:
    """A schema that needs no mapping for leads; the arguments add or replace fields."""
    needed: dict[str, Any] = {
        "event_time": TIMESTAMP,
        "event_source_url": "string",
        "currency": "string",
        "value": "double",
        "client_ip_address": "string",
        "client_user_agent": "string",
        "esi": "string",
        "user_id": nullable("string"),
    }
    return record(**{name: kind for name, kind in (needed | types).items() if kind is not None})


def faults(mapping: dict[str, Any], raw: Any = None, **source: Any) -> list[str]:
    return mapping_faults(rules(fields=mapping, **source), schema(customer=CUSTOMER) if raw is None else raw)


@pytest.mark.parametrize(("event", "raw"), [("generate_lead", LEAD), ("page_view", PAGE_VIEW)])
@pytest.mark.parametrize("pixel", ["main", "strict"])
def test_the_shipped_contract_has_none(event: str, raw: Any, pixel: str) -> None:
    assert mapping_faults(rules(event=event, pixel=pixel), raw) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("customer.emial", '"customer" has no "emial"; did you mean "customer.email"?'),
        ("custmer.email", 'the schema has no "custmer"; did you mean "customer"?'),
        ("email", 'the schema has no "email"; did you mean "customer.email"?'),
        ("customer.email.domain", '"customer.email" has no "domain" in it'),
        ("customer.items.first", '"customer.items" has no "first" in it'),
        ("customer.zzz", '"customer" has no "zzz"; it has email, age, tags, items'),
    ],
)
def test_an_unknown_path_names_the_nearest_one(path: str, hint: str) -> None:
    assert faults({"user_data.email": path}) == [f"user_data.email: {hint}"]


def test_each_path_of_a_list_is_looked_at() -> None:
    assert faults({"user_data.email": ["customer.email", "customer.mail"]}) == [
        'user_data.email: "customer" has no "mail"; did you mean "customer.email"?'
    ]


@pytest.mark.parametrize("path", ["customer.email", "customer.tags.anything", "customer.items[3]", "customer.items.0"])
def test_paths_through_records_maps_and_arrays_are_known(path: str) -> None:
    assert faults({"user_data.email": path}) == []


@pytest.mark.parametrize(
    ("target", "kind", "fault"),
    [
        ("user_data.email", "boolean", "is boolean, which can't be text"),
        ("user_data.email", "bytes", "is bytes, which can't be text"),
        ("user_data.email", TIMESTAMP, "is timestamp-millis, which can't be text"),
        ("user_data.email", nullable(CUSTOMER), "is record, which can't be text"),
        ("user_data.email", "null", "is always null, and so never there"),
        ("event_time", "boolean", "is boolean, which can't be a time"),
        ("event_time", {"type": "int", "logicalType": "time-millis"}, "is time-millis, which can't be a time"),
        ("data.value", TIMESTAMP, "is timestamp-millis, which can't be a number"),
        ("data.value", {"type": "enum", "name": "Q", "symbols": ["a"]}, "is enum, which can't be a number"),
        (
            "user_data.esi",
            {"type": "enum", "name": "E", "symbols": ["BROWSER", "NATIVE"]},
            "is enum, none of which fits (BROWSER, NATIVE): it must be web or app",
        ),
    ],
)
def test_a_type_that_can_never_fit_is_refused(target: str, kind: Any, fault: str) -> None:
    assert faults({target: "given"}, schema(given=kind)) == [f'{target}: "given" {fault}']


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("user_data.user_id", "long"),
        ("user_data.user_id", {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}),
        ("user_data.email", ["null", "boolean", "string"]),
        ("data.value", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
        ("data.value", "string"),
        ("event_time", {"type": "int", "logicalType": "date"}),
        ("event_time", {"type": "long", "logicalType": "local-timestamp-micros"}),
        ("event_time", "string"),
        ("user_data.esi", {"type": "enum", "name": "E", "symbols": ["WEB", "App"]}),
    ],
)
def test_a_type_that_may_fit_is_not(target: str, kind: Any) -> None:
    assert faults({target: "given"}, schema(given=kind)) == []


CHANNEL = {"type": "enum", "name": "Channel", "symbols": ["WEB", "IOS_APP", "KIOSK"]}
NEVER = 'user_data.esi: "given" may be IOS_APP, KIOSK, which can never be sent: it must be web or app; give it a map'


def test_symbols_that_can_never_be_valid_are_named() -> None:
    assert faults({"user_data.esi": "given"}, schema(given=CHANNEL)) == [NEVER]
    assert faults({"user_data.esi": "given"}, schema(given=["null", CHANNEL, "int"])) == [NEVER]
    assert faults({"user_data.esi": ["age", "given"]}, schema(given=CHANNEL, age=nullable("string"))) == [NEVER]
    assert faults({}, schema(esi=CHANNEL)) == [NEVER.replace("given", "esi")]
    money = {"type": "enum", "name": "Money", "symbols": ["EUR", "POINTS"]}
    assert faults({"data.currency": "given"}, schema(given=money)) == [
        'data.currency: "given" may be POINTS, which can never be sent: it must be an ISO 4217 code of three letters; '
        "give it a map"
    ]
    many = {"type": "enum", "name": "Many", "symbols": ["WEB", *(f"S{at:02}" for at in range(20))]}
    (fault,) = faults({"user_data.esi": "given"}, schema(given=many))
    assert "may be S00, S01, " in fault
    assert ", S11 and 8 more, which" in fault


def test_symbols_that_a_condition_keeps_away_are_not() -> None:
    where = {"field": "given", "in": ["WEB"]}
    assert faults({"user_data.esi": "given"}, schema(given=CHANNEL), where=where) == []
    other = {"field": "user_id", "present": True}
    assert faults({"user_data.esi": "given"}, schema(given=CHANNEL), where=other) == [NEVER]


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"map": {"WEB": "web", "IOS_APP": "app", "KIOSK": "web"}}, None),
        ({"map": {"WEB": "web"}, "default": "app"}, None),
        (
            {"map": {"WEB": "web"}},
            '"given" may be IOS_APP, KIOSK, which can never be sent: it is not in its map; give it an entry or a default',
        ),
        (
            {"map": {"WEB": "web", "ANDROID": "app"}, "default": "web"},
            '"ANDROID" of its map is not a symbol of "given"',
        ),
    ],
)
def test_a_map_is_held_against_the_symbols(rule: dict[str, Any], fault: str | None) -> None:
    found = faults({"user_data.esi": {"path": "given", **rule}}, schema(given=CHANNEL))
    assert found == ([] if fault is None else [f"user_data.esi: {fault}"])


@pytest.mark.parametrize(
    ("target", "rule", "fault"),
    [
        ("data.currency", {"path": "given", "map": {"a": "EUR", "b": "EEE"}},
         'what its map has for "b" must be an ISO 4217 code of three letters'),
        ("data.currency", {"path": "given", "default": "EEE"}, "its default must be an ISO 4217 code of three letters"),
        ("data.currency", ["given", {"const": "EEE"}], "its default must be an ISO 4217 code of three letters"),
        ("user_data.country_code", {"path": "given", "map": {"a": "ZZ"}},
         'what its map has for "a" must be an ISO 3166-1 code of two letters'),
        ("data.value", {"path": "given", "map": {"HIGH": 120}}, None),
        ("event_time", {"path": "given", "map": {"WAVE": 1_741_784_485_000}}, None),
        ("event_id", {"path": "given", "map": {"ONE": "o-1", "TWO": "n/a"}},
         'what its map has for "TWO" must not be a placeholder, or the SHA-256 of one or of the empty text'),
        ("user_data.esi", {"path": "event_time", "map": {"a": "web"}},
         '"event_time" is timestamp-millis, which cannot be a key of a map'),
        ("user_data.esi", {"path": "truth", "map": {"true": "web"}, "default": "app"}, None),
    ],
)  # fmt: skip
def test_what_a_map_gives_is_held_against_the_field(target: str, rule: Any, fault: str | None) -> None:
    found = faults({target: rule}, schema(given="string", truth="boolean"))
    assert found == ([] if fault is None else [f"{target}: {fault}"])


def test_symbols_of_optional_fields_are_noted() -> None:
    system = {"type": "enum", "name": "System", "symbols": ["IOS", "ANDROID", "TV"]}
    raw = schema(os=system)
    assert faults({}, raw) == []
    assert mapping_notes(rules(), raw) == [
        'user_data.os: "os" may be TV, which can never be sent: it must be a known operating system; give it a map'
    ]
    assert (
        mapping_notes(rules(fields={"user_data.os": {"path": "os", "map": {"TV": "android"}, "default": "ios"}}), raw)
        == []
    )


def two_of(one: Any, other: Any) -> list[Any]:
    """A union of two records that have a field ``at`` of different types."""
    return [
        {"type": "record", "name": name, "fields": [{"name": "at", "type": kind}]}
        for name, kind in (("One", one), ("Other", other))
    ]


def test_what_only_one_of_two_branches_could_tell_is_refused() -> None:
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    assert faults({"event_time": "of.at"}, schema(of=two_of(TIMESTAMP, micros))) == [
        'event_time: "of.at" is timestamp-micros or timestamp-millis, and nothing in a record tells which'
    ]
    decimals = [{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale} for scale in (2, 3)]
    assert faults({"data.value": "of.at"}, schema(of=two_of(*decimals))) == [
        'data.value: "of.at" is decimal, and nothing in a record tells which'
    ]


def test_a_unit_beside_a_type_that_says_it_is_refused() -> None:
    assert faults({"event_time": {"path": "event_time", "unit": "s"}}) == [
        'event_time: "event_time" is timestamp-millis, which says its unit itself; leave the unit out'
    ]
    assert faults({"event_time": {"path": "at", "unit": "s"}}, schema(at="long")) == []


@pytest.mark.parametrize(
    "field", ["event_time", "event_source_url", "currency", "value", "client_ip_address", "client_user_agent", "esi"]
)
def test_a_required_field_that_nothing_fills_is_told(field: str) -> None:
    (fault,) = faults({}, schema(**{field: None}))
    assert fault.startswith("TODO ")
    assert f'{field}: required for generate_lead, and the schema has no "{field}"' in fault
    assert fault.endswith("map it in [sources.fields]")


def test_that_no_identifier_is_mapped_is_noted_and_no_fault() -> None:
    named = dict.fromkeys(IDENTIFIER_FIELDS)
    assert faults({}, schema(**named)) == []
    (note,) = mapping_notes(rules(), schema(**named))
    assert note.startswith("TODO user_data: none of aleid, axwrt, alart, client_id, user_id, email, phone is mapped")
    for field in IDENTIFIER_FIELDS:
        assert mapping_notes(rules(), schema(**named | {field: "string"})) == []
    assert mapping_notes(rules(fields={"user_data.email": "mail"}), schema(**named, mail="string")) == []


def test_a_unit_beside_a_connector_s_type_may_say_the_same_and_nothing_else() -> None:
    raw = schema(at={"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"})
    assert faults({"event_time": {"path": "at", "unit": "us"}}, raw) == []
    assert faults({"event_time": {"path": "at", "unit": "ms"}}, raw) == [
        'event_time: "at" is timestamp-micros, which says its unit itself; leave the unit out'
    ]


@pytest.mark.parametrize("target", ["data.value", "user_data.user_id"])
def test_a_variable_scale_decimal_fits_where_a_number_does(target: str) -> None:
    raw = schema(amount=VARIABLE)
    assert faults({target: "amount"}, raw) == []
    assert faults({"event_time": "amount"}, raw) == [
        'event_time: "amount" is VariableScaleDecimal, which can\'t be a time'
    ]


def test_two_ways_to_write_a_decimal_are_one_too_many() -> None:
    fixed = {"type": "fixed", "name": "D", "size": 8, "logicalType": "decimal", "precision": 9, "scale": 2}
    raw = schema(amount=[fixed, {"type": "bytes", "logicalType": "big-decimal"}])
    assert faults({"data.value": "amount"}, raw) == [
        'data.value: "amount" is big-decimal or decimal, and nothing in a record tells which'
    ]


VARIABLE = {
    "type": "record",
    "name": "VariableScaleDecimal",
    "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
    "connect.version": 1,
    "connect.name": "io.debezium.data.VariableScaleDecimal",
}


def test_a_required_field_that_a_record_of_the_same_name_seems_to_fill_is_told() -> None:
    (fault,) = faults({}, schema(esi=CUSTOMER))
    assert fault == 'user_data.esi: "esi" is record, which can\'t be text; map another one in [sources.fields]'


def test_an_optional_field_may_be_missing_or_of_another_type() -> None:
    assert faults({}, schema(user_id=None, os=CUSTOMER)) == []


def test_a_page_view_needs_no_currency_and_no_value() -> None:
    assert faults({}, schema(currency=None, value=None), event="page_view") == []


def test_the_path_of_a_country_must_be_there_and_may_hold_one() -> None:
    raw = schema(country=nullable("string"), yes="boolean", kind={"type": "enum", "name": "E", "symbols": ["LEAD"]})
    assert faults({}, raw, phone_region="US") == []
    assert faults({}, raw, phone_region={"path": "country"}) == []
    assert faults({}, raw, phone_region={"path": "county"}) == [
        'phone_region: the schema has no "county"; did you mean "country"?'
    ]
    assert faults({}, raw, phone_region={"path": "yes"}) == ['phone_region: "yes" is boolean, which can\'t be text']
    (fault,) = faults({}, raw, phone_region={"path": "kind"})
    assert fault.endswith("none of which fits (LEAD): it must be an ISO 3166-1 code of two letters")


def test_a_constant_that_is_a_placeholder_is_no_identifier() -> None:
    (fault,) = faults({"user_data.user_id": {"const": "none"}}, schema())
    assert fault.startswith("user_data.user_id: its constant must not be a placeholder")


def test_a_default_currency_and_a_table_of_values_stand_for_the_fields() -> None:
    table = {"field": "quality", "table": {"high": 40.0}, "default": 0.0}
    raw = schema(currency=None, value=None, quality="string")
    assert faults({}, raw, default_currency="EUR", values=table) == []
    assert faults({}, raw, default_currency="ZZZ", values=table) == [
        "default_currency: must be an ISO 4217 code of three letters"
    ]
    assert faults({}, raw, default_currency="EUR", values=table | {"field": "qualty"}) == [
        'values.field: the schema has no "qualty"; did you mean "quality"?'
    ]


@pytest.mark.parametrize(
    ("target", "const", "why"),
    [
        ("data.currency", "ZZZ", "must be an ISO 4217 code of three letters"),
        ("user_data.client_ip_address", "localhost", "must be an IPv4 or IPv6 address, or a list of them"),
        ("event_source_url", "shop.example", "must be an absolute http or https URL with a host"),
        ("user_data.country_code", "XX", "must be an ISO 3166-1 code of two letters"),
    ],
)
def test_a_constant_that_no_event_could_have_is_refused(target: str, const: str, why: str) -> None:
    assert faults({target: {"const": const}}) == [f"{target}: its constant {why}"]


@pytest.mark.parametrize(
    ("target", "const"),
    [
        ("data.currency", "eur"),
        ("data.value", 12),
        ("user_data.client_ip_address", "203.0.113.7"),
        ("user_data.client_user_agent", "a gateway"),
        ("user_data.zip", "none of our business"),
        ("user_data.sid", "s"),
    ],
)
def test_a_constant_that_an_event_may_have_is_not(target: str, const: str | int) -> None:
    assert faults({target: {"const": const}}) == []


def test_the_restricted_profile_needs_one_of_its_identifiers() -> None:
    needs = "pixel strict: the restricted profile needs one of alart, client_id, user_id, and none is mapped or in the schema"
    assert faults({"user_data.email": "customer.email"}, schema(user_id=None, customer=CUSTOMER), pixel="strict") == [
        needs
    ]
    assert (
        faults({"user_data.client_id": "customer.email"}, schema(user_id=None, customer=CUSTOMER), pixel="strict") == []
    )
    assert faults({}, schema(user_id="long"), pixel="strict") == []


def test_a_user_id_that_is_never_a_number_is_none_in_the_restricted_profile() -> None:
    uuid = schema(user_id={"type": "string", "logicalType": "uuid"})
    assert len(faults({}, uuid, pixel="strict")) == 1
    assert faults({}, uuid) == []


def test_paths_of_the_routing_are_looked_at() -> None:
    where = [
        {"field": "knd", "equals": "lead"},
        {"field": "kind", "equals": 3},
        {"field": "level", "in": ["low", "up"]},
    ]
    level = {"type": "enum", "name": "L", "symbols": ["low", "high"]}
    raw = schema(kind="string", level=level, customer=CUSTOMER)
    routed = {"event_field": "kin", "events": {"a": "generate_lead"}, "pixel_field": "customer"}
    assert faults({}, raw, where=where, consent_field="customer.age.x", **routed) == [
        'where: the schema has no "knd"; did you mean "kind"?',
        'where: "kind" is string, which is never equal to 3',
        'where: "level" is enum, which is never equal to "up"',
        'event_field: the schema has no "kin"; did you mean "kind"?',
        'pixel_field: "customer" is record, which cannot be a key of a table',
        'consent_field: "customer.age" has no "x" in it',
    ]


@pytest.mark.parametrize(
    ("kind", "fitting", "never"),
    [
        ("boolean", [True, False], ["true", 1]),
        ("string", ["lead", ""], [True, 3, 3.5]),
        ({"type": "enum", "name": "L", "symbols": ["low", "high"]}, ["low"], ["up", True, 0]),
        ("long", [3], ["3", True]),
        ("double", [3, 3.5], ["3", False]),
        (["null", "int", "string"], [3, "3"], [True]),
    ],
)
def test_what_a_condition_asks_for_must_be_a_value_of_its_type(kind: Any, fitting: list[Any], never: list[Any]) -> None:
    raw = schema(kind=kind)
    assert faults({}, raw, where={"field": "kind", "in": fitting}) == []
    for value in never:
        (fault,) = faults({}, raw, where={"field": "kind", "equals": value})
        shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
        assert fault.endswith(f"which is never equal to {shown}")


def test_a_table_key_that_an_enum_never_is_gets_told() -> None:
    raw = schema(kind={"type": "enum", "name": "K", "symbols": ["lead", "view"]})
    events = {"lead": "generate_lead", "veiw": "page_view", "*": "skip"}
    assert faults({}, raw, event_field="kind", events=events) == [
        'event_field: "kind" is enum, which has no symbol "veiw"'
    ]


def test_a_consent_must_be_of_a_type_that_can_be_one() -> None:
    assert faults({}, schema(ok="long"), consent_field="ok") == [
        'consent_field: "ok" is long, which is never a consent'
    ]
    purposes = {"type": "array", "items": "string"}
    assert faults({}, schema(ok=purposes), consent_field="ok") == [
        'consent_field: "ok" is array, which is never a consent without consent_purposes'
    ]
    assert faults({}, schema(ok=purposes), consent_field="ok", consent_purposes=["ads"]) == []
    assert faults({}, schema(ok="boolean"), consent_field="ok") == []
    assert faults({}, schema(ok="boolean"), consent_field="ok", consent_purposes=["ads"]) == [
        'consent_field: "ok" is boolean, which is never a consent with consent_purposes'
    ]


def test_a_fault_of_several_lanes_is_told_once() -> None:
    raw = schema(kind="string", to="string", esi=None)
    events = {"a": "generate_lead", "b": "page_view"}
    told = faults({"user_data.email": "mail"}, raw, event_field="kind", events=events, pixel_field="to")
    assert len(told) == len(set(told))
    assert sum("user_data.email" in fault for fault in told) == 1


@pytest.mark.parametrize("target", ["user_data.email", "user_data.phone"])
def test_what_tells_who_is_forgotten_is_looked_at_though_no_lane_sends_it(target: str) -> None:
    """If a path reads as null, nobody on the suppression list is recognized."""
    mapping = {target: "customer.emial"}
    assert faults(mapping, pixel="strict") == []
    (fault,) = faults(mapping, pixel="strict", suppress=True)
    assert fault == f'{target}: "customer" has no "emial"; did you mean "customer.email"?'
    (fault,) = faults({target: "customer.items"}, pixel="strict", suppress=True)
    assert "which can't be text" in fault
    assert faults({target: "customer.email"}, pixel="strict", suppress=True) == []
    assert len(faults(mapping, suppress=True)) == 1, "told once where a lane sends it"


@pytest.mark.parametrize("target", ["event_time", "data.value"])
def test_an_enum_beside_texts_is_no_time_and_no_number(target: str) -> None:
    either = ["null", "string", {"type": "enum", "name": "Else", "symbols": ["NEVER"]}]
    (fault,) = faults({target: "either"}, schema(either=either))
    assert fault.startswith(f'{target}: "either" may be NEVER, which can never be sent')
