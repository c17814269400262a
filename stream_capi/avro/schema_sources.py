"""Where a source's schemas come from, by the settings: the registry, a folder, or a file."""

from __future__ import annotations

from collections.abc import Sequence

from stream_capi.avro.framing import FILE_KEY, SchemaKey
from stream_capi.avro.registry import RegistrySchemas
from stream_capi.avro.schemas import FileSchema, FolderSchemas, Schemas, SchemasByKind
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config import Settings, SourceSection
from stream_capi.errors import ConfigurationError


class SchemaSources:
    """The schemas of each source. All share one client of the registry. For use in one event loop.

    :raises ConfigurationError: the client refuses the registry's url or properties.
    """

    def __init__(self, settings: Settings) -> None:
        registry = settings.schema_registry
        self._registry = RegistrySchemas(registry.url, registry.properties) if registry else None

    def for_source(self, source: SourceSection) -> Schemas:
        """The schemas for every kind of key that the source's records may have. Raises ConfigurationError."""
        kinds: dict[str, Schemas] = {}
        if self._registry is not None:
            kinds |= dict.fromkeys(("id", "guid", "content id", "global id"), self._registry)
        own = _files_of(source)
        if isinstance(own, FolderSchemas):
            kinds |= {"fingerprint": own, "id": own}
        elif own is not None:
            kinds[FILE_KEY.kind] = own
        if not kinds:
            raise _nowhere(source)
        return SchemasByKind(kinds)

    async def newest(
        self, source: SourceSection, names: Sequence[str] = (), written_by: Sequence[SchemaKey] = ()
    ) -> list[WriterSchema]:
        """The schemas to expect in new records: that of the file, each of the folder, or the registry's newest.

        Subjects that are not named after the topic are found by the ``names`` of records, and by ``written_by``, the schema
        keys in recent records.

        Raises ConfigurationError, RegistryUnavailable.
        """
        own = _files_of(source)
        if isinstance(own, FolderSchemas):
            return own.schemas()
        if own is not None:
            return [own.schema]
        if self._registry is None:
            raise _nowhere(source)
        return await self._registry.newest(source.topic, names, written_by)

    async def aclose(self) -> None:
        """Close the registry's client."""
        if self._registry is not None:
            await self._registry.aclose()


def _files_of(source: SourceSection) -> FolderSchemas | FileSchema | None:
    if source.schema_file is None:
        return None
    return FolderSchemas(source.schema_file) if source.has_folder else FileSchema(source.schema_file)


def _nowhere(source: SourceSection) -> ConfigurationError:
    return ConfigurationError([f"sources: {source.topic}: there is no [schema_registry] and no schema_file"])
