"""Files generated from the settings: docs/configuration.md, its JSON Schema, and the schema of the Helm chart's values.

``python -m tests.deploy.configuration_page`` writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stream_capi.config.environment import PREFIX
from stream_capi.config.json_schema import json_schema
from stream_capi.config.settings import Settings
from stream_capi.config.shape import is_list, section_at
from stream_capi.config.values import Section
from tests.deploy.program import ROOT

PAGE = ROOT / "docs/configuration.md"
SCHEMA = ROOT / "docs/configuration.schema.json"
VALUES_SCHEMA = ROOT / "deploy/helm/values.schema.json"
_ADDS = {"ge": "from {}", "gt": "above {}", "le": "to {}"}
_INTRODUCTION = """# Configuration

<!-- Written by `make docs` from stream_capi/config/settings.py. Change it there. -->

Every key of the configuration file. [contract.md](contract.md#3-configuration) has them all in one file, with the rules that join several of them;
[mapping.md](mapping.md) explains those of a source. A relative path of a file starts at the folder of the configuration file. `stream-capi check`
reports every fault at once.

## By the environment

Each key can be set by the variable in its row, which overrides the file. Write text as it is, and numbers, `true`, lists and tables as JSON. The `0` is
the place in the list: the second pixel is `STREAM_CAPI_PIXELS__1__…`. A table is merged into the file's. In `properties` and `fields`, write `__` for
each dot of a name: `STREAM_CAPI_KAFKA__PROPERTIES__SASL__PASSWORD`, `STREAM_CAPI_SOURCES__0__FIELDS__USER_DATA__EMAIL`.

Variables such as `STREAM_CAPI_DEFAULT__ADMIN__HOST` replace the program's default of one key, and the file overrides them. They work for sections that are
not lists, and are meant for those who package the program: the image sets this one to `::`, because a container is probed from outside.

## In an editor

[configuration.schema.json](configuration.schema.json) is the file's JSON Schema; the one of an installed version is printed by:

```console
$ stream-capi config-schema > stream-capi.schema.json
```

Editors with taplo (in VS Code: Even Better TOML) complete keys, show these descriptions, and mark unknown keys and wrong types, once the first line of
the configuration is:

```toml
#:schema ./stream-capi.schema.json
```

CI can validate a file with any validator for JSON Schema (draft 7) that reads TOML. The schema requires no key, because the environment may set it, and
it has no rules that join several keys: `stream-capi check` checks those, and what only the brokers and the registry know.
"""


class Key(NamedTuple):
    """A key of the configuration file."""

    place: tuple[str, ...]  # of its table
    name: str
    field: FieldInfo

    @property
    def path(self) -> tuple[str, ...]:
        """Its path in the file, without the indices of lists."""
        return (*self.place, self.name)

    @property
    def variable(self) -> str:
        """The environment variable that sets it; in a list, the one for the first entry."""
        return PREFIX + "__".join(_with_indices(self.path)).upper()

    @property
    def unit(self) -> str:
        """The unit of its number."""
        extra = self.field.json_schema_extra
        return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def tables(place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Each table of the file below ``place``, with its own place."""
    for name in (section_at(place) or Settings).model_fields:
        if (inner := section_at([*place, name])) is not None:
            yield (*place, name), inner
            yield from tables((*place, name))


def keys() -> list[Key]:
    """All keys except those that are tables of keys."""
    return [
        Key(place, field.alias or name, field)
        for place, table in tables()
        for name, field in table.model_fields.items()
        if section_at([*place, name]) is None or field.examples
    ]


def _with_indices(path: tuple[str, ...]) -> Iterator[str]:
    for at, step in enumerate(path):
        yield step
        if at + 1 < len(path) and _is_list(path[: at + 1]):
            yield "0"


def _is_list(place: tuple[str, ...]) -> bool:
    return is_list(place[0]) if len(place) == 1 else place == ("sources", "where")


def toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return (
            f"{{ {', '.join(f'{_toml_key(key)} = {toml(inner)}' for key, inner in value.items())} }}" if value else "{}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, "", PydanticUndefined):
        return "none"
    return f"`{toml(field.default)}`"


def _bounds(field: FieldInfo) -> str:
    found = {name: getattr(rule, name) for rule in field.metadata for name in _ADDS if hasattr(rule, name)}
    return " ".join(words.format(found[name]) for name, words in _ADDS.items() if name in found)


def _choices(schema: Mapping[str, Any]) -> str:
    return ", ".join(f"`{toml(choice)}`" for choice in schema.get("enum", ()))


def _kind(key: Key, schema: Mapping[str, Any]) -> str:
    """The description of a key's values: the choices, or the type with its unit and bounds."""
    if choices := _choices(schema):
        return choices
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    several = {"array": "list", "object": "table"}
    kind = schema.get("type")
    if isinstance(kind, list):
        name = "text, number, true or false"
    elif kind is None:
        name = "list of tables" if key.path[-1] == "where" else "table" if "$ref" in str(schema) else "text or table"
    else:
        name = (kinds | several)[kind]
    return ", ".join(filter(None, (name, key.unit, _bounds(key.field))))


def _row(key: Key, schema: Mapping[str, Any]) -> str:
    examples = ", ".join(f"`{key.name} = {toml(example)}`" for example in key.field.examples or ())
    cells = (
        f"`{key.name}`",
        key.field.description,
        _kind(key, schema),
        _default(key.field),
        examples,
        f"`{key.variable}`",
    )
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def page() -> str:
    """The text of docs/configuration.md."""
    sections, text = json_schema()["$defs"], _INTRODUCTION
    for place, table in tables():
        name = ".".join(place)
        title = f"[[{name}]]" if _is_list(place) else f"[{name}]"
        schema = sections[table.__name__]
        text += f"\n## {title}\n\n{schema['description']}\n\n"
        text += "| key | what it says | value | default | example | variable |\n|---|---|---|---|---|---|\n"
        text += "".join(_row(key, schema["properties"][key.name]) for key in keys() if key.place == place)
    return text


def schema_text() -> str:
    """The text of docs/configuration.schema.json, as the command prints it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def values_schema_text() -> str:
    """The text of the chart's values.schema.json: its part ``settings`` is generated, the rest is kept as it is."""
    schema, settings = json.loads(VALUES_SCHEMA.read_text("utf-8")), json_schema()
    schema["$defs"] = settings["$defs"]
    of_settings = {name: settings[name] for name in ("type", "additionalProperties", "properties")}
    schema["properties"]["settings"] = {"description": "stream-capi.toml, as values."} | of_settings
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


TEXTS = {PAGE: page, SCHEMA: schema_text, VALUES_SCHEMA: values_schema_text}


def write(folder: Path | None = None) -> None:
    """Write all files to their places, or into ``folder``."""
    for file, text in TEXTS.items():
        ((folder or file.parent) / file.name).write_text(text(), "utf-8")


if __name__ == "__main__":
    write()
