"""Any text as a configuration, and any environment: settings, or a message for each fault, and never another exception."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream_capi.config import Settings, load
from stream_capi.config.load import _normalise
from stream_capi.config.settings import TARGETS
from stream_capi.errors import ConfigurationError
from tests.config.json_schema import refused
from tests.proof.corpus import keeping, kept
from tests.proof.profile import tries

CANARY = "c4n4ry-k3y"
WORDS = st.sampled_from(
    ("main", "leads", "generate_lead", "earliest", "a.b", "https://x.example/e", "", " ", "0", "é", "\n", "-1")
)
ATOMS = st.one_of(
    WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers(-2, 2**40), st.floats(), st.booleans(),
    st.dates(), st.just(10**30), st.just(-(2**63)),
)  # fmt: skip
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(("path", "const", "unit", "field", "in", "x", "")), inner, max_size=3),
    ),
    max_leaves=5,
)
SECTIONS = {name: field.annotation for name, field in Settings.model_fields.items()}
KEYS = sorted(
    {
        key
        for kind in SECTIONS.values()
        for model in [kind, *getattr(kind, "__args__", ())]
        for key in [
            *getattr(model, "model_fields", {}),
            *(getattr(getattr(model, "__args__", (None,))[0], "model_fields", {})),
        ]
    }
    | {"api_key", "timeout", "topics", "", "a.b"}
)
FIELDS = st.dictionaries(st.sampled_from((*TARGETS, "email", "user_data", "x.y")), VALUES, max_size=4)
TABLES = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    st.builds(
        lambda table, fields: table | {"fields": fields},
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
        FIELDS,
    ),
)
FILES = st.dictionaries(
    st.sampled_from((*SECTIONS, "kafkas", "")), st.one_of(TABLES, st.lists(TABLES, max_size=3), ATOMS), max_size=5
)
SOUND: dict[str, Any] = {
    "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
    "sources": [{"topic": "leads", "event": "generate_lead", "pixel": "main"}],
    "schema_registry": {},
}
VARIABLES = st.dictionaries(
    st.one_of(
        st.builds(
            lambda section, key: f"STREAM_CAPI_{section}__{key}".upper(),
            st.sampled_from(sorted(SECTIONS)),
            st.sampled_from(KEYS),
        ),
        st.sampled_from(
            ("STREAM_CAPI_", "STREAM_CAPI_PIXELS__0__NAME", "STREAM_CAPI_SOURCES__9__TOPIC", "STREAM_CAPI_X__Y__Z")
        ),
    ),
    st.one_of(WORDS, st.text("{}[]\"'=,0123456789.truefalse ", max_size=12)),
    max_size=3,
)


@pytest.mark.slow
@tries(500)
@given(FILES, VARIABLES, st.booleans())
def test_any_tables_are_settings_or_faults(
    tmp_path_factory: Any, tables: dict[str, Any], variables: dict[str, str], sound: bool
) -> None:
    try:
        text = tomli_w.dumps((SOUND if sound else {}) | tables)
    except (TypeError, ValueError, AttributeError):  # not representable in TOML
        return
    with keeping("settings", text.encode()):
        settings_or_faults(_file(tmp_path_factory), text.encode(), variables)


# Pydantic's names for faults of names, types and ranges. Those that a JSON schema can't express are left out: a missing key
# may come from the environment, our own rules (value_error) are more than types, and JSON has neither infinity nor 5.0.
OF_THE_SCHEMA = {
    "extra_forbidden", "string_type", "bool_type", "dict_type", "model_type", "model_attributes_type", "tuple_type",
    "literal_error", "float_type", "greater_than", "greater_than_equal", "less_than_equal",
}  # fmt: skip


@pytest.mark.slow
@tries(500)
@given(FILES, st.booleans())
def test_the_json_schema_refuses_what_the_settings_refuse_by_name_and_type(tables: dict[str, Any], sound: bool) -> None:
    try:
        document = tomllib.loads(tomli_w.dumps((SOUND if sound else {}) | tables))
    except (TypeError, ValueError, AttributeError):  # not representable in TOML
        return
    found = refused(document)
    _normalise(document)
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        kinds = {detail["type"] for detail in error.errors()}
    else:
        kinds = set()
    if unknown := [source for source in _sources(document) if not source.get("fields", {}).keys() <= set(TARGETS)]:
        kinds.add("extra_forbidden")
    assert bool(found) or not kinds & OF_THE_SCHEMA, (kinds, document)
    assert not found or kinds - {"missing"} or unknown, (found, document)


def _sources(document: dict[str, Any]) -> list[dict[str, Any]]:
    given = document.get("sources")
    tables = given if isinstance(given, list) else [given]
    return [table for table in tables if isinstance(table, dict) and isinstance(table.get("fields", {}), dict)]


@tries(300)
@given(st.one_of(st.binary(max_size=80), st.text("[]{}=.\"'#\n abkafk0123456789-:TZ", max_size=80).map(str.encode)))
def test_any_text_is_settings_or_faults(tmp_path_factory: Any, text: bytes) -> None:
    with keeping("settings", text):
        settings_or_faults(_file(tmp_path_factory), text, {})


@tries(200)
@given(
    st.sampled_from(("api_key", "key", "api_token", "authorization", "pixel_id_env", "api_key_env", "name")),
    st.sampled_from(KEYS),
)
def test_a_key_that_stands_in_the_wrong_place_is_in_no_fault(tmp_path_factory: Any, where: str, elsewhere: str) -> None:
    tables = SOUND | {"pixels": [{"name": "main", where: f"Bearer {CANARY}"}], "endpoint": {elsewhere: CANARY}}
    faults = settings_or_faults(_file(tmp_path_factory), tomli_w.dumps(tables).encode(), {})
    secret_places = {"api_key", "key", "api_token", "authorization"}
    assert where not in secret_places or not any(f"Bearer {CANARY}" in fault for fault in faults)


def test_what_was_found_before(tmp_path_factory: Any) -> None:
    for text in kept("settings"):
        settings_or_faults(_file(tmp_path_factory), text, {})


def _file(tmp_path_factory: Any) -> Path:
    """One file for all examples, since a function's fixture would be the same for all of them too."""
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    return path


def settings_or_faults(path: Path, text: bytes, variables: dict[str, str]) -> tuple[str, ...]:
    path.write_bytes(text)
    try:
        settings = load(path, {"KEY": CANARY, **variables})
    except ConfigurationError as error:
        faults = error.faults
    else:
        assert CANARY not in repr(settings)
        tomllib.loads(text.decode("utf-8-sig"))
        return ()
    assert faults
    assert all(fault and "\n" not in fault for fault in faults), faults
    assert not any(CANARY in fault for fault in faults if CANARY.encode() not in text)
    return faults
