"""Whether the registry, a folder or a file provides a source's schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from shutil import copy
from typing import Any, ClassVar

import fastavro.schema
import pytest

from stream_capi.avro.framing import FILE_KEY, SchemaKey
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.schemas import FileSchema, WriterSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.errors import ConfigurationError
from stream_capi.model import Rejection
from tests.avro.records import SCHEMAS

IN_FILE = FileSchema(SCHEMAS / "lead.avsc").schema
IN_REGISTRY = FileSchema(SCHEMAS / "page_view.avsc").schema
FINGERPRINT = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(IN_FILE.raw), "CRC-64-AVRO")


class FakeRegistry:
    """Returns the same schema for every key."""

    made: ClassVar[list[FakeRegistry]] = []

    def __init__(self, url: str, properties: Any) -> None:
        self.url, self.properties, self.closed = url, properties, False
        self.made.append(self)

    def cached(self, key: SchemaKey) -> WriterSchema:
        return IN_REGISTRY

    async def load(self, key: SchemaKey) -> WriterSchema:
        return IN_REGISTRY

    async def newest(self, topic: str, names: Sequence[str], written_by: Sequence[SchemaKey]) -> list[WriterSchema]:
        return [IN_REGISTRY]

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeRegistry]:
    monkeypatch.setattr("stream_capi.avro.schema_sources.RegistrySchemas", FakeRegistry)
    monkeypatch.setattr(FakeRegistry, "made", [])
    return FakeRegistry.made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy(SCHEMAS / "lead.avsc", tmp_path / "7.avsc")
    copy(SCHEMAS / "page_view.avsc", tmp_path / "view.avsc")
    return tmp_path


def sources(registry: bool) -> SchemaSources:
    stated = {"schema_registry": {"url": "http://registry", "properties": {"a": "b"}}} if registry else {}
    return SchemaSources(Settings.model_validate({"pixels": [], "sources": [], **stated}))


def source(schema_file: Path | None = None) -> SourceSection:
    stated = {"schema_file": str(schema_file)} if schema_file else {}
    return SourceSection.model_validate({"topic": "leads", "event": "generate_lead", "pixel": "main", **stated})


async def answers(registry: bool, schema_file: Path | None) -> dict[str, str | None]:
    """For each kind of key, the name of the schema that a source gets; None if keys of that kind are rejected."""
    schemas = sources(registry).for_source(source(schema_file))
    keys = [SchemaKey("id", 7), SchemaKey("guid", "g"), SchemaKey("fingerprint", FINGERPRINT), FILE_KEY]
    found = {key.kind: await schemas.load(key) for key in keys}
    return {kind: None if isinstance(one, Rejection) else one.name for kind, one in found.items()}


async def test_a_registry_answers_for_ids_and_guids() -> None:
    registry = IN_REGISTRY.name
    assert await answers(True, None) == {"id": registry, "guid": registry, "fingerprint": None, FILE_KEY.kind: None}


async def test_a_folder_answers_for_fingerprints_and_for_ids_before_the_registry(folder: Path) -> None:
    own, registry = IN_FILE.name, IN_REGISTRY.name
    assert await answers(True, folder) == {"id": own, "guid": registry, "fingerprint": own, FILE_KEY.kind: None}
    assert await answers(False, folder) == {"id": own, "guid": None, "fingerprint": own, FILE_KEY.kind: None}


async def test_a_file_answers_for_what_names_no_schema() -> None:
    file, registry = SCHEMAS / "lead.avsc", IN_REGISTRY.name
    assert await answers(True, file) == {
        "id": registry, "guid": registry, "fingerprint": None, FILE_KEY.kind: IN_FILE.name,
    }  # fmt: skip
    assert (await answers(False, file))["id"] is None


async def test_the_newest_are_those_of_file_or_folder_before_that_of_the_registry(folder: Path) -> None:
    both = sources(registry=True)
    assert [one.name for one in await both.newest(source(SCHEMAS / "lead.avsc"))] == [IN_FILE.name]
    assert [one.name for one in await both.newest(source(folder))] == sorted([IN_FILE.name, IN_REGISTRY.name])
    assert await both.newest(source()) == [IN_REGISTRY]


async def test_without_any_a_source_is_named() -> None:
    nothing = sources(registry=False)
    fault = re.escape("sources: leads: there is no [schema_registry] and no schema_file")
    with pytest.raises(ConfigurationError, match=fault):
        nothing.for_source(source())
    with pytest.raises(ConfigurationError, match=fault):
        await nothing.newest(source())
    await nothing.aclose()


async def test_all_sources_share_the_registrys_client(made: list[FakeRegistry]) -> None:
    shared = sources(registry=True)
    shared.for_source(source())
    await shared.newest(source())
    (client,) = made
    assert (client.url, dict(client.properties)) == ("http://registry", {"a": "b"})
    await shared.aclose()
    assert client.closed
