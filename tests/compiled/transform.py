"""The hot path: one function compiled for each (source, writer's schema, lane), from a decoded record to its payload.

``explain`` walks the same rules one by one, and tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from stream_capi.events.rules import SourceRules
from stream_capi.model import EventName, Lane, Routed, Transformed, internal_error
from tests.compiled.compiler import Compiler, Make
from tests.compiled.counts import Counts
from tests.compiled.fields import IDENTIFIER_FIELDS, MOST_TIME_MS, PERSONAL_FIELDS
from tests.compiled.paths import Schema
from tests.compiled.picking import compile_picker

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
        self._max_age = rules.max_age_ms or MOST_TIME_MS
        self._makes: dict[tuple[str, str, bool], tuple[Make, Lane]] = {}
        lane, asks = rules.lane, rules.where or rules.consent_field is not None
        self._only = None if asks or lane is None else self._make(lane, True)
        self._pick = compile_picker(rules, schema)

    def apply(
        self, rows: Sequence[dict[str, Any]], topic: str, partition: int, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        """Map decoded records. ``now_ms`` is epoch milliseconds; topic, partition and offset make the id of one without.

        A record that raises what nobody foresaw is rejected alone.
        """
        if len(rows) != len(offsets):
            raise ValueError("not as many offsets as rows")
        oldest, newest = now_ms - self._max_age, now_ms + self._rules.max_future_ms
        make: Callable[[dict[str, Any], str, int, int, int], Transformed] = self._only or self._routed
        log = f"{topic}-{partition}"
        made: list[Transformed] = []
        while len(made) < len(rows):
            at, fault = len(made), Exception()
            try:  # what was made before one raises stays in the list
                made += map(make, rows[at:], repeat(log), offsets[at:], repeat(oldest), repeat(newest))
            except MemoryError:
                raise
            except Exception as error:
                fault = error
            if len(made) < len(rows):  # a StopIteration ends the map in silence
                made.append(internal_error(fault))
        return made

    def _routed(self, row: dict[str, Any], log: str, offset: int, oldest: int, newest: int) -> Transformed:
        picked = self._pick(row)
        if picked.__class__ is not tuple:
            return picked  # type: ignore[return-value]  # a Rejection or a Skipped, which are tuples of classes of their own
        found = self._makes.get(picked)  # type: ignore[arg-type]
        make, lane = self._first(*picked) if found is None else found
        made = make(row, log, offset, oldest, newest)
        return Routed(lane, made) if made.__class__ is bytes and self._rules.lane is None else made

    def _first(self, pixel: str, event: str, consent: bool) -> tuple[Make, Lane]:
        """Compiled when first needed: an agency's source has hundreds of lanes, of which one member may see a few."""
        lane = Lane(pixel, EventName(event))
        found = self._makes[pixel, event, consent] = self._make(lane, consent), lane
        return found

    def _make(self, lane: Lane, consent: bool) -> Make:
        without = () if consent else PERSONAL_FIELDS
        return Compiler(self._rules, self._schema, lane, self.counts, without).make()


def compile_source(rules: SourceRules, schema_raw: Any) -> Transform:
    """The transform of a source for a writer's schema (its JSON). Paths that the schema lacks read as null."""
    return Transform(rules, Schema(schema_raw))
