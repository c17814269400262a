"""Where writers' schemas come from: a registry, a folder of ``.avsc`` files, or one file (contract, sections 3 and 4).

``cached`` is for the hot path and never waits. ``load`` may ask a registry: it raises ``RegistryUnavailable`` while there is
no answer, and returns ``unknown_schema`` only if a working source doesn't have the schema. That result is kept for a minute,
because the schema may be registered, or its file written, later.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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

MAX_BYTES = 4 * MAX_CHARACTERS  # of a file: a larger one has more characters than a schema may have
# Limits of a folder, which is read whole at the start.
MAX_ENTRIES = 10_000  # of any kind
MAX_FILES = 1_000
MAX_FOLDER = 4 << 20  # bytes of the files; also characters of the schemas with the types they refer to

__all__ = [
    "FileSchema",
    "FolderSchemas",
    "GivenSchema",
    "RefusedSchema",
    "RegistrySchemas",
    "Schemas",
    "SchemasByKind",
    "WriterSchema",
]


class Schemas(Protocol):
    """A source of writers' schemas."""

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        """What is known about ``key`` without waiting; None: call ``load``."""
        ...

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        """Look ``key`` up. Raises ``RegistryUnavailable`` if the source doesn't answer now."""
        ...

    async def aclose(self) -> None: ...


class FileSchema:
    """The only schema of a raw source.

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


class GivenSchema:
    """One file's schema for whatever key a record has, as the user says that it is the right one. A fingerprint must match.

    :raises ConfigurationError: the file can't be read, or no event can be read with its schema.
    """

    def __init__(self, path: Path) -> None:
        self.schema = FileSchema(path).schema
        self._path = path

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        if key.kind == "fingerprint" and key != _fingerprint(_canonical(self._path, self.schema.raw)):
            return unknown(key, str(self._path))
        return self.schema

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        return self.cached(key) or self.schema

    async def aclose(self) -> None:
        return


class FolderSchemas:
    """The ``.avsc`` files of a folder: by CRC-64-AVRO fingerprint, and by id if a file is named ``<id>.avsc``.

    Named types may be defined in other files of the folder. On an unknown key the folder is read again, if a file has
    changed: so a new writer's schema can be added while the program runs, and many unknown keys don't cause many reads.

    :raises ConfigurationError: with every fault of every file.
    """

    def __init__(self, folder: Path | str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = Path(folder)
        self._missing = UnknownSchemas(clock)
        self._files = _listed(self.folder)
        self._known = self._read(self._files)

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection | None:
        return self._known.get(key) or self._missing.get(key)

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        known = self.cached(key)
        if known is not None:
            return known
        try:
            await asyncio.to_thread(self._read_changes)
        except ConfigurationError as error:
            # It could be read at the start, so a file is just being written, or must be repaired.
            raise RegistryUnavailable(f"the schema folder can't be read again: {error}") from error
        return self._known.get(key) or self._missing.add(key, unknown(key, f"the folder {self.folder}"))

    def schemas(self) -> list[WriterSchema]:
        """The event schemas in the folder, each once, sorted by name."""
        return sorted({s.digest: s for s in self._known.values()}.values(), key=lambda s: s.name)

    def ids_of(self, fingerprint: str) -> list[int]:
        """The ids that files of the folder give to the schema with this fingerprint."""
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

    def _read_changes(self) -> None:
        files = _listed(self.folder)
        if files != self._files:
            self._known = self._read(files)
            self._files = files

    def _read(self, files: Sequence[_SchemaFile]) -> dict[SchemaKey, WriterSchema]:
        texts = {self.folder / file.name: _text(self.folder / file.name) for file in files}
        faults: list[str] = []
        raws: dict[Path, Any] = {}
        defined: dict[str, dict[Path, Any]] = {}
        for path, text in texts.items():
            try:
                raws[path] = json.loads(text)
                for name, one in definitions(raws[path]).items():
                    defined.setdefault(name, {})[path] = one
            except (ValueError, RecursionError):
                faults.append(f"{path}: it is not JSON, or nested too deep")
        known: dict[SchemaKey, WriterSchema] = {}
        size = 0
        for path, raw in raws.items():
            if not _may_be_of_events(raw):
                continue  # a type that records of other files refer to
            try:
                schema, canonical = _built(path, texts[path], _Elsewhere(defined, path))
            except ConfigurationError as error:
                faults += error.faults
                continue
            size += len(canonical)
            if size > MAX_FOLDER:  # many files may each refer to the same large type
                raise ConfigurationError(
                    [f"{self.folder}: its schemas have more than {MAX_FOLDER} characters, with the types they refer to"]
                )
            known |= {key: replace(schema, key=key) for key in _keys(path, canonical)}
        if faults:
            raise ConfigurationError(faults)
        return known


class _SchemaFile(NamedTuple):
    """A file's name and what differs if it was changed."""

    name: str
    inode: int
    size: int
    written_ns: int


def _listed(folder: Path) -> list[_SchemaFile]:
    """The ``.avsc`` files of a folder, sorted by name.

    :raises ConfigurationError: it is not a folder with such files, or they are too many or too large. None is read before.
    """
    try:
        with os.scandir(folder) as found:
            entries = [entry.name for entry in islice(found, MAX_ENTRIES + 1)]
    except OSError as error:
        raise ConfigurationError([f"{folder}: is not a folder with .avsc files"]) from error
    names = sorted(name for name in entries if name.endswith(".avsc"))
    if not names:
        raise ConfigurationError([f"{folder}: is not a folder with .avsc files"])
    if len(names) > MAX_FILES:
        raise ConfigurationError([f"{folder}: has more than {MAX_FILES} .avsc files"])
    if len(entries) > MAX_ENTRIES:
        what = f"has more than {MAX_ENTRIES} entries of any kind"
        raise ConfigurationError([f"{folder}: {what}; put the .avsc files into a folder of their own"])
    files = [_stated(folder / name) for name in names]
    if sum(file.size for file in files) > MAX_FOLDER:
        raise ConfigurationError([f"{folder}: its .avsc files have more than {MAX_FOLDER >> 20} MiB together"])
    return files


def _stated(path: Path) -> _SchemaFile:
    try:
        stated = path.stat()
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from error
    if not stat.S_ISREG(stated.st_mode):
        raise ConfigurationError([f"{path}: is not a regular file"])
    return _SchemaFile(path.name, stated.st_ino, stated.st_size, stated.st_mtime_ns)


class _Elsewhere(Mapping[str, Any]):
    """The types defined in all files but one, by full name. Building a dict of them for each file would be quadratic."""

    def __init__(self, defined: Mapping[str, Mapping[Path, Any]], path: Path) -> None:
        self._defined = defined
        self._path = path

    def __getitem__(self, name: str) -> Any:
        for path, one in self._defined[name].items():
            if path != self._path:
                return one
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._defined if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _may_be_of_events(raw: Any) -> bool:
    """Whether a file's schema is a record, or a union of records and null. Other files only define types to refer to."""
    branches = raw if isinstance(raw, list) else [raw]
    records = [branch for branch in branches if isinstance(branch, dict) and branch.get("type") == "record"]
    names = [branch for branch in branches if isinstance(raw, list) and isinstance(branch, str)]
    return len(records) + len(names) == len(branches) and PRIMITIVES.isdisjoint({*names} - {"null"})


class SchemasByKind:
    """Several sources of schemas, by kind of key."""

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


def _built(path: Path, text: str, references: Mapping[str, Any]) -> tuple[WriterSchema, str]:
    """The schema of a file in a folder, and its canonical form."""
    built = build(FILE_KEY, text, references)
    if isinstance(built, RefusedSchema):
        raise ConfigurationError([f"{path}: {built.reason}"])
    return built, _canonical(path, built.raw)


def _canonical(path: Path, raw: Any) -> str:
    try:
        return fastavro.schema.to_parsing_canonical_form(raw)
    except Exception as error:  # the library may raise anything on an odd schema
        # Its text would quote the schema, so only the exception's class is named.
        raise ConfigurationError([f"{path}: invalid Avro schema: {type(error).__name__}"]) from error


def _keys(path: Path, canonical: str) -> list[SchemaKey]:
    keys = [_fingerprint(canonical)]
    if re.fullmatch(r"\d{1,10}", path.stem):
        keys.append(SchemaKey("id", int(path.stem)))
    return keys


def _fingerprint(canonical: str) -> SchemaKey:
    return SchemaKey("fingerprint", fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
