"""Picks decoded records by content: by the ids that the mapping gives them, by people on a list, or by one field's text.

A selection takes the place of a source's mapping, so framing, schemas and decoding are the same as in the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from stream_capi.events.fields import FIELDS
from stream_capi.events.judging import judge_of
from stream_capi.events.kinds import key_reader
from stream_capi.events.optional_steps import Given, id_step
from stream_capi.events.paths import RECORD, Found, MissingPath, Schema
from stream_capi.events.rules import SourceRules
from stream_capi.events.suppression import People, Suppression, paths_of
from stream_capi.events.taking import Columns, Taking
from stream_capi.events.work import Work
from stream_capi.model import Table, Transformed, internal_error

PICKED, PASSED_OVER = b"picked", b""
_ON_THE_LIST = "on the list"
IdName = Literal["event_id", "dedupe_id"]
_IDS: dict[IdName, tuple[str, ...]] = {"event_id": ("event_id",), "dedupe_id": ("dedupe_id", "event_id")}


class Wanted(NamedTuple):
    """Which records are looked for: those with this id, or this ``text`` at a field's ``path``; or with this record key.

    For an id, a record whose key is equal to it (``key``) is found, too.
    """

    kind: Literal["key", "event_id", "dedupe_id", "field"]
    text: str
    key: bytes
    path: str = ""

    def __repr__(self) -> str:
        return f"Wanted({self.kind})"


Reader = Callable[[Columns, str, Sequence[int]], Sequence[object]]


class Selection:
    """Returns ``PICKED`` for each record for which one of the readers returns the wanted text, else ``PASSED_OVER``."""

    def __init__(self, readers: Sequence[Reader], paths: frozenset[str], wanted: str) -> None:
        self.paths = paths
        self._readers = readers
        self._wanted = wanted

    def apply(self, table: Table, topic: str, partition: int, offsets: Sequence[int], now_ms: int) -> list[Transformed]:
        """The result for each record. One that can't be decoded, or raises an unforeseen exception, has a rejection."""
        try:
            picked = [PASSED_OVER] * table.length
            for read in self._readers:
                for at, text in enumerate(read(table.columns, f"{topic}-{partition}", offsets)):
                    if text == self._wanted:
                        picked[at] = PICKED
        except MemoryError:
            raise
        except Exception as error:
            if table.length == 1:
                return [internal_error(error)]
            each = enumerate(offsets)
            return [self.apply(table.pick([at]), topic, partition, [offset], now_ms)[0] for at, offset in each]
        return [table.rejected.get(at, one) for at, one in enumerate(picked)]


def by_id(rules: Sequence[SourceRules], schema: Schema, name: IdName, wanted: str) -> Selection:
    """Selects records that get this id by one of the mappings. For ``dedupe_id``, it may also be derived."""
    readers: list[Reader] = []
    paths: set[str] = set()
    for of_source in rules:
        given = [_given(of_source, schema, target) for target in _IDS[name]]
        paths.update(path for one in given for path in one.taking.paths)
        readers.append(_id_reader(given))
    return Selection(readers, frozenset(paths), wanted)


def _given(rules: SourceRules, schema: Schema, target: str) -> Given:
    field = FIELDS[target]
    taking = Taking(rules.rule(target), schema, target, field.longest)
    return Given.of(field, taking, judge_of(field, hash_here=rules.hash_here, restricted=False), False, False)


def _id_reader(given: Sequence[Given]) -> Reader:
    step = id_step(given)

    def read(columns: Columns, place: str, offsets: Sequence[int]) -> Sequence[object]:
        work = Work(columns, len(offsets), place, offsets, 0, 0)
        step(work)
        return work.aside["id"]

    return read


def by_people(rules: Sequence[SourceRules], schema: Schema, people: People) -> Selection:
    """Selects records of people on the list, by one of the mappings, even by fields that a lane doesn't send."""

    def reader_of(suppression: Suppression) -> Reader:
        def read(columns: Columns, _: str, offsets: Sequence[int]) -> Sequence[object]:
            found = suppression.of(columns, len(offsets))
            return [_ON_THE_LIST if at in found else None for at in range(len(offsets))]

        return read

    paths = frozenset().union(*(paths_of(one, schema) for one in rules))
    return Selection([reader_of(Suppression(one, schema, people)) for one in rules], paths, _ON_THE_LIST)


def by_field(schema: Schema, path: str, wanted: str) -> Selection | MissingPath:
    """Selects records whose value at a path reads as this text, in the form of a value table's key in the settings."""
    if path == RECORD:
        return Selection([lambda _, __, offsets: [schema.record] * len(offsets)], frozenset(), wanted)
    found = schema.find(path)
    if not isinstance(found, Found):
        return found
    reads = key_reader(found.kinds)

    def read(columns: Columns, _: str, __: Sequence[int]) -> Sequence[object]:
        column = columns[path]
        return column if reads is None else [None if value is None else reads(value) for value in column]

    return Selection([read], frozenset({path}), wanted)
