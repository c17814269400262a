"""The JSON Schema of the configuration file, for editors and CI.

It accepts every file that the program accepts, whatever the environment holds, and rejects unknown keys, wrong types and
numbers out of range. No key is required, since the environment may set it; rules over several keys are left to ``check``.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from stream_capi.config.consistency import CALLBACKS, OWNED_PROPERTIES, REGISTRY_OWNED
from stream_capi.config.settings import TARGETS, Settings

DIALECT = "http://json-schema.org/draft-07/schema#"  # the draft that editors' TOML plugins support


class _Generator(GenerateJsonSchema):
    """Leaves out null, which TOML doesn't have, and titles, which repeat the keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """The type without null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Only the defaults of single keys: not those of tables, and no empty ones."""
        if schema.get("default") in (None, ()) or schema["schema"]["type"] in ("model", "dict"):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles of keys."""
        return False


def json_schema() -> dict[str, Any]:
    """The schema as a JSON object."""
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
    """Accept nested tables, too: TOML reads a dotted key without quotes as such, and the program accepts both."""
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
