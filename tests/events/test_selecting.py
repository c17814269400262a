"""Selecting records by the ids that the mapping gives them, and by the text of one field."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.paths import MissingPath, Schema, table_of
from stream_capi.events.selecting import PASSED_OVER, PICKED, IdName, Selection, by_field, by_id
from stream_capi.events.value_rules import derived_id
from stream_capi.model import Code, Rejection
from tests.events.sources_and_records import record, rules

IDS = record(
    event_id=["null", "string"], order={"type": "record", "name": "Order", "fields": [{"name": "no", "type": "long"}]}
)
ROWS: list[dict[str, Any]] = [
    {"event_id": "e-1", "order": {"no": 7}},
    {"event_id": None, "order": {"no": 8}},
    {"event_id": "  e-3 ", "order": {"no": 9}},
]


def picked(selection: Selection | MissingPath, rows: list[dict[str, Any]] = ROWS) -> list[int]:
    assert isinstance(selection, Selection)
    made = selection.apply(table_of(rows, selection.paths), "leads", 3, [40 + at for at in range(len(rows))], 0)
    assert set(made) <= {PICKED, PASSED_OVER}
    return [at for at, one in enumerate(made) if one == PICKED]


@pytest.mark.parametrize(
    ("name", "wanted", "fields", "found"),
    [
        ("event_id", "e-1", {}, [0]),
        ("event_id", "e-3", {}, [2]),
        ("event_id", "7", {}, []),
        ("event_id", "7", {"event_id": "order.no"}, [0]),
        ("dedupe_id", "e-1", {}, [0]),
        ("dedupe_id", "8", {"dedupe_id": "order.no"}, [1]),
        ("dedupe_id", "e-1", {"dedupe_id": "order.no"}, []),  # then the dedupe_id isn't the event_id
        ("event_id", "e-1", {"dedupe_id": "order.no"}, [0]),
        ("dedupe_id", derived_id("leads-3-41"), {}, [1]),
        ("dedupe_id", derived_id("leads-3-40"), {}, []),  # it has an event_id, so none is derived
    ],
)
def test_an_id_is_the_mapped_one(name: IdName, wanted: str, fields: dict[str, Any], found: list[int]) -> None:
    assert picked(by_id([rules(fields=fields)], Schema(IDS), name, wanted)) == found


def test_a_record_of_no_source_has_the_ids_of_any_of_them() -> None:
    several = [rules(fields={"event_id": "order.no"}), rules(fields={"event_id": "gone.no"}), rules()]
    assert picked(by_id(several, Schema(IDS), "event_id", "9")) == [2]
    assert picked(by_id(several, Schema(IDS), "event_id", "e-1")) == [0]


ALL = record(
    text="string", number="double", truth="boolean", kind={"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
    id={"type": "string", "logicalType": "uuid"}, worth={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    tags={"type": "map", "values": "string"}, list={"type": "array", "items": "int"}, raw="bytes",
)  # fmt: skip
ROW = {
    "text": "a=b", "number": 12.5, "truth": True, "kind": "B", "id": "6f1c", "worth": (1250).to_bytes(2, "big"),
    "tags": {"x.y": "z"}, "list": [4, 5], "raw": b"a=b",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("text", "a=b"), ("number", "12.5"), ("truth", "true"), ("kind", "B"), ("id", "6f1c"), ("worth", "12.50"),
        ('tags."x.y"', "z"), ("list[1]", "5"), ("$record", "Event"),
    ],
)  # fmt: skip
def test_a_field_is_compared_as_text(path: str, text: str) -> None:
    assert picked(by_field(Schema(ALL), path, text), [ROW]) == [0]
    assert picked(by_field(Schema(ALL), path, text + "x"), [ROW]) == []


def test_what_has_no_text_is_passed_over() -> None:
    for path in ("raw", "list", "tags"):
        assert picked(by_field(Schema(ALL), path, "a=b"), [ROW]) == []


def test_a_field_that_the_schema_lacks_is_told() -> None:
    found = by_field(Schema(ALL), "txet", "a")
    assert isinstance(found, MissingPath)
    assert found.nearest() == "text"


def test_a_record_that_raises_is_rejected_alone() -> None:
    selection = by_field(Schema(ALL), "number", "12.5")
    assert isinstance(selection, Selection)
    table = table_of([ROW, ROW | {"number": _Wild()}, ROW], selection.paths)
    made = selection.apply(table, "leads", 0, [0, 1, 2], 0)
    assert (made[0], made[2]) == (PICKED, PICKED)
    assert isinstance(made[1], Rejection)
    assert made[1].code is Code.INTERNAL_ERROR


class _Wild(float):
    @property
    def __class__(self) -> Any:
        raise RuntimeError("unforeseen")

    @__class__.setter
    def __class__(self, _: Any) -> None: ...
