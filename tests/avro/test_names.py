"""One table of names and references for all code that resolves them: the parser, the inlining of references, paths."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import fastavro
import pytest

from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.hardening import Refused, parse
from stream_capi.avro.names import candidates, full_name, namespace_of, resolve
from stream_capi.avro.writer_schema import WriterSchema, build, definitions
from stream_capi.events.paths import Found, Schema


def money(name: str = "Money", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "x", "type": "long"}], **more}


def holding(inner: Any, name: str = "Holder", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "inner", "type": inner}], **more}


class Case(NamedTuple):
    """A record ``event`` with a first field of type ``defines`` and a second one of type ``reference``."""

    what: str
    event: dict[str, Any]
    defines: dict[str, Any]
    reference: str
    means: str | None
    library_agrees: bool = True  # fastavro resolves references strictly as the specification says

    def __str__(self) -> str:
        return self.what

    @property
    def raw(self) -> dict[str, Any]:
        fields = [{"name": "defines", "type": self.defines}, {"name": "refers", "type": self.reference}]
        return {"type": "record", **self.event, "fields": fields}


OF_A = {"name": "Event", "namespace": "a"}
OF_NONE = {"name": "Event"}
CASES = [
    Case("null namespace", OF_NONE, money(), "Money", "Money"),
    Case("null namespace, stated", {"name": "Event", "namespace": ""}, money(), "Money", "Money"),
    Case("inherited namespace", OF_A, money(), "Money", "a.Money"),
    Case("inherited namespace, in full", OF_A, money(), "a.Money", "a.Money"),
    Case("inherited from a dotted name", {"name": "a.b.Event"}, money(), "Money", "a.b.Money"),
    Case("a dotted name overrules the namespace", {"name": "a.b.Event", "namespace": "z"}, money(), "a.b.Money", "a.b.Money"),
    Case("the overruled namespace is none's", {"name": "a.b.Event", "namespace": "z"}, money(), "z.Money", None),
    Case("own namespace", OF_A, money(namespace="b"), "b.Money", "b.Money"),
    Case("own namespace, without it", OF_A, money(namespace="b"), "Money", None),
    Case("own namespace that is longer", OF_A, money(namespace="a.b"), "Money", None),
    Case("a namespace is not relative", OF_A, money(namespace="a.b"), "b.Money", None),
    Case("dotted name", OF_A, money("b.Money"), "b.Money", "b.Money"),
    Case("dotted name, without its namespace", OF_A, money("b.Money"), "Money", None),
    Case("dotted name with another namespace", OF_A, money("b.Money", namespace="c"), "b.Money", "b.Money"),
    Case("inherited through a type", OF_A, holding(money()), "Money", "a.Money"),
    Case("inherited from the nearest", OF_A, holding(money(), namespace="b"), "b.Money", "b.Money"),
    Case("inherited from the nearest, without it", OF_A, holding(money(), namespace="b"), "Money", None),
    Case("inherited from the nearest's dotted name", OF_A, holding(money(), "b.c.Holder"), "b.c.Money", "b.c.Money"),
    Case("inherited through a list", OF_A, {"type": "array", "items": money()}, "Money", "a.Money"),
    Case("inherited through a map", OF_A, {"type": "map", "values": money()}, "Money", "a.Money"),
    Case("inherited through three", OF_A, holding(holding(money(), "Mid")), "Money", "a.Money"),
    Case("inherited null namespace", OF_A, holding(money(), namespace=""), "Money", "Money", False),
    Case("null namespace from elsewhere", OF_A, money(namespace=""), "Money", "Money", False),
    Case("an alias is no name", OF_A, money(aliases=["Cash"]), "Cash", None),
    Case("a dotted alias is no name", OF_A, money(aliases=["b.Cash"]), "b.Cash", None),
    Case("another name", OF_A, money(), "Cash", None),
    Case("a name is no path", OF_A, holding(money()), "Holder.Money", None),
    Case("capitals count", OF_A, money(), "money", None),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_parser_resolves_it(case: Case) -> None:
    if case.means is None:
        with pytest.raises(Refused, match="unknown type"):
            parse(case.raw)
    else:
        assert dict(parse(case.raw).fields)["refers"].name == case.means


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_reference_to_another_schema_resolves_it(case: Case) -> None:
    """The definition is in another schema of the same namespace; the reference is as before."""
    elsewhere = definitions(case.raw)
    del elsewhere[full_name(case.raw, "")]
    raw = case.raw | {"fields": case.raw["fields"][1:]}
    built = build(FILE_KEY, json.dumps(raw), elsewhere)
    if case.means is None:
        assert "unknown type" in str(built)
    else:
        assert isinstance(built, WriterSchema), built
        assert dict(built.parsed.fields)["refers"].name == case.means


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_path_resolves_it(case: Case) -> None:
    if case.means is not None:  # others are refused before a path is asked for
        assert isinstance(Schema(case.raw).find("refers.x"), Found)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_library_agrees(case: Case) -> None:
    try:
        fastavro.parse_schema(case.raw)
    except fastavro.schema.UnknownType:
        read = False
    else:
        read = True
    assert read == (case.means is not None and case.library_agrees)


def test_of_two_types_the_one_of_the_namespace_is_meant() -> None:
    raw = Case("", OF_A, money(), "Money", "").raw
    raw["fields"].insert(0, {"name": "other", "type": money(namespace="", fields=[{"name": "y", "type": "long"}])})
    assert dict(parse(raw).fields)["refers"].name == "a.Money"
    assert isinstance(Schema(raw).find("refers.x"), Found)
    assert not isinstance(Schema(raw).find("refers.y"), Found)


@pytest.mark.parametrize(
    ("definition", "namespace", "full"),
    [
        ({"name": "R"}, "", "R"),
        ({"name": "R"}, "a.b", "a.b.R"),
        ({"name": "R", "namespace": "c"}, "a.b", "c.R"),
        ({"name": "R", "namespace": ""}, "a.b", "R"),
        ({"name": "c.R"}, "a.b", "c.R"),
        ({"name": "c.R", "namespace": "d"}, "a.b", "c.R"),
        ({"name": ".R"}, "a.b", ".R"),
        ({"name": 5}, "a.b", ""),
        ({"name": None}, "", ""),
        ({}, "a.b", ""),
        ({"name": "R", "namespace": 5}, "a.b", ""),
        ({"name": "R", "namespace": None}, "a.b", ""),
    ],
)
def test_the_full_name_of_a_definition(definition: dict[str, Any], namespace: str, full: str) -> None:
    assert full_name(definition, namespace) == full


@pytest.mark.parametrize(("full", "namespace"), [("R", ""), ("a.R", "a"), ("a.b.R", "a.b"), (".R", ""), ("", "")])
def test_the_namespace_of_a_full_name(full: str, namespace: str) -> None:
    assert namespace_of(full) == namespace


@pytest.mark.parametrize(
    ("name", "namespace", "meant"),
    [("R", "", ("R",)), ("R", "a.b", ("a.b.R", "R")), ("c.R", "a.b", ("c.R",)), (".R", "a", (".R",))],
)
def test_what_a_reference_may_mean(name: str, namespace: str, meant: tuple[str, ...]) -> None:
    assert candidates(name, namespace) == meant
    assert resolve(name, namespace, meant) == meant[0]
    assert resolve(name, namespace, meant[-1:]) == meant[-1]
    assert resolve(name, namespace, ()) is None
