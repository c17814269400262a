"""The steps from a table to the events of one lane, composed once for each writer's schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stream_capi.events.counts import Counts
from stream_capi.events.fields import FIELDS, IDENTIFIER_FIELDS, NOT_PUBLIC, RESTRICTED_IDENTIFIERS, Field, Need
from stream_capi.events.judging import Judge, judge_of, judged_alone
from stream_capi.events.needed_steps import (
    Needed,
    amount_step,
    or_default,
    origin_step,
    required,
    suspects,
    time_step,
)
from stream_capi.events.optional_steps import Given, id_step, identified, optionals, region_step
from stream_capi.events.paths import Found, Schema
from stream_capi.events.rules import SourceRules
from stream_capi.events.taking import Columns, Taking
from stream_capi.events.whole import are_tidy
from stream_capi.events.work import Fault, Step, Work
from stream_capi.model import Code, EventName, Lane, Rejection, Skipped

_PHONE = "user_data.phone"
_FROM_URL = ("user_data.aleid", "user_data.alart")


class LanePlan:
    """The mapping of one lane. Without ``consent``, personal fields are left out."""

    def __init__(self, rules: SourceRules, schema: Schema, lane: Lane, consent: bool, counts: Counts) -> None:
        self.lane = lane
        self.event = lane.event.value
        self._rules = rules
        self._schema = schema
        self._restricted = rules.restricted[lane.pixel]
        self._consent = consent
        self._allowed = set(rules.targets(lane))
        self.fields: Mapping[str, Field] = FIELDS
        self.region: tuple[Field, Taking] | None = None
        if rules.phone_region is not None:
            from stream_capi.events import phone_regions  # imported only if it is configured

            region = phone_regions.REGION
            self.region = region, Taking(rules.phone_region, schema, region.target, region.longest)
            self.fields = {**FIELDS, _PHONE: phone_regions.phone_field(FIELDS[_PHONE])}
        self.takings = {
            target: Taking(rules.rule(target), schema, target, field.longest)
            for target, field in self.fields.items()
            if target in self._allowed and (consent or not field.personal)
        }
        self.counted = RESTRICTED_IDENTIFIERS if self._restricted else IDENTIFIER_FIELDS
        self.nobody: Fault = (
            Rejection(Code.NO_IDENTIFIER, f"none of {', '.join(self.counted)} is there", lane.pixel)
            if consent
            else Skipped("no_consent")
        )
        targets = {name: f"user_data.{name}" for name in IDENTIFIER_FIELDS}
        self.identifiers = {name: target for name, target in targets.items() if target in self.takings}
        self.counted_here = counts.of_lane(lane)
        self._steps = list(self._made())
        self._trimmed = [
            taking.plain_path
            for target, taking in self.takings.items()
            if FIELDS[target].need not in (Need.REQUIRED, Need.DATA)
            and taking.plain_path
            and self._is_only_trimmed(target)
        ]
        self._longest = min(FIELDS[target].longest for target in self.takings if self._is_only_trimmed(target))

    @property
    def paths(self) -> set[str]:
        """The columns that the steps read."""
        of_fields = {path for taking in self.takings.values() for path in taking.paths}
        if self.region is not None:
            of_fields.update(self.region[1].paths)
        return of_fields | ({self._worth_path} if self._worth_path else set())

    def run(self, columns: Columns, length: int, place: str, offsets: Sequence[int], oldest: int, newest: int) -> Work:
        """Make events. ``oldest`` and ``newest`` are epoch milliseconds; ``place`` is ``<topic>-<partition>``."""
        work = Work(columns, length, place, offsets, oldest, newest)
        work.tidy = are_tidy([columns[path] for path in self._trimmed], self._longest)
        for step in self._steps:
            step(work)
        return work

    @property
    def _worth_path(self) -> str | None:
        """The path whose value is looked up in the source's table of values; None if there is none for this lane."""
        rule = self._rules.values
        if rule is None or self.lane.event is not EventName.GENERATE_LEAD:
            return None
        return rule.field if isinstance(self._schema.find(rule.field), Found) else None

    def _made(self) -> Iterator[Step]:
        """The steps in the order of the fields."""
        for target, taking in self.takings.items():
            if FIELDS[target].need in (Need.REQUIRED, Need.DATA):
                yield self._needed(FIELDS[target], taking)
        if self.region is not None and _PHONE in self.takings:
            field, taking = self.region
            yield region_step(field, taking, self._judge(field))
        yield optionals(self._given(Need.IDENTIFIER))
        yield identified([f"user_data.{name}" for name in self.counted], self.nobody)
        yield optionals(self._given(Need.OPTIONAL))
        yield id_step(self._given(Need.ID))

    def _is_only_trimmed(self, target: str) -> bool:
        rule = self.fields[target].rule_for(hash_here=self._rules.hash_here, restricted=self._restricted)
        return rule.only_trims

    def _given(self, need: Need) -> list[Given]:
        """The fields with this need, and what validates them."""
        return [
            Given.of(
                self.fields[target],
                taking,
                self._judge(self.fields[target]),
                target in _FROM_URL,
                self._is_only_trimmed(target),
            )
            for target, taking in self.takings.items()
            if FIELDS[target].need is need
        ]

    def _judge(self, field: Field) -> Judge:
        return judge_of(field, hash_here=self._rules.hash_here, restricted=self._restricted)

    def _needed(self, field: Field, taking: Taking) -> Step:
        rules, target = self._rules, field.target
        needed = Needed(field, taking, self.lane.pixel)
        if target == "event_time":
            return time_step(needed, f'{{"name":"{self.lane.event.value}","event_time":')
        if target == "data.value":
            return amount_step(needed, rules.values, self._worth_path)
        judge = self._judge(field)
        if target == "event_source_url":
            return (origin_step if self._restricted else required)(needed, judge, ',"event_source_url":"')
        if target == "data.currency":
            default = rules.default_currency
            settle = None if default is None else or_default(needed, judged_alone(judge, default, field))
            return required(needed, judge, '","data":{"currency":"', settle)
        if target == "user_data.client_ip_address":
            is_lead = self.lane.event is EventName.GENERATE_LEAD
            before = "" if is_lead else '","data":null,"user_data":{"client_ip_address":"'
            return required(needed, judge, before, then=suspects(needed, NOT_PUBLIC if rules.refuse_private else None))
        return required(needed, judge, f'","{field.name}":"')
