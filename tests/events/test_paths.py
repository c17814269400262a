"""Paths through a schema, and reading the values at them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stream_capi.config.dotted_paths import steps
from stream_capi.events.kinds import Kind
from stream_capi.events.paths import Found, MissingPath, Schema, read, table_of
from tests.avro.hostile_schemas import forks
from tests.avro.records import record as numbered
from tests.events.sources_and_records import nullable, record


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("email", ("email",)),
        ("a.b.c", ("a", "b", "c")),
        ("items[0].price", ("items", 0, "price")),
        ("items.0.price", ("items", "0", "price")),
        ("items[1][2]", ("items", 1, 2)),
        ('headers."x.y"', ("headers", "x.y")),
        ('"a.b".c', ("a.b", "c")),
        (r'h."q\"q"."b\\s"', ("h", 'q"q', "b\\s")),
        ('h."[0]"', ("h", "[0]")),
    ],
)
def test_a_path_has_steps(path: str, expected: tuple[Any, ...]) -> None:
    assert steps(path) == expected


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", 'a"b"', 'a."b', 'a.""', "a b.", "a. b", "a\n", "a[0]b"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        steps(path)


INNER = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": nullable("string")}]}
OTHER = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": "string"}]}
SCHEMA = record(
    plain="string",
    inner=INNER,
    maybe=nullable("Inner"),
    either=["null", "Inner", OTHER],
    mixed=["null", "string", "Other"],
    table={"type": "map", "values": ["null", "Inner"]},
    items={"type": "array", "items": "Inner"},
    few=nullable({"type": "array", "items": nullable("Other")}),
    grid={"type": "array", "items": {"type": "array", "items": "string"}},
    odd=["null", {"type": "array", "items": "string"}, {"type": "map", "values": "string"}],
    one_or_many=["null", "string", {"type": "array", "items": "string"}],
    any=["string", {"type": "array", "items": "string"}, {"type": "map", "values": "string"}],
    deep=nullable({"type": "record", "name": "Deep", "fields": [{"name": "inner", "type": "Inner"}]}),
)
EMPTY: dict[str, Any] = {
    "plain": "p", "inner": {"x": None}, "maybe": None, "either": None, "mixed": None, "table": {}, "items": [], "few": None,
    "grid": [], "odd": None, "one_or_many": None, "any": "", "deep": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "row", "value"),
    [
        ("plain", {}, "p"),
        ("inner.x", {"inner": {"x": "v"}}, "v"),
        ("inner.x", {}, None),
        ("maybe.x", {"maybe": {"x": "v"}}, "v"),
        ("maybe.x", {}, None),
        ("either.x", {"either": {"x": "v"}}, "v"),
        ("either.x", {"either": {"x": 7, "y": "w"}}, 7),
        ("either.y", {"either": {"x": "v"}}, None),
        ("either.y", {"either": {"x": 7, "y": "w"}}, "w"),
        ("mixed.y", {"mixed": "text"}, None),
        ("mixed.y", {"mixed": {"x": 7, "y": "w"}}, "w"),
        ("table.k.x", {"table": {"k": {"x": "v"}}}, "v"),
        ("table.k.x", {"table": {"k": None}}, None),
        ("table.k.x", {}, None),
        ('table."a.b".x', {"table": {"a.b": {"x": "v"}}}, "v"),
        ("table.0.x", {"table": {"0": {"x": "v"}}}, "v"),
        ("table[0].x", {"table": {"0": {"x": "v"}}}, "v"),
        ("items[1].x", {"items": [{"x": "a"}, {"x": "b"}]}, "b"),
        ("items.0.x", {"items": [{"x": "a"}]}, "a"),
        ("items[1].x", {"items": [{"x": "a"}]}, None),
        ("few[0].y", {"few": [{"x": 1, "y": "w"}]}, "w"),
        ("few[0].y", {"few": [None]}, None),
        ("few[0].y", {}, None),
        ("grid[1][0]", {"grid": [[], ["v"]]}, "v"),
        ("grid[0][0]", {"grid": [[], ["v"]]}, None),
        ("odd.0", {"odd": ["v"]}, "v"),
        ("odd.0", {"odd": {"0": "v"}}, "v"),
        ("odd.0", {"odd": []}, None),
        ("odd.0", {}, None),
        ("odd.k", {"odd": {"k": "v"}}, "v"),
        ("odd.k", {"odd": ["v"]}, None),
        ("one_or_many[0]", {"one_or_many": ["v"]}, "v"),
        ("one_or_many[0]", {"one_or_many": "text"}, None),
        ("one_or_many[0]", {}, None),
        ("any.0", {"any": "text"}, None),
        ("any[0]", {"any": ["v"]}, "v"),
        ("any[1]", {"any": ["v"]}, None),
        ("deep.inner.x", {"deep": {"inner": {"x": "v"}}}, "v"),
        ("deep.inner.x", {}, None),
    ],
)
def test_a_path_is_read(path: str, row: dict[str, Any], value: Any) -> None:
    assert isinstance(Schema(SCHEMA).find(path), Found)
    assert read(EMPTY | row, path) == value
    assert table_of([EMPTY | row, EMPTY], [path]).columns[path][0] == value


def test_a_digit_that_is_no_number_leads_nowhere() -> None:
    assert isinstance(Schema(SCHEMA).find('one_or_many."²"'), MissingPath)
    assert read({"one_or_many": ["v"]}, 'one_or_many."²"') is None


def test_the_types_at_the_end_of_a_path_are_those_of_every_branch() -> None:
    found = Schema(SCHEMA).find("either.x")
    assert isinstance(found, Found)
    assert found.kinds == {Kind("string"), Kind("long")}


@pytest.mark.parametrize("path", ["absent", "inner.absent", "plain.x", "items.x", "inner[0]", "either.z"])
def test_a_path_that_the_schema_lacks_reads_as_null(path: str) -> None:
    assert isinstance(Schema(SCHEMA).find(path), MissingPath)


def test_named_types_are_found_by_their_namespace() -> None:
    raw = {
        "type": "record",
        "name": "a.b.Event",
        "fields": [
            {"name": "one", "type": {"type": "record", "name": "Money", "fields": [{"name": "x", "type": "long"}]}},
            {"name": "two", "type": {"type": "record", "name": "c.Money", "fields": [{"name": "y", "type": "long"}]}},
            {"name": "of_this", "type": "Money"},
            {"name": "of_that", "type": ["null", "c.Money"]},
            {"name": "wrapped", "type": {"type": "c.Money"}},
        ],
    }
    schema = Schema(raw)
    for path in ("of_this.x", "of_that.y", "wrapped.y"):
        assert isinstance(schema.find(path), Found), path
    for path in ("of_this.y", "of_that.x"):
        assert isinstance(schema.find(path), MissingPath), path


def test_a_name_with_a_dot_is_whole_whatever_space_it_stands_in() -> None:
    def money(name: str, field: str) -> dict[str, Any]:
        return {"type": "record", "name": name, "fields": [{"name": field, "type": "long"}]}

    raw = {
        "type": "record",
        "name": "a.Event",
        "fields": [
            {"name": "one", "type": money("c.Money", "x")},
            {"name": "two", "type": money("a.c.Money", "y")},
            {"name": "three", "type": money("Cash", "z") | {"namespace": ""}},
            {"name": "which", "type": "c.Money"},
            {"name": "cash", "type": "Cash"},
        ],
    }
    assert isinstance(Schema(raw).find("which.x"), Found)
    assert isinstance(Schema(raw).find("which.y"), MissingPath)
    assert isinstance(Schema(raw).find("cash.z"), Found)  # has no namespace: invalid by the specification, but used


def test_a_name_without_a_dot_is_of_the_space_that_it_stands_in() -> None:
    def money(field: str) -> dict[str, Any]:
        return {"type": "record", "name": "Money", "fields": [{"name": field, "type": "long"}]}

    inside = [{"name": "one", "type": money("y")}, {"name": "two", "type": "Money"}]
    raw = {
        "type": "record",
        "name": "a.Event",
        "fields": [
            {"name": "one", "type": money("x")},
            {"name": "inside", "type": {"type": "record", "name": "c.Inside", "fields": inside}},
            {"name": "two", "type": "Money"},
        ],
    }
    for path in ("one.x", "two.x", "inside.one.y", "inside.two.y"):
        assert isinstance(Schema(raw).find(path), Found), path


def test_a_name_beside_a_type_that_has_none_names_nothing() -> None:
    raw = record(
        first={"type": "long", "name": "Money"},
        second={"type": "record", "name": "Money", "fields": [{"name": "x", "type": "long"}]},
        third="Money",
    )
    assert isinstance(Schema(raw).find("third.x"), Found)


@pytest.mark.parametrize(
    ("kind", "read_as"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, Kind("long", "timestamp-millis")),
        ({"type": "int", "logicalType": "timestamp-millis"}, Kind("int")),
        ({"type": "long", "logicalType": "of our own"}, Kind("long")),
        ({"type": "long", "logicalType": ["none"]}, Kind("long")),
        ({"type": "bytes", "logicalType": "decimal"}, Kind("bytes", "decimal", 0)),
        ({"type": "bytes", "logicalType": "decimal", "scale": 2}, Kind("bytes", "decimal", 2)),
        ({"type": "bytes", "logicalType": "decimal", "scale": -1}, Kind("bytes")),
        ({"type": "bytes", "logicalType": "decimal", "scale": "2"}, Kind("bytes")),
    ],
)
def test_a_logical_type_that_is_unknown_or_stands_on_another_type_is_passed_over(kind: Any, read_as: Kind) -> None:
    found = Schema(record(f=kind)).find("f")
    assert isinstance(found, Found)
    assert found.kinds == {read_as}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("plane", 'the schema has no "plane"; did you mean "plain"?'),
        ("either.xx", '"either" has no "xx"; did you mean "either.x"?'),
        ("inner.q", '"inner" has no "q"; it has x'),
        ("plain.q", '"plain" has no "q" in it'),
    ],
)
def test_a_path_that_the_schema_lacks_tells_the_nearest(path: str, told: str) -> None:
    assert str(Schema(SCHEMA).find(path)) == told


def test_what_there_is_instead_is_told_with_twelve_names_at_most() -> None:
    names = [f"{letter * 9}" for letter in "abcdefghijklm"]
    missing = Schema(record(**dict.fromkeys(names, "string"))).find("0")
    assert str(missing) == f'the schema has no "0"; it has {", ".join(names[:12])}'


def test_leaves_are_every_path_through_records_and_first_items() -> None:
    assert [path for path, _ in Schema(SCHEMA).leaves()] == [
        "plain", "inner.x", "inner", "maybe.x", "maybe", "either.x", "either.x", "either.y", "either", "mixed.x", "mixed.y",
        "mixed", "table", "items[0].x", "items", "few[0].x", "few[0].y", "few", "grid", "odd", "one_or_many", "any", "deep.inner.x", "deep.inner",
        "deep",
    ]  # fmt: skip


def test_leaves_of_a_type_within_itself_go_seven_deep() -> None:
    raw = record(x="string", next=nullable("Event"), more={"type": "array", "items": "string"})
    paths = [path for path, _ in Schema(raw).leaves()]
    depths = [path.count("next") for path in paths if path.endswith("x")]
    assert sorted(depths) == [0, 1, 2, 3, 4, 5, 6]


def test_leaves_come_to_an_end_in_a_schema_without_one() -> None:
    raw = record(**{f"f{at}": "string" for at in range(401)})
    assert [path for path, _ in Schema(raw).leaves()] == [f"f{at}" for at in range(400)]
    wide = record(**{f"f{at}": nullable("Event") for at in range(9)})
    assert len(Schema(wide).leaves()) == 400


def test_a_path_through_unions_of_the_same_records_is_followed_in_no_time() -> None:
    schema = Schema(numbered(forks("abcdefgh", 20)))
    begun = time.perf_counter()
    found = schema.find("f0.a.b.c.d.e.f.g.h")
    assert isinstance(found, Found)
    assert found.kinds == {Kind("int")}
    assert time.perf_counter() - begun < 1
