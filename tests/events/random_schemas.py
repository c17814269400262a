"""Random schemas, records of them, and mappings onto them, for property tests.

A random value in a required field mostly rejects the event, and then no other field is tested. So each record has a
sound part too, and most mappings take the required fields from it. Texts are often a canary, which no error may repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from hypothesis import strategies as st

from stream_capi.config.settings import TARGETS

Draw = Callable[[st.SearchStrategy[Any]], Any]

CANARY = "c4n4ry"
_LOGICAL = {
    "int": ("date", "time-millis"),
    "long": ("timestamp-millis", "timestamp-micros", "timestamp-nanos", "local-timestamp-millis", "time-micros"),
    "bytes": ("decimal",),
    "string": ("uuid", "timestamp-millis"),
}
_SENSIBLE = (
    "https://shop.example/x?aleid=1", "https://shop.example", "203.0.113.9", "2001:db8::1", "10.0.0.1", "web", "app", "USD",
    "a@b.example", "16505551212", "ab" * 32, "US", "94025", "iOS", "2025-03-12T13:01:25Z", "1741784485", "30.5", "true",
    "main", "strict", "lead", "view", "", "  ",
)  # fmt: skip
_CANARIES = (
    CANARY, f"{CANARY}@x.example", f"https://{CANARY}.example/{CANARY}?aleid={CANARY}", f"http://[{CANARY}]/", f"1.2.3.4 {CANARY}",
)  # fmt: skip
texts = st.one_of(
    st.sampled_from(_SENSIBLE),
    st.sampled_from(_CANARIES),
    st.text(max_size=30),
    st.text("https://[]:@?#%.&=0123456789abcdefABCDEF+- \té", max_size=40).map(lambda text: f"http://{text}"),
    st.text("0123456789.:abcdefTZ+-/ ", max_size=40),
)
_INTS = st.one_of(
    st.sampled_from((0, -1, 1_741_784_485, 1_741_784_485_123, 1_741_784_485_123_456)), st.integers(-(2**63), 2**63 - 1)
)
_FLOATS = st.one_of(st.sampled_from((0.0, -0.0, 30.0, 1_741_784_485.5, 5e-324)), st.floats())
_names = st.sampled_from(("email", "url", "at", "ip", "id", "kind", "event_time", "value", "esi", "a b", "é"))
_LEAVES = ("string", "string", "string", "int", "long", "double", "float", "boolean", "bytes", "null")


SOUND: dict[str, Any] = {
    "at": {"type": "long", "logicalType": "timestamp-millis"},
    "url": "string",
    "ip": "string",
    "agent": "string",
    "esi": {"type": "enum", "name": "Esi", "symbols": ["web", "app"]},
    "currency": ["null", "string"],
    "value": ["null", "double"],
    "id": ["null", "string"],
    "kind": "string",
    "pixel": "string",
    "ok": ["null", "boolean"],
}
SOUND_TARGETS = {
    "event_time": "sound.at",
    "event_source_url": "sound.url",
    "user_data.client_ip_address": "sound.ip",
    "user_data.client_user_agent": "sound.agent",
    "user_data.esi": "sound.esi",
    "data.currency": "sound.currency",
    "data.value": "sound.value",
    "user_data.client_id": "sound.id",
}


def rarely(draw: Draw) -> bool:
    return bool(draw(st.sampled_from((False,) * 9 + (True,))))


def mostly(draw: Draw, sound: tuple[Any, ...], other: tuple[Any, ...]) -> Any:
    return draw(st.sampled_from(other if rarely(draw) else sound))


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A self-contained record schema, at most three levels deep, with a sound part."""
    raw = _record(draw, 0, count())
    fields = [{"name": name, "type": kind} for name, kind in SOUND.items()]
    raw["fields"].append({"name": "sound", "type": {"type": "record", "name": "Sound", "fields": fields}})
    return raw


def sound(draw: Draw) -> dict[str, Any]:
    """Values for the required fields, nearly always valid."""
    now = 1_741_784_500_000
    return {
        "at": draw(st.sampled_from((now, now, now, now - 1, now - 70_000, now - 10**12, now + 600_000, now + 600_001))),
        "url": mostly(
            draw, ("https://shop.example/?alart=T", "https://[2001:db8::1]/", "http://é.example"), ("/x", "")
        ),
        "ip": mostly(draw, ("203.0.113.9", "2001:db8::1"), ("10.0.0.1", "here")),
        "agent": mostly(draw, ("agent", "  agent é"), (" ",)),
        "esi": draw(st.sampled_from(("web", "app"))),
        "currency": mostly(draw, ("USD", " eur"), (None, "", "?")),
        "value": mostly(draw, (30.0, -0.0), (None, -1.0)),
        "id": mostly(draw, ("c-1", "42", None), ("",)),
        "kind": mostly(draw, ("lead", "view"), ("true", "other")),
        "pixel": mostly(draw, ("main", "strict"), (CANARY,)),
        "ok": draw(st.sampled_from((True, False, None))),
    }


def _record(draw: Draw, depth: int, numbers: Iterator[int]) -> dict[str, Any]:
    names = draw(st.lists(_names, min_size=1, max_size=5, unique=True))
    fields = [{"name": name, "type": _type(draw, depth + 1, numbers)} for name in names]
    return {"type": "record", "name": f"R{next(numbers)}", "fields": fields}


def _type(draw: Draw, depth: int, numbers: Iterator[int], in_union: bool = False) -> Any:
    wide = ("leaf", "leaf", "leaf", "logical", "enum", "fixed", "union", "record", "array", "map", "records")
    shapes = wide if depth < 3 else wide[:6]
    shape = draw(st.sampled_from([one for one in shapes if not (in_union and one in ("union", "records"))]))
    if shape == "leaf":
        return draw(st.sampled_from(_LEAVES if depth == 1 else _LEAVES[:-1]))
    if shape == "logical":
        kind = draw(st.sampled_from(sorted(_LOGICAL)))
        logical = draw(st.sampled_from(_LOGICAL[kind]))
        return {"type": kind, "logicalType": logical, "scale": draw(st.sampled_from((0, 2, 400)))}
    if shape == "enum":
        symbols = draw(st.sampled_from((["web", "app"], ["lead", "view"], ["USD"], [CANARY])))
        return {"type": "enum", "name": f"E{next(numbers)}", "symbols": symbols}
    if shape == "fixed":
        logical = draw(st.sampled_from(("uuid", "decimal", "none")))
        return {
            "type": "fixed",
            "name": f"F{next(numbers)}",
            "size": draw(st.sampled_from((4, 16))),
            "logicalType": logical,
        }
    if shape == "union":
        return ["null", _not_null(_type(draw, depth, numbers, in_union=True))]
    if shape == "record":
        return _record(draw, depth, numbers)
    if shape == "records":
        return ["null", _record(draw, depth, numbers), _record(draw, depth, numbers)]
    item = _not_null(_type(draw, depth + 1, numbers))
    return {"type": "array", "items": item} if shape == "array" else {"type": "map", "values": item}


def _not_null(kind: Any) -> Any:
    """Replace null: a schema with an array of nulls is refused, and a union may have null only once."""
    return "string" if kind == "null" else kind


def plain(raw: Any) -> Any:
    """The schema without logical types, so that the encoder accepts values as the decoder returns them."""
    if isinstance(raw, list):
        return [plain(branch) for branch in raw]
    if isinstance(raw, dict):
        return {key: plain(value) for key, value in raw.items() if key not in ("logicalType", "scale")}
    return raw


def values(draw: Draw, raw: Any) -> Any:
    """A value of a schema, in the form that the encoder accepts."""
    if isinstance(raw, list):
        branch = draw(st.sampled_from(raw))
        value = values(draw, branch)
        return (branch["name"], value) if isinstance(branch, dict) and branch["type"] == "record" else value
    kind = raw["type"] if isinstance(raw, dict) else raw
    if kind == "record" and raw["name"] == "Sound":
        return sound(draw)
    if kind == "record":
        return {field["name"]: values(draw, field["type"]) for field in raw["fields"]}
    if kind == "array":
        return [values(draw, raw["items"]) for _ in range(draw(st.integers(0, 2)))]
    if kind == "map":
        keys = draw(st.lists(st.sampled_from(("k", "0", "ads", "x.y")), max_size=2, unique=True))
        return {key: values(draw, raw["values"]) for key in keys}
    if kind == "enum":
        return draw(st.sampled_from(raw["symbols"]))
    if kind == "fixed":
        return draw(st.binary(min_size=raw["size"], max_size=raw["size"]))
    leaves: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": _INTS,
        "float": st.floats(width=32),
        "double": _FLOATS,
        "bytes": st.binary(max_size=70),
        "string": texts,
    }
    return draw(leaves[kind])


def paths(raw: Any, before: str = "") -> list[str]:
    """The schema's paths, through records, maps and arrays."""
    if isinstance(raw, list):
        return [path for branch in raw for path in paths(branch, before)]
    kind = raw["type"] if isinstance(raw, dict) else raw
    found = [before] if before else []
    if kind == "record":
        for field in raw["fields"]:
            found += paths(field["type"], f"{before}.{field['name']}".removeprefix("."))
    elif kind == "array":
        found += paths(raw["items"], f"{before}[0]")
    elif kind == "map":
        for key in ("k", "0", '"x.y"'):
            found += paths(raw["values"], f"{before}.{key}")
    return found


CONSTANTS = {
    "event_source_url": "https://shop.example/c",
    "data.currency": "EUR",
    "data.value": 12,
    "user_data.esi": "app",
    "user_data.client_ip_address": "203.0.113.7",
    "user_data.client_user_agent": "agent",
    "user_data.user_id": "4711",
}


MAPPED_TO: dict[str, tuple[Any, ...]] = {
    "event_source_url": ("https://shop.example/m",),
    "data.currency": ("USD", "EUR"),
    "data.value": (0, 1.5),
    "user_data.esi": ("web", "app"),
    "user_data.user_id": ("4711", " u "),
    "user_data.email": ("A@b.example",),
    "user_data.sid": ("s", " "),
    "user_data.zip": ("2138",),
}


MAPPED_TO_ALONE: dict[str, tuple[Any, ...]] = {  # without a default: these differ from event to event
    "event_time": (1_741_784_485_000, 1_741_784_500_000 - 70_000, 10**11),
    "event_id": ("e-1", " e "),
    "dedupe_id": ("d-1", "null"),
}


def _value_table(draw: Draw, path: st.SearchStrategy[str], target: str) -> Any:
    """A rule with a table of values and perhaps a default, or paths with a constant at the end."""
    value = st.sampled_from(MAPPED_TO[target])
    paths = draw(st.lists(path, min_size=1, max_size=2))
    if draw(st.booleans()):
        return [*paths, {"const": draw(value)}]
    keys = st.sampled_from((*_SENSIBLE[4:8], "USD", "true", "30", "0", "1741784485", "lead", "", CANARY))
    rule: dict[str, Any] = {"path": paths, "map": draw(st.dictionaries(keys, value, min_size=1, max_size=5))}
    return rule | ({"default": draw(value)} if draw(st.booleans()) else {})


@st.composite
def sources(draw: st.DrawFn, known: list[str]) -> dict[str, Any]:
    """The settings of a source whose mapping uses paths from ``known``, and now and then an unknown one."""
    path = st.sampled_from([*known, "nowhere"])
    fields: dict[str, Any] = {}
    for target in draw(st.lists(st.sampled_from(TARGETS), max_size=12, unique=True)):
        fields[target] = draw(st.one_of(path, st.lists(path, min_size=1, max_size=3)))
    for target, of_sound in SOUND_TARGETS.items():
        if not rarely(draw):
            fields[target] = of_sound if draw(st.booleans()) else ["nowhere", of_sound]
    if rarely(draw):
        fields["event_time"] = {"path": draw(path), "unit": draw(st.sampled_from(("s", "ms", "us")))}
    if rarely(draw):
        target = draw(st.sampled_from(sorted(MAPPED_TO_ALONE)))
        given = st.dictionaries(
            st.sampled_from(("lead", "view", "web", "30")), st.sampled_from(MAPPED_TO_ALONE[target]), min_size=1
        )
        several = st.lists(path | st.just("sound.kind"), min_size=1, max_size=2)
        fields[target] = {"path": draw(several), "map": draw(given)}
    for target in draw(st.lists(st.sampled_from(sorted(CONSTANTS)), max_size=3, unique=True)):
        fields[target] = {"const": CONSTANTS[target]}
    for target in draw(st.lists(st.sampled_from(sorted(MAPPED_TO)), max_size=3, unique=True)):
        fields[target] = _value_table(draw, path, target)
    source: dict[str, Any] = {"fields": fields} | _route(draw, path)
    if rarely(draw):
        conditions = [{"present": True}, {"present": False}, {"equals": "web"}, {"in": [30, True]}]
        condition: dict[str, Any] = draw(st.sampled_from(conditions))
        source["where"] = {"field": draw(path), **condition}
    if draw(st.booleans()):
        source["phone_region"] = {"path": draw(path)} if draw(st.booleans()) else draw(st.sampled_from(("US", "DE")))
    if source.get("event") != "page_view":
        if rarely(draw):
            table: dict[str, Any] = {"field": draw(path), "table": {"web": 1.5, "30": 30.0, "true": 1.0, "": 2.0}}
            source["values"] = table | {"default": 0.0} if draw(st.booleans()) else table
        if draw(st.booleans()):
            source["default_currency"] = "EUR"
    return source


def _route(draw: Draw, path: st.SearchStrategy[str]) -> dict[str, Any]:
    source: dict[str, Any] = {}
    if draw(st.booleans()):
        source["event"] = draw(st.sampled_from(("generate_lead", "page_view")))
    else:
        events: dict[str, Any] = {"lead": "generate_lead", "view": "page_view", "true": "skip"}
        if draw(st.booleans()):
            events["*"] = "generate_lead"
        source |= {"event_field": draw(path) if rarely(draw) else "sound.kind", "events": events}
    if draw(st.booleans()):
        source["pixel"] = draw(st.sampled_from(("main", "strict")))
    else:
        source["pixel_field"] = draw(path) if rarely(draw) else "sound.pixel"
    if draw(st.booleans()):
        source["consent_field"] = draw(path) if rarely(draw) else "sound.ok"
        source["without_consent"] = draw(st.sampled_from(("skip", "strip", "strip")))
        if rarely(draw):
            source["consent_purposes"] = ["ads"]
    return source


deliveries = st.fixed_dictionaries(
    {},
    optional={
        "private_ip": st.sampled_from(("deliver", "refuse")),
        "hash": st.sampled_from(("local", "passthrough")),
        "max_age_seconds": st.sampled_from((0, 60)),
    },
)
