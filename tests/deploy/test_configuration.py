"""docs/configuration.md and its JSON Schema are up to date with the settings, and right for each key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stream_capi.config.environment import overlay
from stream_capi.config.settings import Settings
from stream_capi.config.shape import members
from tests.config.json_schema import refused
from tests.deploy import configuration_page
from tests.deploy.configuration_page import PAGE, TEXTS, Key, keys, toml

KEYS = [pytest.param(key, id=".".join(key.path)) for key in keys()]
EXAMPLES = [
    pytest.param(key, example, id=f"{'.'.join(key.path)} {number}")
    for key in keys()
    for number, example in enumerate(key.field.examples or ())
]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_the_file_is_what_would_be_written(file: Path, tmp_path: Path) -> None:
    configuration_page.write(tmp_path)
    assert (tmp_path / file.name).read_text() == file.read_text(), "`make docs` writes it"


def test_all_keys_are_there() -> None:
    assert len(KEYS) > 60
    assert {key.place[0] for key in keys()} == set(Settings.model_fields)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_a_description_and_an_example(key: Key) -> None:
    assert key.field.description, 'Field(description="…") in settings.py'
    assert key.field.description.endswith(".")
    assert key.field.examples, "Field(examples=[…]) in settings.py"
    assert key.field.default not in key.field.examples, "the default is no example"


@pytest.mark.parametrize("key", KEYS)
def test_a_number_has_the_unit_of_its_name(key: Key) -> None:
    kinds = {kind for kind in members(key.field.annotation) if isinstance(kind, type)}
    if kinds & {int, float} and str not in kinds and key.name != "port":
        assert key.unit, "Field(json_schema_extra=…) in settings.py"
    named = {"_ms": "ms", "_seconds": "s", "_bytes": "bytes", "_events": "events", "_ratio": "share"}
    for ending, unit in named.items():
        assert key.unit == unit or not key.name.endswith(ending)


def faults_at(document: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """The validation errors at a key or inside it."""
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        places = [(tuple(step for step in detail["loc"] if isinstance(step, str)), detail) for detail in error.errors()]
        return [f"{place}: {detail['type']}" for place, detail in places if place[: len(path)] == path]
    return []


@pytest.mark.parametrize(("key", "example"), EXAMPLES)
def test_an_example_is_a_value_in_the_file(key: Key, example: Any) -> None:
    text = f"[{'.'.join(key.place)}]\n{key.name} = {toml(example)}\n"
    document = tomllib.loads(text)
    assert refused(document) == []
    assert faults_at(document, key.path) == []


@pytest.mark.parametrize(("key", "example"), EXAMPLES)
def test_an_example_is_a_value_of_the_variable_that_is_named(key: Key, example: Any) -> None:
    document: dict[str, Any] = {}
    _, faults = overlay(document, {key.variable: example if isinstance(example, str) else json.dumps(example)})
    assert faults == []
    assert faults_at(document, key.path) == []
    found: Any = document
    for step in key.path:
        found = found[0][step] if isinstance(found, list) else found[step]
    assert found == example


def test_a_page_without_a_key_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration_page, "keys", lambda: [key for key in keys() if key.name != "group_id"])
    configuration_page.write(tmp_path)
    assert (tmp_path / PAGE.name).read_text() != PAGE.read_text()
