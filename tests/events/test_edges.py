"""The table of edge values, and every target with edge values of every Avro type."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from stream_capi.config.settings import TARGETS
from stream_capi.events.plain_json import NotOfSchema, row_from_json
from stream_capi.model import Code, Rejection
from tests.events.edges import EDGES, FLOATS, INTS, LONGS, ODD_SCALES, Dropped, Edge, Sent, decimal, fixed, logical
from tests.events.line import encoded, line_of, payload_of
from tests.events.sources_and_records import LEAD, is_outcome, lead

ESI: Any = {"type": "enum", "name": "Kind", "symbols": ["web", "USD", "US", "x" * 1_024]}
TEXTS = (
    "",
    " ",
    "\0",
    "0",
    "-0",
    "1e400",
    "1" + "0" * 400,
    "USD",
    "web",
    "a@b",
    "https://h/",
    "1.2.3.4",
    "null",
    "\u2028",
    "😀",
    "é" * 9_000,
)
BYTES = (b"", b"\0", b"\xff", b"\x7f" + b"\xff" * 63, b"\xff" * 64, b"\xff" * 65, b"\x01" * 9_000)
TIMES = (
    "timestamp-millis",
    "timestamp-micros",
    "timestamp-nanos",
    "local-timestamp-millis",
    "local-timestamp-micros",
    "time-micros",
)
KINDS: list[tuple[Any, tuple[Any, ...]]] = [
    ("string", TEXTS),
    (ESI, tuple(ESI["symbols"])),
    (logical("string", "uuid"), TEXTS),
    ("int", INTS),
    ("long", LONGS),
    ("float", (*(x for x in FLOATS if math.isinf(x) or math.isnan(x) or abs(x) < 3e38), 3.4028234663852886e38, 1e-45)),
    ("double", FLOATS),
    ("boolean", (True, False)),
    ("bytes", BYTES),
    *((logical("long", name), LONGS) for name in TIMES),
    (logical("int", "date"), INTS),
    (logical("int", "time-millis"), INTS),
    *((decimal(scale), BYTES) for scale in (0, 2, 300, 301, *ODD_SCALES)),
    (fixed(9, logicalType="decimal", precision=4, scale=2), (b"\xff" * 9, b"\0" * 9)),
    (fixed(16, logicalType="uuid"), (b"\xff" * 16, b"\0" * 16)),
    (fixed(12, logicalType="duration"), (b"\xff" * 12,)),
    (fixed(0), (b"",)),
    (logical("long", 5), LONGS),
    (logical("long", ["timestamp-millis"]), LONGS),
    ({"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "string"}]}, ({"x": "y"},)),
    ({"type": "array", "items": "string"}, ([], ["x"])),
    ({"type": "map", "values": "string"}, ({}, {"": ""}, {"x": "y"})),
    ("null", (None,)),
]  # fmt: skip


def schema_with(target: str, kind: Any) -> tuple[Any, dict[str, Any]]:
    """The shipped Lead schema with one more field, and the mapping of the target to that field."""
    return {**LEAD, "fields": [*LEAD["fields"], {"name": "edge", "type": kind}]}, {target: "edge"}


@pytest.mark.parametrize("edge", EDGES, ids=str)
def test_an_edge_has_its_right_outcome_mapped_and_explained(edge: Edge) -> None:
    raw, fields = schema_with(edge.target, edge.kind)
    if edge.unit:
        fields[edge.target] = {"path": "edge", "unit": edge.unit}
    line = line_of(raw, fields=fields)
    row = lead(user_id=None, aleid="ad-1" if edge.target != "user_data.aleid" else None, alart="t") | {
        "edge": edge.value
    }
    made = line.outcome(encoded(raw, row))
    assert is_outcome(made)
    if isinstance(edge.right, Code):
        assert isinstance(made, Rejection), made
        assert (made.code, made.detail.partition(":")[0]) == (edge.right, edge.target)
        return
    event = orjson.loads(payload_of(made))
    for part in edge.target.split("."):
        event = event.get(part) if isinstance(event, dict) else None
    assert event == (edge.right.value if isinstance(edge.right, Sent) else None)
    reasons = {reason for field, reason in line.dropped() if field == edge.target.rpartition(".")[2]}
    assert reasons == ({edge.right.reason} if isinstance(edge.right, Dropped) else set())


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_type_at_its_edges_has_an_outcome_in_every_field(target: str) -> None:
    for kind, values in KINDS:
        raw, fields = schema_with(target, kind)
        for unit in ("s", "us", None) if target == "event_time" else (None,):
            lines = [line_of(raw, fields={target: {"path": "edge", "unit": unit} if unit else fields[target]})]
            if target in ("event_source_url", "user_data.user_id"):
                lines.append(line_of(raw, pixel="strict", fields=fields))
            if target in ("user_data.email", "user_data.phone", "data.currency", "dedupe_id"):
                of = {"fields": {target: ["edge", "email", "edge"]}, "default_currency": "USD"}
                lines.append(line_of(raw, delivery={"hash": "passthrough"}, **of))
            for value in values:
                payload = encoded(raw, lead(aleid="ad-1", client_id="c-1") | {"edge": value})
                for one in lines:
                    made = one.outcome(payload)
                    assert is_outcome(made)
                    assert not (isinstance(made, Rejection) and made.code is Code.INTERNAL_ERROR)


@pytest.mark.cases(5)
@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=lambda kind: str(kind)[:40])
def test_every_type_at_its_edges_can_be_routed_on(kind: Any) -> None:
    raw, _ = schema_with("event_time", kind)
    values = next(values for of, values in KINDS if of is kind)
    lines = [
        line_of(raw, event_field="edge", events={"web": "generate_lead", "1e400": "page_view", "*": "skip"}),
        line_of(raw, pixel_field="edge"),
        line_of(raw, where={"field": "edge", "in": ["web", 2**63, 1e308, True]}),
        line_of(raw, consent_field="edge"),
        line_of(raw, consent_field="edge", consent_purposes=["ads"], without_consent="strip"),
        line_of(raw, values={"field": "edge", "table": {"web": 1.0}, "default": 2.0}),
    ]
    for value in values:
        for line in lines:
            assert is_outcome(line.outcome(encoded(raw, lead() | {"edge": value})))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("double", "1" + "0" * 400),
        ("double", "-1" + "0" * 400),
        (decimal(2), "1e999999"),
        (decimal(2), "1e999999999999999999"),
        (decimal(None), "1.5"),
        (decimal([]), "1.5"),
        (decimal(10**9), "1.5"),
        (decimal(10**30), "1.5"),
        (decimal(2), "NaN"),
        (decimal(2), "Infinity"),
        ("long", str(2**63)),
        ("string", '"\\ud800"'),
        ("string", '"\\udcff"'),
        ({"type": "map", "values": "int"}, '{"\\ud800": 1}'),
        ({"type": "array", "items": "string"}, '["\\ud800"]'),
        (fixed(1), '"\\ud800"'),
    ],
)
def test_json_at_the_edges_is_no_record(kind: Any, text: str) -> None:
    raw = {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}
    with pytest.raises(NotOfSchema) as told:
        row_from_json(raw, f'{{"f": {text}}}')
    assert "\ud800" not in str(told.value)
    str(told.value).encode()


def test_a_constant_with_a_lone_surrogate_is_a_fault_of_the_settings() -> None:
    for target in ("user_data.user_id", "user_data.client_user_agent"):
        with pytest.raises(ValueError, match="surrogate"):
            line_of(LEAD, fields={target: {"const": "u\ud800"}})
