"""Validating batches by the API's document: its schema, and the rules in its descriptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_capi import resources
from stream_capi.errors import ConfigurationError
from stream_capi.resources import API_DOCUMENT, EVENT_SCHEMAS, read_shipped
from stream_capi.sandbox.api_document import IDENTIFIERS, MAX_FAULTS, faults_of, read_batch
from tests.endpoint.events import batch, lead, view

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load(read_shipped(API_DOCUMENT))


def test_the_documents_own_examples_are_valid(document: Any) -> None:
    content = document["paths"]["/v1/event"]["post"]["requestBody"]["content"]["application/json"]
    page_view, lead_example = (deepcopy(example["value"]) for example in content["examples"].values())
    # The document's web page hides e-mail addresses: "[email protected]" is a list of one string in YAML.
    assert isinstance(lead_example["events"][0]["user_data"]["email"], list)
    lead_example["events"][0]["user_data"]["email"] = "someone@example.com"
    assert faults_of(page_view) == []
    assert faults_of(lead_example) == []


def test_the_identifiers_are_those_that_the_document_names(document: Any) -> None:
    described = document["components"]["schemas"]["UserData"]["description"]
    assert "(" + ", ".join(f"`{name}`" for name in IDENTIFIERS) + ")" in " ".join(described.split())


def test_leads_and_views_of_every_field_are_valid(document: Any) -> None:
    fields = document["components"]["schemas"]["UserData"]["properties"]
    chosen = {name: field["enum"][0] if "enum" in field else "x" for name, field in fields.items()}
    assert read_batch(batch(lead(**chosen), view(**chosen)))[1] == []


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_any_one_identifier_is_enough(name: str) -> None:
    assert faults_of({"events": [lead(**{"email": None, name: "x"})]}) == []


def test_a_batch_has_from_one_to_a_hundred_events() -> None:
    assert faults_of({"events": []}) == ["events: must have at least one event"]
    assert faults_of({"events": [lead()] * 100}) == []
    assert faults_of({"events": [lead()] * 101}) == ["events: must have at most 100 events"]


def without(key: str, *path: str) -> Change:
    return lambda event: at(event, *path).pop(key)


def sets(value: Any, key: str, *path: str) -> Change:
    return lambda event: at(event, *path).update({key: value})


def at(event: dict[str, Any], *path: str) -> dict[str, Any]:
    for step in path:
        event = event[step]
    return event


URL_RULE = "events[0].event_source_url: must be an absolute http or https URL"
VIOLATIONS: dict[str, tuple[Change, str]] = {
    "no name": (without("name"), "events[0]: lacks name"),
    "no time": (without("event_time"), "events[0]: lacks event_time"),
    "no URL": (without("event_source_url"), "events[0]: lacks event_source_url"),
    "no data": (without("data"), "events[0]: lacks data"),
    "no user data": (without("user_data"), "events[0]: lacks user_data"),
    "no address": (without("client_ip_address", "user_data"), "events[0].user_data: lacks client_ip_address"),
    "no agent": (without("client_user_agent", "user_data"), "events[0].user_data: lacks client_user_agent"),
    "no source": (without("esi", "user_data"), "events[0].user_data: lacks esi"),
    "no currency": (without("currency", "data"), "events[0].data: lacks currency"),
    "no value": (without("value", "data"), "events[0].data: lacks value"),
    "another name": (sets("purchase", "name"), "events[0].name: must be one of page_view, generate_lead"),
    "time as text": (sets("1741784485001", "event_time"), "events[0].event_time: must be of type integer"),
    "time with a fraction": (sets(1741784485001.5, "event_time"), "events[0].event_time: must be of type integer"),
    "time as a float": (sets(1741784485001.0, "event_time"), "events[0].event_time: must be of type integer"),
    "time as true": (sets(True, "event_time"), "events[0].event_time: must be of type integer"),
    "time beyond 64 bits": (sets(2**63, "event_time"), "events[0].event_time: must be of format int64"),
    "relative URL": (sets("/thanks", "event_source_url"), URL_RULE),
    "URL of another scheme": (sets("ftp://example.com/", "event_source_url"), URL_RULE),
    "URL without a host": (sets("https:///thanks", "event_source_url"), URL_RULE),
    "URL with a space": (sets("https://example.com/a b", "event_source_url"), URL_RULE),
    "URL with a port beyond": (sets("https://example.com:99999/", "event_source_url"), URL_RULE),
    "null in user data": (sets(None, "zip", "user_data"), "events[0].user_data.zip: must be of type string"),
    "number as user id": (sets(7, "user_id", "user_data"), "events[0].user_data.user_id: must be of type string"),
    "another source": (sets("tv", "esi", "user_data"), "events[0].user_data.esi: must be one of web, app"),
    "another system": (sets("beos", "os", "user_data"), "events[0].user_data.os: must be one of ios, android, desktop_os"),
    "value below 0": (sets(-0.01, "value", "data"), "events[0].data.value: must be 0 or more"),
    "value as text": (sets("30", "value", "data"), "events[0].data.value: must be of type number"),
    "data as a list": (sets([], "data"), "events[0].data: fits none of the forms that the document allows"),
    "unknown key": (sets("x", "canary"), "events[0]: has a key that the document lacks"),
    "unknown user key": (sets("x", "canary", "user_data"), "events[0].user_data: has a key that the document lacks"),
    "unknown data key": (sets("x", "canary", "data"), "events[0].data: has a key that the document lacks"),
    "null dedupe id": (sets(None, "dedupe_id"), "events[0].dedupe_id: must be of type string"),
    "lead without data": (sets(None, "data"), "events[0].data: must be an object for generate_lead"),
    "view with data": (sets("page_view", "name"), "events[0].data: must be null for page_view"),
    "no identifier": (without("email", "user_data"), "events[0].user_data: must have at least one of"),
    "empty identifier": (sets("", "email", "user_data"), "events[0].user_data: must have at least one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_told_with_its_place_and_rule(name: str) -> None:
    change, expected = VIOLATIONS[name]
    event = lead()
    change(event)
    (fault,) = read_batch(batch(event))[1]
    assert fault.startswith(expected)
    assert "canary" not in fault


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "the body is not JSON in UTF-8"),
        (b"{", "the body is not JSON in UTF-8"),
        (b'{"events":[]} ]', "the body is not JSON in UTF-8"),
        (b'{"events":[NaN]}', "the body is not JSON in UTF-8"),
        (b'{"events":["\xff"]}', "the body is not JSON in UTF-8"),
        (b'{"events":["\\ud800"]}', "the body is not JSON in UTF-8"),
        (b"[" * 100_000, "the body is not JSON in UTF-8"),
        (b"null", "the body: must be of type object"),
        (b"[]", "the body: must be of type object"),
        (b"{}", "the body: lacks events"),
        (b'{"events":{}}', "events: must be of type array"),
        (b'{"events":[7]}', "events[0]: must be of type object"),
        (b'{"events":[],"canary":1}', "the body: has a key that the document lacks"),
        (b'{"events":[],"events":[]}', "an object has the same key twice"),
    ],
)
def test_a_body_that_is_no_batch_is_told_as_such(body: bytes, expected: str) -> None:
    assert read_batch(body)[1][0] == expected


def test_a_key_that_comes_twice_is_seen_however_deep() -> None:
    body = batch(lead()).replace(b'"esi": "web"', b'"esi": "web", "esi": "web"')
    assert read_batch(body)[1] == ["an object has the same key twice"]


def test_the_fault_of_one_event_among_many_names_its_place() -> None:
    assert faults_of({"events": [*[lead()] * 41, lead(esi="tv"), lead()]}) == [
        "events[41].user_data.esi: must be one of web, app"
    ]


def test_a_fault_of_all_events_is_told_of_the_first_ones() -> None:
    assert len(faults_of({"events": [lead(esi="tv")] * 100})) == MAX_FAULTS


# Files shipped with the program


@pytest.mark.parametrize("name", [API_DOCUMENT, *EVENT_SCHEMAS.values()])
def test_shipped_files_are_found_in_a_checkout_and_in_a_wheel(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = read_shipped(name)
    assert yaml.safe_load(text) if name.endswith("yaml") else json.loads(text)
    shipped = tmp_path / "stream_capi" / "_schemas"
    shipped.mkdir(parents=True)
    monkeypatch.setattr(resources, "files", lambda _: tmp_path / "stream_capi")
    with pytest.raises(ConfigurationError, match="install stream-capi again"):
        read_shipped(name)
    (shipped / name).write_text(text)
    assert read_shipped(name) == text
