"""The JSON Schema of the configuration file, for editors and CI.

It takes every file that the program takes, under whatever environment, and refuses unknown keys, wrong types and numbers out
of range. No key is required, since the environment may bring it; what several keys must be together is for ``check``.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from stream_capi.config.consistency import CALLBACKS, OWNED_PROPERTIES, REGISTRY_OWNED
from stream_capi.config.settings import TARGETS, Settings

DIALECT = "http://json-schema.org/draft-07/schema#"  # what the TOML plugins of editors know


class _Generator(GenerateJsonSchema):
    """TOML has no null: a key without a value is left out. Titles repeat the keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """The type without null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Defaults of keys alone, not of tables or of what is left out."""
        if schema.get("default") in (None, ()) or schema["schema"]["type"] in ("model", "dict"):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles of keys."""
        return False


def json_schema() -> dict[str, Any]:
    """The schema, in the form of JSON."""
    schema = Settings.model_json_schema(schema_generator=_Generator)
    sections = schema["$defs"]
    for table in (schema, *sections.values()):
        _as_for_people(table)
    _take_dotted_keys(sections)
    return {"$schema": DIALECT, "title": "Configuration of stream-capi", **schema}


def _as_for_people(table: dict[str, Any]) -> None:
    del table["title"]
    table.pop("required", None)
    table["description"] = re.sub(r"``", "`", re.sub(r"\s+", " ", table["description"]))
    for key in table["properties"].values():
        if unit := key.pop("unit", None):
            key["description"] += f" Unit: {unit}."


def _take_dotted_keys(sections: dict[str, Any]) -> None:
    """A key with dots but no quotes makes nested tables in TOML; the program takes both."""
    own_names: dict[str, list[Any]] = {
        "KafkaSection": [{"enum": [*OWNED_PROPERTIES, *CALLBACKS]}, {"pattern": "_cb$"}],
        "SchemaRegistrySection": [{"enum": [*REGISTRY_OWNED]}],
    }
    for section, refused in own_names.items():
        properties, value = sections[section]["properties"]["properties"], {"$ref": f"#/$defs/{section}Property"}
        nested = {"type": "object", "additionalProperties": value, "minProperties": 1}
        sections[f"{section}Property"] = {"anyOf": [properties["additionalProperties"], nested]}
        properties["additionalProperties"] = value
        properties["propertyNames"] = {"not": {"anyOf": refused}}
    fields, rule = sections["SourceSection"]["properties"]["fields"], {"$ref": "#/$defs/FieldRule"}
    sections["FieldRule"] = fields.pop("additionalProperties")
    tables: dict[str, Any] = {}
    for table, _, name in (target.rpartition(".") for target in TARGETS):
        if table:
            tables.setdefault(table, {})[name] = rule
    fields["properties"] = dict.fromkeys(TARGETS, rule) | {
        table: {"type": "object", "properties": names, "additionalProperties": False, "minProperties": 1}
        for table, names in tables.items()
    }
    fields["additionalProperties"] = False
