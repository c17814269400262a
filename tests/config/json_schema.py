"""The JSON Schema of the settings, asked as a validator of an editor or of CI would ask it."""

from __future__ import annotations

from typing import Any

import jsonschema

from stream_capi.config.json_schema import json_schema

VALIDATOR = jsonschema.Draft7Validator(json_schema())


def refused(document: Any) -> list[str]:
    """What the schema refuses of a document, each with its place; nothing where it takes it."""
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]
