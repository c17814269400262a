"""Guessing a field by more than a known name: the schemas of known systems, types, symbols, docs, maps."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.guess import Guess, guesses
from stream_capi.events.offers import Consent, consents, event_fields, is_change
from stream_capi.model import EventName
from tests.events.sources_and_records import nullable, record

TEXT = nullable("string")
TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
UUID = {"type": "string", "logicalType": "uuid"}


def inner(name: str, /, **types: Any) -> dict[str, Any]:
    return record(**types) | {"name": name}


def items(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def enum(*symbols: str) -> dict[str, Any]:
    return {"type": "enum", "name": f"E{abs(hash(symbols))}", "symbols": list(symbols)}


def documented(**docs: str) -> dict[str, Any]:
    fields = [{"name": name, "type": "string", "doc": doc} for name, doc in docs.items()]
    return {"type": "record", "name": "R", "fields": fields}


def guessed(raw: Any) -> dict[str, Guess]:
    return {guess.target: guess for guess in guesses(raw, EventName.GENERATE_LEAD) if guess.paths}


def best(raw: Any) -> dict[str, str]:
    return {target: guess.paths[0] for target, guess in guessed(raw).items()}


SALESFORCE = record(
    ChangeEventHeader=inner("Header", entityName="string", recordIds=items("string"), commitTimestamp="long"),
    Email=TEXT,
    MobilePhone=TEXT,
    CountryCode=TEXT,
    PostalCode=TEXT,
    LeadSource=TEXT,
    AnnualRevenue=nullable("double"),
    CurrencyIsoCode=TEXT,
    OwnerId=TEXT,
    CreatedDate=nullable("long"),
    LastModifiedDate=nullable("long"),
    Lead_Value__c=nullable("double"),
    Landing_Page_URL__c=TEXT,
)
RUDDERSTACK = record(
    anonymous_id=TEXT,
    context_ip=TEXT,
    context_user_agent=TEXT,
    context_page_url=TEXT,
    context_page_referrer=TEXT,
    context_traits_email=TEXT,
    context_device_advertising_id=TEXT,
    original_timestamp=TIMESTAMP,
    received_at=TIMESTAMP,
)
GA4 = record(
    event_date="string",
    event_timestamp="long",
    event_params=items(inner("P", key="string", value=inner("V", string_value=TEXT, double_value=nullable("double")))),
    user_pseudo_id=TEXT,
    device=inner("D", operating_system=TEXT, advertising_id=TEXT, web_info=inner("W", browser=TEXT)),
)
HUBSPOT = record(
    conversionId="string",
    submittedAt="long",
    pageUrl="string",
    ipAddress=TEXT,
    hutk=TEXT,
    contact=inner("C", vid="long", email=TEXT, mobilephone=TEXT, lastmodifieddate=nullable("long")),
)


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        (
            SALESFORCE,
            {
                "event_time": "CreatedDate", "event_source_url": "Landing_Page_URL__c", "data.currency": "CurrencyIsoCode",
                "data.value": "Lead_Value__c", "user_data.email": "Email", "user_data.phone": "MobilePhone",
                "user_data.country_code": "CountryCode", "user_data.zip": "PostalCode",
            },
        ),
        (
            RUDDERSTACK,
            {
                "event_time": "original_timestamp", "event_source_url": "context_page_url", "user_data.client_id": "anonymous_id",
                "user_data.email": "context_traits_email", "user_data.client_ip_address": "context_ip",
                "user_data.client_user_agent": "context_user_agent", "user_data.ifa": "context_device_advertising_id",
            },
        ),
        (
            GA4,
            {
                "event_time": "event_timestamp", "user_data.client_id": "user_pseudo_id", "user_data.os": "device.operating_system",
                "user_data.ifa": "device.advertising_id",
            },
        ),
        (
            HUBSPOT,
            {
                "event_id": "conversionId", "event_time": "submittedAt", "event_source_url": "pageUrl", "user_data.client_id": "hutk",
                "user_data.user_id": "contact.vid", "user_data.email": "contact.email", "user_data.phone": "contact.mobilephone",
                "user_data.client_ip_address": "ipAddress",
            },
        ),
    ],
    ids=["salesforce", "rudderstack", "ga4", "hubspot"],
)  # fmt: skip
def test_the_names_of_tracking_systems_are_known_and_nothing_else_is_taken(raw: Any, paths: dict[str, str]) -> None:
    assert best(raw) == paths


@pytest.mark.parametrize(
    "types",
    [
        {"is_email_verified": "string"}, {"email_domain": "string"}, {"email_consent": "string"}, {"postal_code_from_ip": "string"},
        {"server_ip": "string"}, {"referrer_url": "string"}, {"image_url": "string"}, {"annual_revenue": "double"},
        {"page_load_time": "long"}, {"session_duration": "long"}, {"birth_date": {"type": "int", "logicalType": "date"}},
        {"utm_source": "string"}, {"offer_id": "string"}, {"browser": "string"}, {"region": "string"}, {"referrer": "string"},
        {"expiry": TIMESTAMP}, {"tax": DECIMAL},
    ],
    ids=lambda types: "".join(types),
)  # fmt: skip
def test_a_name_that_has_a_known_word_in_it_and_means_something_else_is_not_taken(types: dict[str, Any]) -> None:
    assert best(record(**types)) == {}


@pytest.mark.parametrize("whose", ["created_by", "sales_rep", "owner", "company", "before", "referrer", "agent"])
def test_someone_else_s_is_taken_last_and_never_for_sure(whose: str) -> None:
    other = inner("O", email=TEXT)
    assert best(record(**{whose: other}, person=inner("P", mail=TEXT)))["user_data.email"] == "person.mail"
    alone = guessed(record(**{whose: other}))["user_data.email"]
    assert (alone.paths, alone.sure) == ((f"{whose}.email",), False)
    flat = guessed(record(**{f"{whose}_email": TEXT, "email": TEXT}))["user_data.email"]
    assert flat.paths[0] == "email"


def test_of_two_that_are_alike_none_is_sure() -> None:
    raw = record(first=inner("A", email=TEXT), second=inner("B", email=TEXT))
    assert guessed(raw)["user_data.email"] == Guess("user_data.email", ("first.email", "second.email"), sure=False)


def test_what_stands_around_a_known_name_decides_how_sure_it_is() -> None:
    assert guessed(record(userAgentString="string"))["user_data.client_user_agent"].sure
    assert guessed(record(billing_postal_code="string"))["user_data.zip"].sure
    assert not guessed(record(sfdc_contact_id="string"))["user_data.user_id"].sure
    assert not guessed(record(customer_no="long", member=inner("M", email="string")))["user_data.user_id"].sure


def test_a_part_of_the_lead_is_not_what_it_is_worth_for_sure() -> None:
    raw = record(items=items(inner("I", amount="double", currency="string")))
    assert [guess.sure for target, guess in guessed(raw).items() if target.startswith("data.")] == [False, False]
    assert "data.value" not in guessed(record(list=items(inner("I", key="string", value="double"))))


def test_an_id_inside_a_thing_is_that_thing_s() -> None:
    assert best(record(user=inner("U", id="string"))) == {"user_data.user_id": "user.id"}
    assert best(record(course=inner("U", id="string"))) == {}
    assert best(record(data=inner("D", id="string")))["event_id"] == "data.id"
    assert best(record(lead=inner("L", id="string")))["event_id"] == "lead.id"


@pytest.mark.parametrize(
    ("target", "kind", "why"),
    [
        ("event_time", TIMESTAMP, "the only timestamp"),
        ("data.value", DECIMAL, "the only decimal"),
        ("event_id", UUID, "the only UUID"),
    ],
)
def test_the_only_one_of_a_type_is_guessed_and_said_so(target: str, kind: Any, why: str) -> None:
    assert guessed(record(x=kind, y="string")) == {target: Guess(target, ("x",), sure=False, why=why)}
    assert target not in guessed(record(x=kind, y=kind))
    assert guessed(record(before=inner("B", x=kind), after=inner("A", x=kind)))[target].paths == ("after.x",)


def test_a_uuid_that_is_a_person_s_is_no_event_s() -> None:
    assert "event_id" not in guessed(record(user_id=UUID))
    assert "event_id" not in guessed(record(session_id=UUID))


def test_symbols_that_say_where_an_event_happens_become_a_table() -> None:
    found = guessed(record(x=enum("WEBSITE", "IOS_APP", "ANDROID_APP", "UNKNOWN")))["user_data.esi"]
    table = {"ANDROID_APP": "app", "IOS_APP": "app", "WEBSITE": "web"}
    assert found == Guess("user_data.esi", ("x",), False, None, table, "its symbols fit")
    exact = guessed(record(x=enum("WEB", "APP")))["user_data.esi"]
    assert (exact.table, exact.sure) == (None, False)
    assert "user_data.esi" not in guessed(record(x=enum("WEB", "STORE", "PHONE")))
    named = guessed(record(channel=enum("WEB", "STORE")))["user_data.esi"]
    assert (named.table, named.sure) == (None, False)
    assert guessed(record(esi=enum("web", "app")))["user_data.esi"].sure


def test_symbols_that_name_systems_become_a_table() -> None:
    found = guessed(record(x=enum("IPHONE", "ANDROID_PHONE", "PC")))["user_data.os"]
    assert found.table == {"ANDROID_PHONE": "android", "IPHONE": "ios", "PC": "desktop_os"}
    assert guessed(record(os=enum("IOS", "ANDROID")))["user_data.os"] == Guess("user_data.os", ("os",), sure=True)


def test_the_text_of_a_platform_gets_the_usual_table_and_no_default() -> None:
    found = guessed(record(platform="string"))["user_data.esi"]
    assert (found.table or {})["mob"] == "app"
    assert not found.sure
    assert guessed(record(esi="string"))["user_data.esi"].table is None


def test_a_doc_speaks_where_no_name_does() -> None:
    raw = documented(
        a="E-mail address of the person",
        b="The IP address that the form came from",
        c="The browser's user agent",
        d="URL of the page",
        e="ISO 4217 code",
        f="Consent to be sent mail to this e-mail address",
    )
    found = guessed(raw)
    assert {target: guess.paths for target, guess in found.items()} == {
        "user_data.email": ("a", "f"),
        "user_data.client_ip_address": ("b",),
        "user_data.client_user_agent": ("c",),
        "event_source_url": ("d",),
        "data.currency": ("e",),
    }
    assert {(guess.sure, guess.why) for guess in found.values()} == {(False, "by its doc")}
    assert guessed(documented(a="E-mail address", email="x"))["user_data.email"].paths == ("email",)


@pytest.mark.parametrize(
    ("doc", "unit", "sure"),
    [
        ("milliseconds since 1970", "ms", True),
        ("Unix time, in seconds", "s", True),
        ("microseconds since the epoch", "us", True),
        ("when it happened", "ms", False),
    ],
)
def test_a_doc_says_what_a_number_counts(doc: str, unit: str, sure: bool) -> None:
    raw = {"type": "record", "name": "R", "fields": [{"name": "event_time", "type": "long", "doc": doc}]}
    assert guessed(raw)["event_time"] == Guess("event_time", ("event_time",), sure, unit)


def test_the_keys_of_a_map_are_guessed_by_the_map_s_name() -> None:
    raw = record(
        traits={"type": "map", "values": "string"}, properties={"type": "map", "values": ["null", "string", "double"]}
    )
    assert {target: guess.paths for target, guess in guessed(raw).items()} == {
        "user_data.email": ("traits.email", "properties.email"),
        "user_data.phone": ("traits.phone", "properties.phone"),
        "data.currency": ("properties.currency",),
        "data.value": ("properties.value",),
    }
    assert not any(guess.sure for guess in guessed(raw).values())
    assert guessed(record(extensions={"type": "map", "values": "string"})) == {}
    assert guessed(record(traits={"type": "map", "values": "boolean"})) == {}


def test_what_is_one_field_for_sure_is_no_other() -> None:
    assert best(record(lead_id="string")) == {"event_id": "lead_id"}


@pytest.mark.parametrize("name", ["_", "__", "_1", "__c", "_at", "Z9"])
def test_names_without_words_are_no_names(name: str) -> None:
    raw = record(**{name: "string", "in": inner("I", **{name: "long"})})
    assert guesses(raw, EventName.GENERATE_LEAD)[0].paths == ()
    assert (consents(raw), event_fields(raw)) == ([], [])


# Consents and event fields


def test_consents_are_found_with_what_they_hold() -> None:
    raw = record(
        opt_in_email="boolean",
        privacy=inner("P", consent_ads="string", consent_ads_timestamp="string", consent_ads_source="string"),
        consent=inner("C", categories={"type": "map", "values": "boolean"}, denied_consents=items("string")),
        consented=enum("YES", "NO"),
        ads_storage=TEXT,
        sent_at=TIMESTAMP,
    )
    assert consents(raw) == [
        Consent("privacy.consent_ads", False),
        Consent("consented", False),
        Consent("ads_storage", False),
        Consent("opt_in_email", False),
        Consent("consent.categories", True),
    ]


def test_fields_that_tell_events_apart_are_found() -> None:
    assert event_fields(record(type="string", data=inner("D", event_name=TEXT), page=inner("P", type="string"))) == [
        "data.event_name",
        "type",
    ]
    assert event_fields(record(event="long")) == []


def test_a_change_is_known_by_its_envelope() -> None:
    value = inner("V", email=TEXT)
    assert is_change(record(before=nullable(value), after=nullable("V"), op="string"))
    assert not is_change(record(before="string", after="string"))
