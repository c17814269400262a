"""Sources, records and payloads for these tests, and the API document that validates payloads."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from stream_capi.config import Settings
from stream_capi.events.explain import explain
from stream_capi.events.fields import FIELDS
from stream_capi.events.paths import table_of
from stream_capi.events.rules import SourceRules, rules_from
from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import EventName, Rejection, Routed, Skipped, Transformed

SCHEMAS = Path(__file__).parents[2] / "schemas"
NOW = 1_741_784_500_000
TOPIC = "leads"
LEAD: Any = json.loads((SCHEMAS / "lead.avsc").read_text())
PAGE_VIEW: Any = json.loads((SCHEMAS / "page_view.avsc").read_text())

PIXELS = [
    {"name": "main", "pixel_id": "p-main", "api_key_env": "KEY"},
    {"name": "strict", "pixel_id": "p-strict", "api_key_env": "KEY", "profile": "restricted"},
]


def rules(delivery: Mapping[str, Any] | None = None, *, suppress: bool = False, **source: Any) -> SourceRules:
    """The rules of a source of leads for the pixel ``main``; the arguments override its settings."""
    source = {"topic": TOPIC} | source
    if "event_field" not in source:
        source.setdefault("event", "generate_lead")
    if "pixel_field" not in source:
        source.setdefault("pixel", "main")
    stated = {"pixels": PIXELS, "sources": [source], "delivery": dict(delivery or {})}
    settings = Settings.model_validate(stated | ({"suppress": {"file": "forgotten"}} if suppress else {}))
    return rules_from(settings.sources[0], settings)


def lead(**fields: Any) -> dict[str, Any]:
    """A decoded ``stream_capi.Lead`` that can be delivered."""
    return (
        dict.fromkeys((field["name"] for field in LEAD["fields"]), None)
        | {
            "event_id": "e-1",
            "event_time": NOW - 15_000,
            "event_source_url": "https://shop.example/quote",
            "currency": "USD",
            "value": 30.0,
            "user_id": "user-1",
            "client_ip_address": "172.59.8.172",
            "client_user_agent": "chrome/123.456 android mobile",
            "esi": "web",
        }
        | fields
    )


def page_view(**fields: Any) -> dict[str, Any]:
    """A decoded ``stream_capi.PageView`` that can be delivered."""
    return {name: value for name, value in lead(**fields).items() if name not in ("currency", "value")}


def record(**types: Any) -> dict[str, Any]:
    """A record type with fields of these types."""
    return {"type": "record", "name": "Event", "fields": [{"name": name, "type": kind} for name, kind in types.items()]}


def nullable(kind: Any) -> list[Any]:
    return ["null", kind]


def apply(transform: Transform, row: Mapping[str, Any], offset: int = 7, now_ms: int = NOW) -> Transformed:
    """The outcome of one record in partition 3."""
    (made,) = mapped(transform, [row], offsets=[offset], now_ms=now_ms)
    return made


def mapped(
    transform: Transform,
    rows: Sequence[Mapping[str, Any]],
    topic: str = TOPIC,
    partition: int = 3,
    offsets: Sequence[int] | None = None,
    now_ms: int = NOW,
) -> list[Transformed]:
    """The outcomes of decoded records."""
    table = table_of(rows, transform.paths)
    return transform.apply(table, topic, partition, range(len(rows)) if offsets is None else offsets, now_ms)


def break_rule(monkeypatch: pytest.MonkeyPatch, target: str, one: Callable[[str], Any]) -> None:
    """Replace a field's rule by ``one``."""
    field = FIELDS[target]
    monkeypatch.setitem(FIELDS, target, field._replace(rule=field.rule._replace(one=one)))


def outcome(of_source: SourceRules, schema_raw: Any, row: Mapping[str, Any]) -> Transformed:
    """The outcome of one record; asserts that mapping and ``explain`` agree."""
    made = apply(compile_source(of_source, schema_raw), row)
    assert explain(of_source, schema_raw, row, (TOPIC, 3, 7), NOW).outcome == made
    return made


def sent(made: Transformed) -> dict[str, Any]:
    """The ServerEvent of a payload; asserts that the API document allows it."""
    payload = made.payload if isinstance(made, Routed) else made
    assert isinstance(payload, bytes), made
    event: dict[str, Any] = orjson.loads(payload)
    DOCUMENT.validate(event)
    assert [key for key, value in _items(event) if value is None] in ([], ["data"])
    return event


def lead_sent(source: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The ServerEvent of a Lead with these fields."""
    return sent(outcome(rules(**(source or {})), LEAD, lead(**fields)))


def user_sent(field: str, value: Any, source: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """The value sent for a user-data field; None if it is left out."""
    return lead_sent(source, **{field: value}, **fields)["user_data"].get(field)


def lead_rejected(source: Mapping[str, Any] | None = None, **fields: Any) -> Rejection:
    """The rejection of a Lead with these fields."""
    made = outcome(rules(**(source or {})), LEAD, lead(**fields))
    assert isinstance(made, Rejection), made
    return made


def page_view_made(**fields: Any) -> Transformed:
    return outcome(rules(event="page_view"), PAGE_VIEW, page_view(**fields))


def is_outcome(made: Transformed) -> bool:
    """Whether the contract allows it: a valid event, a dead letter with a code and detail, or a skip with a reason."""
    if isinstance(made, Rejection):
        return bool(made.code) and bool(made.detail)
    if isinstance(made, Skipped):
        return bool(made.reason)
    event = sent(made)
    assert (event["data"] is None) is (event["name"] == EventName.PAGE_VIEW)
    return True


def _items(event: Any) -> list[tuple[str, Any]]:
    if not isinstance(event, dict):
        return []
    return [pair for key, value in event.items() for pair in [(key, value), *_items(value)]]


def _strict_document() -> Draft202012Validator:
    """A validator of the document's ServerEvent that refuses properties that the document doesn't have."""
    schemas = copy.deepcopy(
        yaml.safe_load((SCHEMAS / "applovin-conversion-api-lead-gen.yaml").read_text())["components"]["schemas"]
    )
    for schema in schemas.values():
        schema["additionalProperties"] = False
    whole = {"components": {"schemas": schemas}, "$ref": "#/components/schemas/ServerEvent"}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


DOCUMENT = _strict_document()
