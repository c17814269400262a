"""Validation by the JSON Schema of the settings, as an editor or CI would do it."""

from __future__ import annotations

from typing import Any

import jsonschema

from stream_capi.config.json_schema import json_schema

VALIDATOR = jsonschema.Draft7Validator(json_schema())


def refused(document: Any) -> list[str]:
    """The schema's errors for a document, each with its path; empty if the document is valid."""
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]
