"""Several event types in one schema: each record is mapped by its own type, and may be routed by its record name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError
from stream_capi.events.mapping_check import mapping_faults, record_faults, record_names
from stream_capi.events.transform import compile_source
from stream_capi.model import Code, EventName, Lane, Rejection, Routed, Skipped, Transformed
from stream_capi.operations.explain import explain_file
from stream_capi.operations.preflight import schema_findings
from tests.events.line import Line, encoded, payload_of
from tests.events.sources_and_records import (
    LEAD,
    NOW,
    PAGE_VIEW,
    PIXELS,
    TOPIC,
    apply,
    lead,
    page_view,
    record,
    rules,
    sent,
)

LEAD_NAME, VIEW_NAME, TICK_NAME = "stream_capi.Lead", "stream_capi.PageView", "acme.Tick"
TICK = record(at="long") | {"name": "Tick", "namespace": "acme"}
# A type that both records use is defined once, in the first branch.
VIEW = PAGE_VIEW | {
    "fields": [field | {"type": "Esi"} if field["name"] == "esi" else field for field in PAGE_VIEW["fields"]]
}
UNION = ["null", LEAD, VIEW, TICK]
EVENTS = {LEAD_NAME: "generate_lead", VIEW_NAME: "page_view", "*": "skip"}
MANY = 300  # records, enough to be parsed at once


def payload(name: str, row: dict[str, Any]) -> bytes:
    return encoded(UNION, (name, row))  # type: ignore[arg-type]  # a pair names the branch


LEADS = payload(LEAD_NAME, lead(event_id="l"))
VIEWS = payload(VIEW_NAME, page_view(event_id="v"))
TICKS = payload(TICK_NAME, {"at": 7})
NULL = b"\x00"


def line(**source: Any) -> Line:
    return Line(json.dumps(UNION), rules(**source))


def kinds(made: list[Transformed]) -> list[str]:
    return [str(one.lane) if isinstance(one, Routed) else str(getattr(one, "reason", None) or one) for one in made]


def test_the_records_name_decides_the_event() -> None:
    source = line(event_field="$record", events=EVENTS)
    chunk = [LEADS, VIEWS, TICKS, NULL] * MANY
    made = source.through(chunk)
    assert kinds(made) == ["main/generate_lead", "main/page_view", "event", "tombstone"] * MANY
    assert [sent(one)["dedupe_id"] for one in made[:2]] == ["l", "v"]
    for one, came in zip(chunk[:4], made, strict=False):
        assert source.outcome(one) == came, "alone, and explained"


def test_a_condition_on_the_records_name_skips_the_others() -> None:
    source = line(where={"field": "$record", "in": [LEAD_NAME, "acme.Nothing"]})
    made = [source.outcome(one) for one in (LEADS, VIEWS, TICKS, NULL)]
    assert isinstance(made[0], bytes)
    assert made[1:] == [Skipped("where"), Skipped("where"), Skipped("tombstone")]


def test_the_records_name_may_be_that_of_a_pixel() -> None:
    named = json.loads(json.dumps(LEAD).replace('"Lead"', '"strict"').replace("stream_capi", ""))
    raw = [named, PAGE_VIEW]  # each defines Esi in its own namespace
    source = Line(json.dumps(raw), rules(pixel_field="$record"))
    strict = source.outcome(encoded(raw, ("strict", lead(user_id="42"))))  # type: ignore[arg-type]
    assert isinstance(strict, Routed)
    assert strict.lane == Lane("strict", EventName.GENERATE_LEAD)
    view = source.outcome(encoded(raw, (VIEW_NAME, page_view())))  # type: ignore[arg-type]
    assert view == Rejection(Code.INVALID_FIELD, 'pixel_field "$record" names none of the pixels')


def test_the_records_name_is_a_value_like_any_other() -> None:
    mapped = {"user_data.sid": "$record"}
    worth = {"field": "$record", "table": {LEAD_NAME: 12.5}}
    transform = compile_source(rules(fields=mapped, values=worth), UNION, LEAD_NAME)
    assert "$record" not in transform.paths, "no payload has it"
    event = sent(apply(transform, lead()))
    assert (event["user_data"]["sid"], event["data"]["value"]) == (LEAD_NAME, 12.5)
    source = line(fields=mapped, values=worth)
    assert payload_of(source.outcome(LEADS)) == payload_of(source.through([LEADS] * MANY)[-1])


def test_a_name_that_is_not_listed_is_dead_lettered_as_any_value_is() -> None:
    source = line(event_field="$record", events={LEAD_NAME: "generate_lead"})
    assert source.outcome(TICKS) == Rejection(Code.INVALID_FIELD, 'event_field "$record" is not in events', "main")


def test_a_field_that_two_records_have_in_two_types_is_read_by_each_records_own() -> None:
    """If the types of both records were merged, nothing would show which unit a value has."""
    millis, micros = ({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros"))
    base = [{"name": "esi", "type": "string"}]
    base += [field for field in LEAD["fields"] if field["name"] not in ("event_time", "esi")]
    old, new = (
        {"type": "record", "name": name, "fields": [*base, {"name": "event_time", "type": kind}]}
        for name, kind in (("Old", millis), ("New", micros))
    )
    raw = [old, new]
    rows = [("Old", lead(event_time=NOW)), ("New", lead(event_time=NOW * 1000))]
    payloads = [encoded(raw, row) for row in rows]  # type: ignore[arg-type]
    source = Line(json.dumps(raw), rules())
    assert [sent(one)["event_time"] for one in source.through(payloads * MANY)] == [NOW] * (2 * MANY)
    assert [sent(source.outcome(one))["event_time"] for one in payloads] == [NOW, NOW]


def test_a_path_that_one_of_the_records_lacks_reads_as_null_there() -> None:
    source = line(event_field="$record", events=EVENTS, fields={"data.currency": {"const": "EUR"}})
    event = sent(source.outcome(VIEWS))
    assert (event["name"], event["data"]) == ("page_view", None)


@pytest.mark.parametrize("null", [0, 1])
def test_a_record_or_null(null: int) -> None:
    raw = ["null", LEAD] if null == 0 else [LEAD, "null"]
    source = Line(json.dumps(raw), rules())
    of_lead, of_null = bytes([2 - 2 * null]), bytes([2 * null])
    alone = encoded(LEAD, lead())
    assert source.outcome(of_lead + alone) == Line(json.dumps(LEAD), rules()).outcome(alone)
    assert source.outcome(of_null) == Skipped("tombstone")
    damaged = source.through([of_lead + alone[:-1], of_null + b"\x00", b"\x08", of_lead + alone])
    assert [one.code if isinstance(one, Rejection) else type(one) for one in damaged] == [Code.DECODE_ERROR] * 3 + [
        bytes
    ]


def test_a_quoted_name_is_a_field_that_bears_it() -> None:
    raw = json.loads(json.dumps(LEAD))
    raw["fields"].append({"name": "$record", "type": "string"})
    source = Line(json.dumps(raw), rules(fields={"user_data.sid": '"$record"', "user_data.ifa": "$record"}))
    user = sent(source.outcome(encoded(raw, lead(**{"$record": "mine"}))))["user_data"]
    assert (user["sid"], user["ifa"]) == ("mine", LEAD_NAME)


# check


def faults(record_name: str, **source: Any) -> list[str]:
    return mapping_faults(rules(**source), UNION, record_name)


def test_records_that_are_skipped_for_their_name_have_no_faults() -> None:
    source: dict[str, Any] = {"event_field": "$record", "events": EVENTS}
    assert [faults(name, **source) for name in (LEAD_NAME, VIEW_NAME, TICK_NAME)] == [[], [], []]
    only_leads = {"where": {"field": "$record", "equals": LEAD_NAME}}
    assert [faults(name, **only_leads) for name in (LEAD_NAME, VIEW_NAME)] == [[], []]
    assert faults(TICK_NAME) != []


def test_a_record_that_no_event_is_named_for_is_told() -> None:
    events = {LEAD_NAME: "generate_lead", VIEW_NAME: "page_view"}
    source: dict[str, Any] = {"event_field": "$record", "events": events}
    assert faults(TICK_NAME, **source) == ['event_field: "acme.Tick" is not in events; add it, or "*" = "skip"']
    assert faults(TICK_NAME, pixel_field="$record") == ['pixel_field: none of the pixels is named "acme.Tick"']


def test_each_record_is_judged_as_the_event_that_it_becomes() -> None:
    lacking = faults(VIEW_NAME, event_field="$record", events={VIEW_NAME: "generate_lead", "*": "skip"})
    assert [fault.partition(":")[0] for fault in lacking] == ["TODO data.currency", "TODO data.value"]


def test_names_that_no_record_has_are_told_with_the_nearest() -> None:
    all_of_them = [LEAD_NAME, VIEW_NAME, TICK_NAME]
    wrong = rules(where={"field": "$record", "in": [LEAD_NAME, "stream_capi.Laed"]})
    assert record_faults(wrong, all_of_them, are_all=True) == [
        'where: the schema has no record "stream_capi.Laed"; did you mean "stream_capi.Lead"?'
    ]
    events = rules(event_field="$record", events={"Other": "page_view", "*": "skip"})
    told = f'event_field: the schema has no record "Other"; it has {", ".join(all_of_them)}'
    assert record_faults(events, all_of_them, are_all=True) == [told]


def test_one_schema_of_a_topic_whose_types_have_one_each_need_not_have_all_names() -> None:
    events = rules(event_field="$record", events={LEAD_NAME: "generate_lead", VIEW_NAME: "page_view", "*": "skip"})
    assert record_faults(events, [VIEW_NAME], are_all=False) == []
    assert record_faults(events, [VIEW_NAME, "acme.Other"], are_all=False) == []
    assert record_faults(events, ["acme.Other"], are_all=False) != []
    assert record_names(events) == [LEAD_NAME, VIEW_NAME]


# explain, with a union's sources


def settings_of(folder: Path, *records: str) -> Settings:
    """Settings with a source of the topic for each of the record types; the schema is the union."""
    file = folder / "union.avsc"
    file.write_text(json.dumps(UNION))
    each: dict[str, Any] = {"topic": TOPIC, "pixel": "main", "framing": "raw", "schema_file": str(file)}
    events = {VIEW_NAME: "page_view"}
    sources = [each | {"record": name, "event": events.get(name, "generate_lead")} for name in records]
    return Settings.model_validate({"pixels": PIXELS, "sources": sources})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("lead.bin", LEADS, "generate_lead"),
        ("view.bin", VIEWS, "page_view"),
        ("tick.bin", TICKS, Skipped("unrouted")),
        ("damaged.bin", TICKS[:1], Skipped("unrouted")),  # no source takes its type, so it isn't decoded
        ("null.bin", NULL, Skipped("tombstone")),
        ("none.bin", b"\x08", Code.DECODE_ERROR),
        ("short.bin", LEADS[:9], Code.DECODE_ERROR),
        ("lead.json", {LEAD_NAME: lead(client_ip_address="8.8.8.8")}, "generate_lead"),
        ("plain.json", page_view(), "page_view"),
        ("tick.json", {TICK_NAME: {"at": 7}}, Skipped("unrouted")),
    ],
)
async def test_a_record_is_explained_by_the_source_of_its_type(
    tmp_path: Path, name: str, value: Any, wanted: Any
) -> None:
    settings = settings_of(tmp_path, LEAD_NAME, VIEW_NAME)
    file = tmp_path / name
    file.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    (told,) = await explain_file(settings, settings.sources, file)
    if wanted in list(EventName):
        assert told.explanation is not None
        assert told.explanation.lane is not None
        assert told.explanation.lane.event == wanted
    else:
        outcome = told.outcome.code if isinstance(told.outcome, Rejection) else told.outcome
        assert outcome == wanted


async def test_json_that_is_none_of_the_records_is_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, LEAD_NAME)
    file = tmp_path / "other.json"
    file.write_text('{"nothing": 1}')
    with pytest.raises(ConfigurationError, match="it fits none of the types it may have"):
        await explain_file(settings, settings.sources, file)


async def test_check_looks_at_each_sources_own_record(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, LEAD_NAME, VIEW_NAME, "stream_capi.Laed", TICK_NAME)
    found = [one async for one in schema_findings(settings)]
    told = {one.subject: (one.passed, one.detail) for one in reversed(found)}
    assert told[f"mapping of {TOPIC} ({LEAD_NAME})"] == (True, f"fits {LEAD_NAME}")
    assert told[f"mapping of {TOPIC} ({VIEW_NAME})"] == (True, f"fits {VIEW_NAME}")
    wrong = f'record: the schema has no record "stream_capi.Laed"; did you mean "{LEAD_NAME}"?'
    assert told[f"mapping of {TOPIC} (stream_capi.Laed)"] == (False, wrong)
    assert told[f"mapping of {TOPIC} ({TICK_NAME})"][0] is False
