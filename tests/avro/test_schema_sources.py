"""Whether the registry, a folder or a file provides a source's schema."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from shutil import copy

import fastavro.schema
import pytest

from stream_capi.avro.framing import FILE_KEY, SchemaKey
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.schemas import FileSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.errors import ConfigurationError, RegistryUnavailable
from stream_capi.model import Rejection
from tests.avro.fake_registry import FakeRegistry
from tests.avro.records import SCHEMAS

IN_FILE = FileSchema(SCHEMAS / "lead.avsc").schema
IN_REGISTRY = FileSchema(SCHEMAS / "page_view.avsc").schema
ID = SchemaKey("id", 7)
FINGERPRINT = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(IN_FILE.raw), "CRC-64-AVRO")


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    """A registry that has the same schema for every key."""
    async with FakeRegistry().serving() as fake:
        answer = {"schema": json.dumps(IN_REGISTRY.raw), "id": 7}
        fake.answers = dict.fromkeys(
            ("/schemas/ids/7", "/schemas/guids/g", "/subjects/leads-value/versions/latest"), answer
        )
        yield fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy(SCHEMAS / "lead.avsc", tmp_path / "7.avsc")
    copy(SCHEMAS / "page_view.avsc", tmp_path / "view.avsc")
    return tmp_path


def sources(url: str = "") -> aclosing[SchemaSources]:
    """The schemas' sources, with the registry at this url if there is one."""
    stated = {"schema_registry": {"url": url, "properties": {"basic.auth.user.info": "user:pass"}}} if url else {}
    return aclosing(SchemaSources(Settings.model_validate({"pixels": [], "sources": [], **stated})))


def source(schema_file: Path | None = None) -> SourceSection:
    stated = {"schema_file": str(schema_file)} if schema_file else {}
    return SourceSection.model_validate({"topic": "leads", "event": "generate_lead", "pixel": "main", **stated})


async def answers(url: str, schema_file: Path | None) -> dict[str, str | None]:
    """For each kind of key, the name of the schema that a source gets; None if keys of that kind are rejected."""
    keys = [ID, SchemaKey("guid", "g"), SchemaKey("fingerprint", FINGERPRINT), FILE_KEY]
    async with sources(url) as found_in:
        schemas = found_in.for_source(source(schema_file))
        found = {key.kind: await schemas.load(key) for key in keys}
    return {kind: None if isinstance(one, Rejection) else one.name for kind, one in found.items()}


async def test_a_registry_answers_for_ids_and_guids(registry: FakeRegistry) -> None:
    of = IN_REGISTRY.name
    assert await answers(registry.url, None) == {"id": of, "guid": of, "fingerprint": None, FILE_KEY.kind: None}


async def test_a_folder_answers_for_fingerprints_and_for_ids_before_the_registry(
    registry: FakeRegistry, folder: Path
) -> None:
    own, of = IN_FILE.name, IN_REGISTRY.name
    assert await answers(registry.url, folder) == {"id": own, "guid": of, "fingerprint": own, FILE_KEY.kind: None}
    assert await answers("", folder) == {"id": own, "guid": None, "fingerprint": own, FILE_KEY.kind: None}


async def test_a_file_answers_for_what_names_no_schema(registry: FakeRegistry) -> None:
    file, of = SCHEMAS / "lead.avsc", IN_REGISTRY.name
    assert await answers(registry.url, file) == {
        "id": of, "guid": of, "fingerprint": None, FILE_KEY.kind: IN_FILE.name,
    }  # fmt: skip
    assert (await answers("", file))["id"] is None


async def test_the_newest_are_those_of_file_or_folder_before_that_of_the_registry(
    registry: FakeRegistry, folder: Path
) -> None:
    async with sources(registry.url) as both:
        assert [one.name for one in await both.newest(source(SCHEMAS / "lead.avsc"))] == [IN_FILE.name]
        assert [one.name for one in await both.newest(source(folder))] == sorted([IN_FILE.name, IN_REGISTRY.name])
        assert not registry.asked
        assert [(one.name, one.key) for one in await both.newest(source())] == [(IN_REGISTRY.name, ID)]


async def test_without_any_a_source_is_named() -> None:
    fault = re.escape("sources: leads: there is no [schema_registry] and no schema_file")
    async with sources() as nothing:
        with pytest.raises(ConfigurationError, match=fault):
            nothing.for_source(source())
        with pytest.raises(ConfigurationError, match=fault):
            await nothing.newest(source())


async def test_all_sources_share_the_registrys_client(registry: FakeRegistry) -> None:
    async with sources(registry.url) as shared:
        for _ in range(2):
            await shared.for_source(source()).load(ID)
        await shared.newest(source(), ["another"], [ID])
    assert registry.asked["/schemas/ids/7"] == 1, "what one has found, the others know"
    assert registry.authorization == {"Basic dXNlcjpwYXNz"}
    with pytest.raises(RegistryUnavailable, match="RuntimeError"):  # it is closed
        await shared.for_source(source()).load(SchemaKey("guid", "g"))
