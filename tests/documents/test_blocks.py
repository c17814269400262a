"""Every fenced block of the documents is valid in its language: it is loaded by its reader, or at least parsed."""

from __future__ import annotations

import ast
import json
import sqlite3
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml

from stream_capi import config
from stream_capi.config.settings import Settings
from stream_capi.errors import ConfigurationError
from tests.deploy.pages import blocks, pages
from tests.deploy.program import ROOT
from tests.documents.console import CTRL_C, steps
from tests.documents.readers import READERS

PIXEL = {"name": "main", "pixel_id": "p", "api_key_env": "KEY"}


def found(*languages: str) -> list[Any]:
    """The blocks of these languages, each named by its page and its number on it."""
    return [
        pytest.param(block.text, id=f"{page.relative_to(ROOT)} {number}")
        for page in pages()
        for number, block in enumerate(blocks(page.read_text()))
        if block.language in languages
    ]


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """A part of a configuration, completed by the required keys that it lacks."""
    stated = given.get("sources", {})
    sources = [{"topic": "t"} | one for one in (stated if isinstance(stated, list) else [stated])]
    for source in sources:
        source |= {} if "event" in source or "event_field" in source else {"event": "generate_lead"}
        source |= {} if "pixel" in source or "pixel_field" in source else {"pixel": "main"}
    return {"schema_registry": {}, "pixels": [PIXEL]} | given | {"sources": sources}


@pytest.mark.parametrize("text", found("toml"))
def test_toml_is_loaded_by_what_reads_it(text: str, tmp_path: Path) -> None:
    given = tomllib.loads(text)
    file = tmp_path / "block.toml"
    for table in READERS.keys() & given:
        file.write_text(text)
        READERS[table](file)
        return
    assert set(given) <= set(Settings.model_fields), "it is no part of a configuration: name its reader in READERS"
    for name in ("forgotten.txt", "leads.avsc"):  # files that must exist
        (tmp_path / name).touch()
    whole = given if "pixels" in given and "sources" in given else completed(given)
    file.write_text(tomli_w.dumps(whole))
    settings = config.load(file, {"AXON_PIXEL_ID": "p"}, keys=False)
    assert set(given) <= settings.model_fields_set
    assert [source.topic for source in settings.sources] == [source["topic"] for source in whole["sources"]]


def test_a_part_of_a_configuration_that_is_wrong_is_found(tmp_path: Path) -> None:
    for text in ('[sources.fields]\n"user_data.emial" = "a"', "[batch]\nmax_events = 101"):
        with pytest.raises(ConfigurationError):
            test_toml_is_loaded_by_what_reads_it(text, tmp_path)


@pytest.mark.parametrize("text", found("json"))
def test_json_is_parsed(text: str) -> None:
    json.loads(text)


@pytest.mark.parametrize("text", found("yaml", "yml"))
def test_yaml_is_parsed(text: str) -> None:
    assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("text", found("python"))
def test_python_is_parsed(text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize("text", found("sql"))
def test_sql_is_whole_statements(text: str) -> None:
    """Quotes, comments and statements are closed; there is no parser for the dialects of ksqlDB and Flink here."""
    assert sqlite3.complete_statement(text)


@pytest.mark.parametrize("text", found("sh", "bash", "shell", "console"))
def test_a_shell_takes_what_is_typed(text: str) -> None:
    """The syntax alone: tests/deploy/test_runbook.py checks the options of the program's commands."""
    lines = "\n".join(step.command for step in steps(text)) if text.startswith(("$ ", CTRL_C)) else text
    done = subprocess.run(["bash", "-n"], input=lines, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 0, done.stderr


def test_each_block_is_of_a_language_that_is_looked_at() -> None:
    """Others: ``diff`` is an edit on a page that is played; ``text`` and none are output or a drawing.

    Mermaid is not among them: the site loads no script from another host, so it would show the source.
    """
    looked_at = {"toml", "json", "yaml", "yml", "python", "sql", "sh", "bash", "shell", "console"}
    others = {"", "text", "diff"}
    assert {block.language for page in pages() for block in blocks(page.read_text())} <= looked_at | others
