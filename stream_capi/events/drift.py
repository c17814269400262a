"""Notices a field that a producer renamed: a new schema lacks a mapped path that the one before had (contract, section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import NamedTuple

from stream_capi.events.fields import FIELDS
from stream_capi.events.paths import Found, Schema
from stream_capi.events.rules import SourceRules


class MappedPath(NamedTuple):
    """A path that the mapping reads, and the name of the field or setting that it is for, as in the metrics."""

    field: str
    path: str


class Drift:
    """Compares the schemas of one source, in the order in which they are seen.

    A schema is compared with the newest one so far of the same record type, because a topic may have several, and in a
    backlog an older schema may follow a newer one. Ids give that order only among ids of one kind: Apicurio counts contents
    and artifacts' versions apart. ``lacking``: the paths that the newest schemas lack and earlier ones had.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._newest: dict[tuple[str, str], int] = {}  # ids, by record type and kind of id
        self._had: dict[str, Set[MappedPath]] = {}
        self._lacking: dict[str, Set[MappedPath]] = {}

    @property
    def lacking(self) -> list[MappedPath]:
        return sorted(set().union(*self._lacking.values()))

    def seen(self, record: str, kind: str, id_: int | str, found: Set[MappedPath]) -> list[MappedPath]:
        """Take a schema; returns the mapped paths that it lacks and the one before it had.

        ``id_`` gives the order among those of its ``kind`` if it is a number, because registries count up. ``found``: the
        mapped paths that it has.
        """
        if isinstance(id_, int):
            newest = self._newest.get((record, kind), id_)
            if id_ < newest:
                return []
            self._newest[record, kind] = id_
        lost = self._had.get(record, found) - found
        self._had[record] = found
        self._lacking[record] = (self._lacking.get(record, set()) - found) | lost
        return sorted(lost)


def mapped_paths(rules: SourceRules, schema: Schema) -> frozenset[MappedPath]:
    """The paths that a source's mapping reads and a schema has."""
    return frozenset(one for one in _all_of(rules) if isinstance(schema.find(one.path), Found))


def _all_of(rules: SourceRules) -> Iterator[MappedPath]:
    sent = [target for lane in rules.lanes() for target in rules.targets(lane)]
    for target in dict.fromkeys([*sent, *rules.never_sent()]):
        yield from (MappedPath(FIELDS[target].name, path) for path in rules.rule(target).paths)
    yield from (MappedPath("where", where.field) for where in rules.where)
    named = {name: getattr(rules, name) for name in ("event_field", "pixel_field", "consent_field")}
    yield from (MappedPath(name, path) for name, path in named.items() if path is not None)
    if rules.phone_region is not None:
        yield from (MappedPath("phone_region", path) for path in rules.phone_region.paths)
    if rules.values is not None:
        yield MappedPath("values", rules.values.field)
