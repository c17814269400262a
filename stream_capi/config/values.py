"""The types of single values, with their validation."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from stream_capi.config.dotted_paths import steps

Scalar = str | int | float | bool


def is_utf_8(text: str) -> bool:
    """Whether a text can be encoded. A variable's may hold bytes that aren't UTF-8, and its JSON lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(text: str) -> str:
    """A text that can stand in a header, a log line or a path: not empty, no control characters, no space around it."""
    if not text:
        raise ValueError("is empty")
    if text != text.strip() or not text.isprintable():
        raise ValueError("has spaces around it or control characters in it")
    return text


def is_topic(text: str) -> bool:
    """Whether Kafka accepts a text as a topic's name."""
    return (
        0 < len(text) <= 249
        and text not in (".", "..")
        and all(c.isascii() and (c.isalnum() or c in "._-") for c in text)
    )


def _topic(text: str) -> str:
    """A topic's name. The client would take one that begins with ``^`` for a pattern, and subscribe to all that match."""
    if not is_topic(text):
        raise ValueError("is not the name of a topic: 1 to 249 letters, digits, dots, underscores and hyphens")
    return text


def _name(text: str) -> str:
    """A pixel's name, which is a label of metrics."""
    if not (0 < len(text) <= 64 and all(c.isascii() and (c.isalnum() or c in "._-") for c in text)):
        raise ValueError("must be 1 to 64 letters, digits, dots, underscores and hyphens")
    return text


def _host(text: str) -> str:
    """A host's name as a browser sends it, without scheme, port or wildcard."""
    labels = text.rstrip(".").split(".")
    if len(text) > 253 or not all(
        0 < len(label) <= 63 and all(c.isascii() and (c.isalnum() or c in "-_") for c in label) for label in labels
    ):
        raise ValueError("is not the name of a host, without scheme, port or wildcard")
    return text


def _path(text: str) -> str:
    """A dotted path into a record."""
    steps(text)
    return text


def _scalar(given: Any) -> Scalar:
    """Validate with one message for a wrong value; pydantic's union would give one for each of its members."""
    if isinstance(given, str) and not is_utf_8(given):
        raise ValueError("has a lone surrogate in it, or came from bytes that are not UTF-8")
    if isinstance(given, bool | int | str) or (isinstance(given, float) and math.isfinite(given)):
        return given
    raise ValueError("must be text, a number or true or false")


def _client_value(given: Any) -> str | int:
    """A property in librdkafka's form: it parses neither Python's ``True`` nor ``5000.0``."""
    value = _scalar(given)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return int(value) if value.is_integer() else str(value)
    return value


Text = Annotated[str, AfterValidator(_plain)]
Topic = Annotated[str, AfterValidator(_topic)]
Path = Annotated[str, AfterValidator(_path)]
HostName = Annotated[str, AfterValidator(_host)]
PixelName = Annotated[str, AfterValidator(_name)]
_SCALAR_SCHEMA: JsonSchemaValue = {"type": ["string", "number", "boolean"]}
ClientValue = Annotated[str | int, PlainValidator(_client_value), WithJsonSchema(_SCALAR_SCHEMA)]
Value = Annotated[Scalar, PlainValidator(_scalar), WithJsonSchema(_SCALAR_SCHEMA)]
Event = Literal["generate_lead", "page_view"]
Amount = Annotated[float, Field(strict=True, ge=0)]


class Section(BaseModel):
    """A table of the file. Unknown keys are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class OrOneAlone:
    """Says in the JSON Schema that one table stands for a list of one."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(core)
        return {"anyOf": [several, several["items"]]}


class FieldRule(Section):
    """Where a field comes from: the first of ``paths`` that is not null, else a constant.

    ``map``: a table in which the value found is looked up; the constant also replaces a value that is not in it. ``unit``:
    the unit of a number whose schema has no logical type that says it.
    """

    paths: tuple[str, ...] = ()
    const: Any = None
    has_const: bool = False
    map: dict[str, Any] | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None


# The JSON Schemas, for editors, of what ``field_rule`` and ``region_rule`` accept.
_CONST_SCHEMA: JsonSchemaValue = {
    "type": "object",
    "properties": {"const": _SCALAR_SCHEMA},
    "required": ["const"],
    "additionalProperties": False,
}
_PATH_SCHEMA: JsonSchemaValue = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, _CONST_SCHEMA]}, "minItems": 1},
    ]
}
_UNITS = ("s", "ms", "us", "ns")
RULE_SCHEMA: JsonSchemaValue = {
    "anyOf": [
        *_PATH_SCHEMA["anyOf"],
        _CONST_SCHEMA,
        {
            "type": "object",
            "properties": {
                "path": _PATH_SCHEMA,
                "unit": {"enum": list(_UNITS)},
                "map": {"type": "object", "additionalProperties": _SCALAR_SCHEMA, "minProperties": 1},
                "default": _SCALAR_SCHEMA,
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    ]
}
REGION_SCHEMA: JsonSchemaValue = {
    "anyOf": [
        {"type": "string", "pattern": "^[A-Za-z]{2}$"},
        {"type": "object", "properties": {"path": _PATH_SCHEMA}, "required": ["path"], "additionalProperties": False},
    ]
}


def region_rule(given: Any) -> Any:
    """Parse a country: two letters, or the path of a value that holds them."""
    if given is None or isinstance(given, FieldRule):
        return given
    if isinstance(given, dict) and set(given) == {"path"}:
        return field_rule(given)
    if isinstance(given, str) and len(given) == 2 and given.isascii() and given.isalpha():
        return FieldRule(const=given.upper(), has_const=True)
    raise ValueError('must be a country of two letters such as "US", or { path = "…" }')


_FORMS = (
    'must be "path", ["first", "second", { const = … }], { path = "…", unit = "s" }, '
    '{ path = "…", map = { … }, default = … } or { const = … }'
)


def field_rule(given: Any) -> Any:
    """Parse a rule that is written in one of ``_FORMS``."""
    if isinstance(given, FieldRule):
        return given
    table = given if isinstance(given, dict) else {"path": given}
    if set(table) == {"const"}:
        return FieldRule(const=_scalar(table["const"]), has_const=True)
    if "path" not in table or not set(table) <= {"path", "unit", "map", "default"}:
        raise ValueError(_FORMS)
    paths = list(table["path"]) if isinstance(table["path"], list) else [table["path"]]
    consts = [_scalar(table["default"])] if "default" in table else []
    if len(paths) > 1 and isinstance(paths[-1], dict) and set(paths[-1]) == {"const"}:
        consts.append(_scalar(paths.pop()["const"]))
    if not paths or not all(isinstance(path, str) for path in paths):
        raise ValueError(_FORMS)
    if len(consts) > 1:
        raise ValueError("has a default and a const at the end of its list; one of them is enough")
    unit = table.get("unit")
    if unit is not None and unit not in _UNITS:
        raise ValueError(f"has a unit that is not one of {', '.join(_UNITS)}")
    const = consts[0] if consts else None
    values = _value_table(table["map"]) if "map" in table else None
    return FieldRule(paths=tuple(map(_path, paths)), unit=unit, map=values, const=const, has_const=bool(consts))


def _value_table(given: Any) -> dict[str, Scalar]:
    """Validate ``map``: from a record's value to the value of the field."""
    if not isinstance(given, dict) or not given:
        raise ValueError('has a map that is not a table of values, as map = { WEB = "web" }')
    return {key: _scalar(value) for key, value in given.items()}
