"""The hot path: one function compiled for each (source, writer's schema, lane), from a decoded record to its payload.

``explain`` walks the same rules one by one, and tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stream_capi.events.compiler import Compiler, Make
from stream_capi.events.counts import Counts
from stream_capi.events.fields import IDENTIFIER_FIELDS, PERSONAL_FIELDS
from stream_capi.events.paths import Missing, Schema, follow
from stream_capi.events.routing import Way, route, routing_paths
from stream_capi.events.rules import SourceRules
from stream_capi.model import Routed, Transformed

__all__ = ["IDENTIFIER_FIELDS", "Counts", "Transform", "compile_source"]


class Transform:
    """A source's mapping for one writer's schema.

    Nothing validates a payload after it was made: each line of a compiled function is what makes one field valid, and
    tests hold the payloads against the API document.
    """

    def __init__(self, rules: SourceRules, schema: Schema) -> None:
        self.counts = Counts()
        self._rules = rules
        self._schema = schema
        self._max_age = rules.max_age_ms or 1 << 62
        self._makes: dict[Way, Make] = {}
        plain = rules.lane is not None and not rules.where and rules.consent_field is None
        self._only = self._make(Way(rules.lane, True)) if plain and rules.lane is not None else None
        self._read = {path: _reader(schema, path) for path in routing_paths(rules)}

    def apply(
        self, rows: Sequence[dict[str, Any]], topic: str, partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        """Map decoded records. ``now_ms`` is epoch milliseconds; topic, partition and offset make the id of one without."""
        place = f"{topic}-{partition}-"
        oldest, newest = now_ms - self._max_age, now_ms + self._rules.max_future_ms
        make = self._only
        if make is not None:
            return [make(row, f"{place}{at}", oldest, newest) for row, at in zip(rows, offsets, strict=True)]
        return [self._routed(row, f"{place}{at}", oldest, newest) for row, at in zip(rows, offsets, strict=True)]

    def _routed(self, row: dict[str, Any], place: str, oldest: int, newest: int) -> Transformed:
        way = route(self._rules, lambda path: self._read[path](row))
        if not isinstance(way, Way):
            return way
        make = self._makes.get(way) or self._make(way)
        made = make(row, place, oldest, newest)
        if made.__class__ is bytes:
            return made if self._rules.lane is not None else Routed(way.lane, made)
        return made

    def _make(self, way: Way) -> Make:
        """Compiled when first needed: an agency's source has hundreds of lanes, of which one member may see a few."""
        without = () if way.consent else PERSONAL_FIELDS
        make = self._makes[way] = Compiler(self._rules, self._schema, way.lane, self.counts, without).make()
        return make


def compile_source(rules: SourceRules, schema_raw: Any) -> Transform:
    """The transform of a source for a writer's schema (its JSON). Paths that the schema lacks read as null."""
    return Transform(rules, Schema(schema_raw))


def _reader(schema: Schema, path: str) -> Callable[[Any], Any]:
    found = schema.find(path)
    if isinstance(found, Missing):
        return lambda row: None
    reader: Callable[[Any], Any] = eval(f"lambda row: {found.code}", {"follow": follow})  # noqa: S307 -- our own text
    return reader
