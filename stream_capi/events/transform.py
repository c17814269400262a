"""The hot path: maps a table of decoded values to payloads, column by column.

``explain`` runs the same plans on a table of one record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stream_capi.events.counts import Counts
from stream_capi.events.fields import IDENTIFIER_FIELDS, Field
from stream_capi.events.judging import NOTHING
from stream_capi.events.lane_plan import LanePlan
from stream_capi.events.paths import RECORD, Schema
from stream_capi.events.routing import Routing, Way
from stream_capi.events.rules import SourceRules
from stream_capi.events.shared_values import SharedValues
from stream_capi.events.suppression import SUPPRESSED, People, Suppression, paths_of
from stream_capi.events.suspects import SHORT, short_ids
from stream_capi.events.taking import Columns, Taking
from stream_capi.events.value_rules import MOST_TIME_MS
from stream_capi.events.work import Fault, Work
from stream_capi.model import Lane, Paused, Routed, Skipped, Table, Transformed, internal_error

__all__ = ["IDENTIFIER_FIELDS", "Counts", "Transform", "compile_source"]


class Transform:
    """A source's mapping for one writer's schema.

    A finished payload is not validated: each step of a plan validates its field, and tests check the payloads against the
    API document. ``people``: those who asked to be forgotten. ``shared`` looks for values that many events have.
    """

    def __init__(
        self, rules: SourceRules, schema: Schema, people: People | None = None, shared: SharedValues | None = None
    ) -> None:
        self.counts = Counts(shared)
        self.routing = Routing(rules, schema)
        self._suppression = Suppression(rules, schema, people) if people is not None else None
        self._rules = rules
        self._schema = schema
        self._max_age = rules.max_age_ms or MOST_TIME_MS
        self._plans: dict[Way, LanePlan] = {}
        lane = rules.lane
        self._only = None if self.routing.questions or lane is None else self.plan((lane.pixel, lane.event, True))
        also = paths_of(rules, schema) if people is not None or rules.suppresses else set()
        paths = self.routing.paths.union(also, *(one.paths for one in self._every_plan()))
        self.paths = frozenset(paths - {RECORD})
        self._record = [schema.record] if RECORD in paths else []

    def completed(self, table: Table) -> Table:
        """The table with a column for ``$record``, if the rules use it."""
        if not self._record:
            return table
        return table._replace(columns={**table.columns, RECORD: self._record * table.length})

    def apply(self, table: Table, topic: str, partition: int, offsets: Sequence[int], now_ms: int) -> list[Transformed]:
        """Map decoded records. ``now_ms`` is epoch milliseconds. An id is derived from topic, partition and offset if needed.

        If a record raises an unforeseen exception, only that record is rejected.
        """
        if table.length != len(offsets):
            raise ValueError("not as many offsets as records")
        place = f"{topic}-{partition}"
        table = self.completed(table)
        try:
            suppressed = self.suppressed(table.columns, table.length)
            if self._only is None or table.rejected or suppressed:
                return self._of_groups(table, suppressed, place, offsets, now_ms)
            work = self.run(self._only, table.columns, table.length, place, offsets, now_ms)
            payloads: list[Transformed] = work.payloads()
            self._count(self._only, work)
            return payloads
        except MemoryError:
            raise
        except Exception as error:
            if table.length == 1:
                return [internal_error(error)]
        return [
            made
            for at, offset in enumerate(offsets)
            for made in self.apply(table.pick([at]), topic, partition, [offset], now_ms)
        ]

    def suppressed(self, columns: Columns, length: int) -> dict[int, Fault]:
        """The records of people who asked to be forgotten, by index."""
        return dict.fromkeys(self._suppression.of(columns, length), SUPPRESSED) if self._suppression is not None else {}

    def _of_groups(
        self, table: Table, suppressed: Mapping[int, Fault], place: str, offsets: Sequence[int], now_ms: int
    ) -> list[Transformed]:
        """Map the records of each lane, and put the results back in order.

        A suppressed record is skipped even if it would be rejected, because a dead letter would keep the person's data.
        """
        ways, faults = self.routing.ways(table.columns, table.length)
        not_meant = {at: fault for at, fault in faults.items() if isinstance(fault, Skipped | Paused)}
        faults = {**faults, **suppressed, **not_meant, **table.rejected}
        groups: dict[Way, list[int]] = {}
        for at, way in enumerate(ways):
            if at not in faults:
                groups.setdefault(way, []).append(at)
        made: list[Any] = [faults.get(at) for at in range(table.length)] if faults else [None] * table.length
        done: list[tuple[LanePlan, Work]] = []
        for way, indexes in groups.items():
            plan, length = self.plan(way), len(indexes)
            whole = length == table.length
            columns = table.columns if whole else _columns(table.columns, plan.paths, indexes)
            of_group = offsets if whole else [offsets[at] for at in indexes]
            work = self.run(plan, columns, length, place, of_group, now_ms)
            done.append((plan, work))
            for at, one in zip(indexes, self.routed(plan.lane, work.payloads()), strict=True):
                made[at] = one
        for plan, work in done:
            self._count(plan, work)
        return made

    def run(
        self, plan: LanePlan, columns: Columns, length: int, place: str, offsets: Sequence[int], now_ms: int
    ) -> Work:
        """Make the events of one lane. ``place`` is ``<topic>-<partition>``."""
        oldest, newest = now_ms - self._max_age, now_ms + self._rules.max_future_ms
        return plan.run(columns, length, place, offsets, oldest, newest)

    def routed(self, lane: Lane, payloads: list[Any]) -> list[Any]:
        """The payloads, each with its lane if the source has several."""
        if self._rules.lane is not None:
            return payloads
        return [Routed(lane, payload) if payload.__class__ is bytes else payload for payload in payloads]

    def _count(self, plan: LanePlan, work: Work) -> None:
        """Count the results. Called only when nothing can raise any more, so that no event is counted twice."""
        counts, faults, judged = self.counts, work.faults, work.judged
        if sent := work.length - len(faults):
            plan.counted_here[""] += sent
        for name, target in plan.identifiers.items():
            if target in judged:
                texts, _, n, _ = judged[target]
                if n and faults:
                    n -= sum(1 for at in faults if texts[at])
                if n:
                    plan.counted_here[name] += n
        if work.dropped:
            counts.dropped.update(work.dropped)
        if suspect := work.aside.get("suspect"):
            for reason, n in Counter(why for at, why in enumerate(suspect) if at not in faults).items():
                if reason is not None:
                    counts.suspect[plan.event, "client_ip_address", reason] += n
        ids, _, n, _ = judged.get("user_data.user_id", NOTHING)
        if n and (n := short_ids(ids, faults, n == work.length)):
            counts.suspect[plan.event, "user_id", SHORT] += n
        if counts.shared is not None:
            counts.shared.look(plan.event, work)

    def taking(self, field: Field) -> Taking:
        """Where a field comes from, even if its lane doesn't send it."""
        return Taking(self._rules.rule(field.target), self._schema, field.target, field.longest)

    def plan(self, way: Way) -> LanePlan:
        """The plan for a way, made at its first use: a source may have hundreds of lanes, and a member sees a few of them."""
        found = self._plans.get(way)
        if found is None:
            pixel, event, consent = way
            found = self._plans[way] = LanePlan(self._rules, self._schema, Lane(pixel, event), consent, self.counts)
        return found

    def _every_plan(self) -> list[LanePlan]:
        """A plan for each event and profile. Together they read every column that any plan reads."""
        rules = self._rules
        lanes = {(lane.event, rules.restricted[lane.pixel]): lane for lane in rules.lanes()}
        return [self.plan((lane.pixel, lane.event, True)) for lane in lanes.values()]


def _columns(columns: Columns, paths: set[str], indexes: Sequence[int]) -> Columns:
    return {path: [columns[path][at] for at in indexes] for path in paths}


def compile_source(
    rules: SourceRules,
    schema_raw: Any,
    record: str = "",
    *,
    people: People | None = None,
    shared: SharedValues | None = None,
) -> Transform:
    """The transform of a source for a writer's schema (its JSON). Paths that the schema lacks read as null.

    ``record``: the full name of the records' type, if the schema's top-level type is a union. ``people``: those who asked to
    be forgotten. ``shared`` looks for values that many events have.
    """
    return Transform(rules, Schema(schema_raw, record), people, shared)
