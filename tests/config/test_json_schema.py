"""The JSON Schema agrees with the loader: it accepts what the loader accepts, and refuses wrong names and types."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stream_capi.config.json_schema import json_schema
from stream_capi.errors import ConfigurationError
from tests.config.json_schema import VALIDATOR, refused
from tests.config.test_load import LEAST, Read, read
from tests.deploy.pages import blocks, pages
from tests.documents.readers import READERS

__all__ = ["read"]

ROOT = Path(__file__).parents[2]
FILES = [file for file in sorted((ROOT / "deploy").rglob("*.toml")) if file.name != "endpoint.toml"]
BLOCKS = [
    pytest.param(block.text, id=f"{page.name} {number}")
    for page in pages()
    for number, block in enumerate(blocks(page.read_text()))
    if block.language == "toml" and not READERS.keys() & tomllib.loads(block.text)
]


def test_it_is_a_schema() -> None:
    VALIDATOR.check_schema(json_schema())


@pytest.mark.slow
def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stream_capi", "config-schema"], check=True, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == json_schema()
    assert not done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_it_takes_the_files_that_are_shipped(file: Path) -> None:
    assert refused(tomllib.loads(file.read_text())) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_that_is_shipped_names_the_schema_for_editors(file: Path) -> None:
    name = file.read_text().splitlines()[0].removeprefix("#:schema ")
    assert (file.parent / name).resolve() == ROOT / "docs/configuration.schema.json"


def test_files_are_found() -> None:
    assert len(FILES) >= 2
    assert len(BLOCKS) >= 10


@pytest.mark.parametrize("text", BLOCKS)
def test_it_takes_what_the_documents_show(text: str) -> None:
    assert refused(tomllib.loads(text)) == []


GOOD = {
    "one table for a list of one": LEAST.replace("[[", "[").replace("]]", "]"),
    "one condition for a list of one": LEAST + "where = { field = 'a', in = [1, 'x', true, 0.5] }",
    "names with dots, quoted": LEAST + "[kafka.properties]\n'security.protocol' = 'SSL'\n'fetch.min.bytes' = 5\n",
    "names with dots": LEAST + "[kafka.properties]\nsecurity.protocol = 'SSL'\nssl.key.password = 'x'\n",
    "names of the registry's": LEAST + "[schema_registry.properties]\nssl.ca.location = 'a.pem'\n",
    "fields with dots": LEAST + "[sources.fields]\nuser_data.email = 'a'\ndata.value = { path = ['a', 'b'] }\n",
    "a constant at the end": LEAST + "[sources.fields]\n'user_data.os' = ['a', { const = 'ios' }]\n",
    "a table of values": LEAST + "[sources.fields]\n'user_data.esi' = { path = 'a', map = { W = 'web' }, default = 'app' }\n",
    "a unit": LEAST + "[sources.fields]\nevent_time = { path = 'a', unit = 'ns' }\n",
    "a country": LEAST + "phone_region = 'us'",
    "the path of a country": LEAST + "phone_region = { path = ['a', 'b'] }",
    "whole numbers for numbers": LEAST + "[endpoint]\ntimeout_seconds = 3\n[dead_letter]\nmax_ratio = 1\n",
    "a table of amounts": LEAST + "values = { field = 'q', table = { a = 1, b = 0.5 } }",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_it_takes_each_form_that_the_loader_takes(read: Read, text: str) -> None:
    read(text)
    assert refused(tomllib.loads(text)) == []


BAD = {
    "an unknown section": (LEAST + "[dead_letters]", "dead_letters"),
    "an unknown key": (LEAST + "[batch]\nwindow = 5", "window"),
    "a key in the wrong section": (LEAST + "[batch]\nmax_in_flight = 3", "max_in_flight"),
    "an unknown key of a pixel": (LEAST.replace("pixel_id", "pixelid"), "pixelid"),
    "a key that is written inline": (LEAST.replace("api_key_env", "api_key"), "api_key"),
    "an unknown key of a condition": (LEAST + "where = [{ field = 'a', equal = 1 }]", "where"),
    "an unknown key of the lead's value": (LEAST + "values = { fields = 'q', table = {} }", "fields"),
    "an unknown field": (LEAST + "[sources.fields]\n'user_data.emial' = 'a'", "emial"),
    "an unknown field with dots": (LEAST + "[sources.fields]\nuser_data.emial = 'a'", "emial"),
    "an unknown key of a rule": (LEAST + "[sources.fields]\n'data.value' = { paths = 'a' }", "data.value"),
    "an unknown unit": (LEAST + "[sources.fields]\nevent_time = { path = 'a', unit = 'm' }", "event_time"),
    "a number for a path": (LEAST + "[sources.fields]\n'data.value' = 3", "data.value"),
    "a list for a constant": (LEAST + "[sources.fields]\n'data.value' = { const = [1] }", "data.value"),
    "a date for a constant": (LEAST + "[sources.fields]\n'data.value' = { const = 2026-01-01 }", "data.value"),
    "a table for a region": (LEAST + "phone_region = { const = 'US' }", "phone_region"),
    "three letters for a region": (LEAST + "phone_region = 'USA'", "phone_region"),
    "a text for a section": ("kafka = 'x'\n" + LEAST, "kafka"),
    "a number for a list of tables": ("pixels = 3\nsources = 4", "pixels"),
    "a text for an entry": (LEAST + "where = ['a']", "where"),
    "a number for a text": (LEAST + "[kafka]\ngroup_id = 3", "group_id"),
    "a text for a number": (LEAST + "[batch]\nmax_events = '9'", "max_events"),
    "a truth for a number": (LEAST + "[batch]\nmax_events = true", "max_events"),
    "a part of a whole number": (LEAST + "[batch]\nmax_events = 1.5", "max_events"),
    "a number out of range": (LEAST + "[batch]\nmax_events = 101", "max_events"),
    "none of the choices": (LEAST + "[kafka]\nstart = 'newest'", "start"),
    "none of the events": (LEAST + "event_field = 'a'\nevents = { a = 'lead' }", "events"),
    "a list for a property": (LEAST + "[kafka.properties]\n'fetch.min.bytes' = [1]", "fetch.min.bytes"),
    "the program's own property": (LEAST + "[kafka.properties]\n'enable.auto.commit' = true", "enable.auto.commit"),
    "a callback": (LEAST + "[kafka.properties]\nerror_cb = 'x'", "error_cb"),
    "the registry's own property": (LEAST.replace("[schema_registry]", "[schema_registry.properties]\nurl = 'x'"), "url"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "key"), BAD.values(), ids=BAD)
def test_it_refuses_names_and_types_that_the_loader_refuses(read: Read, text: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")):
        read(text)
    assert any(key in fault for fault in refused(tomllib.loads(text))), refused(tomllib.loads(text))
