"""``stream-capi config-schema``: the configuration file's JSON Schema."""

from __future__ import annotations

from stream_capi.cli.text import print_json
from stream_capi.config.json_schema import json_schema


def command() -> None:
    """Print the JSON Schema of the configuration file, for editors and CI.

    An editor with a TOML plugin (taplo, Even Better TOML) reads it from the file that the configuration's first line names:
    #:schema ./stream-capi.schema.json
    """
    print_json(json_schema(), indent=2)
