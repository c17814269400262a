"""Where writers' schemas come from: a registry, a folder of ``.avsc`` files, or one file (contract, sections 3 and 4).

``cached`` is for the hot path and never waits. ``load`` may ask a registry: it raises ``RegistryUnavailable`` as long as
there is no answer, and says ``unknown_schema`` only where a source that works doesn't have the schema. That answer is
kept for a minute, as the schema may be registered, or its file written, later.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import fastavro.schema

from stream_capi.avro.framing import FILE_KEY, SchemaKey
from stream_capi.avro.names import PRIMITIVES
from stream_capi.avro.registry import RegistrySchemas
from stream_capi.avro.writer_schema import (
    MAX_CHARACTERS,
    RefusedSchema,
    UnknownSchemas,
    WriterSchema,
    build,
    definitions,
    unknown,
)
from stream_capi.config.files import content
from stream_capi.errors import ConfigurationError, RegistryUnavailable
from stream_capi.model import Rejection

MAX_BYTES = 4 * MAX_CHARACTERS  # of a file; none with more can be a schema that is read with

__all__ = [
    "FileSchema",
    "FolderSchemas",
    "RefusedSchema",
    "RegistrySchemas",
    "Schemas",
    "SchemasByKind",
    "WriterSchema",
]


class Schemas(Protocol):
    """A source of writers' schemas."""

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        """What is known of ``key`` without asking anyone; None: ask ``load``."""
        ...

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        """Look ``key`` up. Raises ``RegistryUnavailable`` where its source doesn't answer for now."""
        ...

    async def aclose(self) -> None: ...


class FileSchema:
    """The one schema of a raw source.

    :raises ConfigurationError: the file can't be read, or no event can be read with its schema.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        built = build(FILE_KEY, _text(path))
        if isinstance(built, RefusedSchema):
            raise ConfigurationError([f"{path}: {built.reason}"])
        self.schema = built

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        return self.schema if key == FILE_KEY else unknown(key, "a schema file")

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        return self.schema if key == FILE_KEY else unknown(key, "a schema file")

    async def aclose(self) -> None:
        return


class FolderSchemas:
    """The ``.avsc`` files of a folder: by CRC-64-AVRO fingerprint, and by id where a file is called ``<id>.avsc``.

    Named types may be defined in other files of the folder. An unknown key has the folder read again if a file has changed,
    so that a new writer's schema can be added while the program runs, and a flood of unknown keys reads no file.

    :raises ConfigurationError: with every fault of every file.
    """

    def __init__(self, folder: Path | str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = Path(folder)
        self._missing = UnknownSchemas(clock)
        self._files: list[tuple[str, int, int, int]] = []
        self._known = self._read()

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        return self._known.get(key) or self._missing.get(key)

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        known = self.cached(key)
        if known is not None:
            return known
        try:
            await asyncio.to_thread(self._read_changes)
        except ConfigurationError as error:
            # It could be read at the start: someone is writing a file just now, or has to repair one.
            raise RegistryUnavailable(f"the schema folder can't be read again: {error}") from error
        return self._known.get(key) or self._missing.add(key, unknown(key, f"the folder {self.folder}"))

    def schemas(self) -> list[WriterSchema]:
        """One of each event schema in the folder, by name."""
        return sorted({s.digest: s for s in self._known.values()}.values(), key=lambda s: s.name)

    def ids_of(self, fingerprint: str) -> list[int]:
        """The ids that the folder gives to the schema of a fingerprint."""
        schema = self._known.get(SchemaKey("fingerprint", fingerprint))
        return (
            []
            if schema is None
            else [
                int(key.value)
                for key, known in self._known.items()
                if key.kind == "id" and known.digest == schema.digest
            ]
        )

    async def aclose(self) -> None:
        return

    def _stated(self) -> list[tuple[str, int, int, int]]:
        """What tells a changed file from the one before it."""
        found = ((path.name, path.stat()) for path in sorted(self.folder.glob("*.avsc")))
        return [(name, stated.st_ino, stated.st_size, stated.st_mtime_ns) for name, stated in found]

    def _read_changes(self) -> None:
        try:
            files = self._stated()
        except OSError as error:  # a file that was deleted meanwhile
            raise ConfigurationError([f"{self.folder}: {error.strerror}"]) from error
        if files != self._files:
            self._known = self._read()
            self._files = files

    def _read(self) -> dict[SchemaKey, WriterSchema]:
        files = {path: _text(path) for path in sorted(self.folder.glob("*.avsc"))}
        if not files:
            raise ConfigurationError([f"{self.folder}: no folder with .avsc files"])
        faults: list[str] = []
        raws: dict[Path, Any] = {}
        defined: dict[Path, dict[str, Any]] = {}
        for path, text in files.items():
            try:
                raws[path] = json.loads(text)
                defined[path] = definitions(raws[path])
            except (ValueError, RecursionError):
                faults.append(f"{path}: it is not JSON, or nested too deep")
        known: dict[SchemaKey, WriterSchema] = {}
        for path, raw in raws.items():
            if not _may_be_of_events(raw):
                continue  # a type that records of other files refer to
            others = {name: one for other, of in defined.items() if other != path for name, one in of.items()}
            try:
                known |= _keyed(path, files[path], others)
            except ConfigurationError as error:
                faults += error.faults
        if faults:
            raise ConfigurationError(faults)
        return known


def _may_be_of_events(raw: Any) -> bool:
    """Whether a file's schema is a record or a union of records and null; other files have types that those refer to."""
    branches = raw if isinstance(raw, list) else [raw]
    records = [branch for branch in branches if isinstance(branch, dict) and branch.get("type") == "record"]
    names = [branch for branch in branches if isinstance(raw, list) and isinstance(branch, str)]
    return len(records) + len(names) == len(branches) and PRIMITIVES.isdisjoint({*names} - {"null"})


class SchemasByKind:
    """Several sources, each for the kinds of key that it answers."""

    def __init__(self, sources: Mapping[str, Schemas]) -> None:
        self._sources = dict(sources)

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        source = self._sources.get(key.kind)
        return source.cached(key) if source else unknown(key, "any source of schemas that is configured")

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        source = self._sources.get(key.kind)
        return await source.load(key) if source else unknown(key, "any source of schemas that is configured")

    async def aclose(self) -> None:
        for source in {id(source): source for source in self._sources.values()}.values():
            await source.aclose()


def _text(path: Path) -> str:
    try:
        return content(path, MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            [f"{path}: can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"]
        ) from error


def _keyed(path: Path, text: str, references: Mapping[str, Any]) -> dict[SchemaKey, WriterSchema]:
    built = build(FILE_KEY, text, references)
    if isinstance(built, RefusedSchema):
        raise ConfigurationError([f"{path}: {built.reason}"])
    try:
        canonical = fastavro.schema.to_parsing_canonical_form(built.raw)
    except Exception as error:  # whatever an odd schema trips over in the library
        # The library's text would quote the schema; its class is enough beside the path.
        raise ConfigurationError([f"{path}: no Avro schema: {type(error).__name__}"]) from error
    keys = [SchemaKey("fingerprint", fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))]
    if re.fullmatch(r"\d{1,10}", path.stem):
        keys.append(SchemaKey("id", int(path.stem)))
    return {key: WriterSchema(key, built.name, built.raw, built.parsed, built.digest) for key in keys}
