"""Hostile or odd schemas that somebody may register, each with the expected result, whatever code parses them.

``why`` is a part of the reason for refusing a schema; None if the schema is odd but must work. ``text`` is the answer of
the registry: mostly JSON, sometimes not even a string.
"""

from __future__ import annotations

import json
import keyword
from typing import Any, NamedTuple

from tests.avro.records import record


class Hostile(NamedTuple):
    what: str
    text: Any
    why: str | None

    def __str__(self) -> str:
        return self.what


def named(kind: str = "record", name: str = "Inner", **more: Any) -> dict[str, Any]:
    of_kind: dict[str, dict[str, Any]] = {
        "record": {"fields": [{"name": "x", "type": "int"}]},
        "enum": {"symbols": ["web", "app"]},
        "fixed": {"size": 2},
    }
    return {"type": kind, "name": name, **of_kind[kind], **more}


def nested(
    levels: int, wrap: Any = lambda inner, level: named(name=f"N{level}", fields=[{"name": "n", "type": inner}])
) -> Any:
    raw: Any = "int"
    for level in range(levels):
        raw = wrap(raw, level)
    return raw


def deep(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


def fixeds(count: int) -> list[Any]:
    return ["null", *(named("fixed", f"F{k}") for k in range(count - 1))]


def forks(levels: str, each: int, at: int = 0) -> list[Any]:
    """A union of records, each with a field that is a union of the next level's records: each ** len(levels) ways."""
    names = [f"{levels[at].upper()}{k}" for k in range(each)]
    below = forks(levels, each, at + 1) if at + 1 < len(levels) else ["int"]
    again = [one if isinstance(one, str) else one["name"] for one in below]
    return [
        named(name=name, fields=[{"name": levels[at], "type": again if k else below}]) for k, name in enumerate(names)
    ]


WIDE = ["null", "string", "long", "double", "boolean", "bytes", "int", "float"]
WORDS = [
    *keyword.kwlist,
    "row",
    "v",
    "make",
    "self",
    "UNFIT",
    "dumps",
    "__class__",
    "__import__('os')",
    "buf",
    "i",
    "f'{x}'",
    "c1",
    "a b",
]
PARTS = (
    "items",
    "values",
    "symbols",
    "size",
    "fields",
    "namespace",
    "default",
    "aliases",
    "logicalType",
    "precision",
    "scale",
    "doc",
    "order",
)
NO_TEXTS: tuple[Any, ...] = (5, None, True, 1.5, [], {}, b"{}")
ODD: tuple[Any, ...] = (
    5,
    None,
    True,
    "no",
    [],
    {},
    [{}],
    {"type": "record", "name": "X"},
    {"type": "enum"},
    [["null"]],
    10**400,
    -1,
)
NUL, HIGH, LOW, LINE, ESCAPE = "a\0b", "a\ud800b", "a\udc80b", "a\nb", "a\x1b[2Jb"


def schemas() -> list[Hostile]:
    rows: list[tuple[str, Any, str | None]] = [
        ("a union of 256 branches", record(fixeds(256)), None),
        ("a union of 257 branches", record(fixeds(257)), "more than 256 branches"),
        ("a union of 3,000 branches", record(fixeds(3_000)), "more than 256 branches"),
        ("a union of unions", record(["null", ["null", "int"]]), "holds a union"),
        ("2,000 fields", record(*[["null", "string"]] * 2_000), None),
        ("4,990 fields", record(*[["null", "string"]] * 4_990), "more than 2000 fields"),
        ("8,000 types", record(*[WIDE] * 888), None),
        ("9,000 types", record(*[WIDE] * 1_000), "more than 8000 types"),
        ("fields of the records inside", record(*(named(name=f"I{k}", fields=[{"name": f"x{n}", "type": "int"} for n in range(99)])
                                                   for k in range(30))), "more than 2000 fields"),
        ("one record in 700 places", record(named(fields=[{"name": f"x{n}", "type": WIDE} for n in range(99)]), *["Inner"] * 700), None),
        ("an enum of 10,000 symbols", record(named("enum", symbols=[f"s{k}" for k in range(10_000)])), None),
        ("an enum of 10,001 symbols", record(named("enum", symbols=[f"s{k}" for k in range(10_001)])), "more than 10000 symbols"),
        ("a name of 1,024 characters", record(named(name="n" * 1_024)), None),
        ("a name of a million characters", record(named(name="n" * 1_000_000)), "more than 1024 characters"),
        ("a name that is unknown, of a million characters", record("n" * 1_000_000), "more than 1024 characters"),
        ("a symbol of a million characters", record(named("enum", symbols=["n" * 1_000_000])), "more than 1024 characters"),
        ("two megabytes of documentation", record("int") | {"doc": "d" * 2_000_000}, "longer than"),
        ("records, 63 deep", nested(63), None),
        ("records, 64 deep", nested(64), "deeper than 64"),
        ("arrays, 300 deep", record(nested(300, lambda inner, _: {"type": "array", "items": inner})), "deeper than 64"),
        ("wrapped types, 300 deep", record(nested(300, lambda inner, _: {"type": inner})), "deeper than 64"),
        ("unions, 300 deep", record(nested(300, lambda inner, _: [inner])), "deeper than 64"),
        ("a default 900 deep", {**record("int"), "fields": [{"name": "f0", "type": "int", "default": deep(900)}]}, None),
        ("an attribute 900 deep", record("int") | {"items": deep(900)}, None),
        ("two nulls in a record of two in …", nested(40, lambda inner, level: named(name=f"L{level}", fields=[
            {"name": "a", "type": inner}, {"name": "b", "type": inner if isinstance(inner, str) else inner["name"]}])), "too much memory"),
        *((f"{each} records, each of the same {each}, {len(levels)} deep", record(forks(levels, each)), None)
          for levels, each in (("xy", 60), ("xyz", 48), ("xyzabcd", 30))),
        ("recursive", record(named(fields=[{"name": "x", "type": ["null", "Inner"]}])), "recursive"),
        ("recursive through its namespace", record(named(namespace="n", fields=[{"name": "x", "type": ["null", "Inner"]}])), "recursive"),
        ("recursive by its full name", record(named(name="n.Inner", fields=[{"name": "x", "type": ["null", "n.Inner"]}])), "recursive"),
        ("not recursive: of another namespace", record(named(), named(namespace="n", fields=[{"name": "x", "type": "Inner"}])), "recursive"),
        ("the same name in two namespaces", record(named(), named(namespace="n")), None),
        ("the same name twice", record(named(), named("enum")), "defined twice"),
        ("the same name twice, by its namespace", record(named(name="n.Inner"), named("fixed", namespace="n")), "defined twice"),
        ("the same field twice", record("int") | {"fields": [{"name": "x", "type": "int"}] * 2}, "no name of its own"),
        ("a field without a name", record("int") | {"fields": [{"name": "", "type": "int"}]}, "no name of its own"),
        ("a name of dots", record(named(name="..."), named("enum", name=".a"), named("fixed", name="a.")), None),
        ("a namespace of dots", record(named(namespace="."), "..Inner"), None),
        ("a namespace that is none", record(named(namespace=5)), "no name"),
        ("an empty namespace", record(named(namespace=""), "Inner"), None),
        ("a name with a quote", record(named(name='a\'b"c'), named("enum", name="{x}\\")), None),
        *((f"{kind} called {name}", record(named(kind, name)), "like a primitive") for kind in ("record", "enum", "fixed")
          for name in ("string", "null", "n.long", "a.b.bytes")),
        *((f"{kind} called n.{name} by its namespace", record(named(kind, name, namespace="n")), "like a primitive")
          for kind in ("record", "enum", "fixed") for name in ("string", "null", "int")),
        *((f"a type called {name}", record(named(name=name), name), None) for name in ("array", "map", "union", "record", "error")),
        *((f"{what} {text!r}", raw, "control characters") for text in (NUL, HIGH, LOW, LINE, ESCAPE, "\u2028") for what, raw in (
            ("the top's name", {**record("int"), "name": text}), ("a name", record(named(name=text))),
            ("a namespace", record(named(namespace=text))), ("a field", record(named(fields=[{"name": text, "type": "int"}]))),
            ("a symbol", record(named("enum", symbols=["web", text]))), ("an unknown type", record(text)))),
        *((f"fields called {', '.join(words)}", record("int") | {"fields": [{"name": word, "type": WIDE} for word in words]}, None)
          for words in (WORDS,)),
        *((f"symbols called {', '.join(words[:3])} …", record(named("enum", symbols=words)), None) for words in (WORDS,)),
        *((f"a foreign {part} on a {kind}: {str(odd)[:20]}", record(named(kind, **{part: odd})), None)
          for kind, own in (("record", ("fields", "namespace")), ("enum", ("symbols", "namespace")), ("fixed", ("size", "namespace")))
          for part in PARTS if part not in own for odd in ODD),
        *((f"a foreign {part} on a string: {str(odd)[:20]}", record({"type": "string", part: odd}), None) for part in PARTS for odd in ODD),
        *((f"a foreign {part} on a decimal: {str(odd)[:20]}", record({"type": "bytes", "logicalType": "decimal", "precision": 4, part: odd}), None)
          for part in PARTS if part != "logicalType" for odd in ODD),
        *((f"a default that is no int: {str(odd)[:20]}", {**record("int"), "fields": [{"name": "f0", "type": "int", "default": odd}]}, None)
          for odd in ODD),
        *((f"aliases on a field: {str(odd)[:20]}", {**record("int"), "fields": [{"name": "f0", "type": "int", "aliases": odd}]}, None)
          for odd in ODD),
        *((f"a top that is {str(odd)[:20]}", odd, "") for odd in ODD),
        *((f"fields that are {str(odd)[:20]}", {"type": "record", "name": "R", "fields": odd}, "") for odd in ODD if odd != []),
        ("no fields", {"type": "record", "name": "R", "fields": []}, None),
        *((f"a type that is {str(odd)[:20]}", record(odd), "") for odd in ODD),
        *((f"items that are {str(odd)[:20]}", record({"type": "array", "items": odd}), "") for odd in ODD),
        *((f"a size that is {str(odd)[:20]}", record(named("fixed", size=odd)), "no size") for odd in ODD if odd != 5),
        *((f"symbols that are {str(odd)[:20]}", record(named("enum", symbols=odd)), "no symbols") for odd in ODD),
    ]  # fmt: skip
    texts: list[tuple[str, Any, str | None]] = [
        *((f"an answer of {answer!r}", answer, "not text") for answer in NO_TEXTS),
        *(
            (f"a text of {text[:8]!r}", text, "not JSON")
            for text in ("", "{", "[" * 100_000, '{"type":' * 100_000, "\ufeff{}", "1" * 5_000)
        ),
        ("a million brackets", "[" * 1_000_000, "not JSON"),
        ("two million brackets", "[" * 2_000_000, "longer than"),
        ("not a number", "NaN", ""),
    ]
    return [*(Hostile(what, json.dumps(raw), why) for what, raw, why in rows), *(Hostile(*row) for row in texts)]
