"""Finds records of people who asked to be forgotten: those on the suppression list (contract, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stream_capi.events.fields import FIELDS, Field
from stream_capi.events.judging import Judge, judge_of
from stream_capi.events.paths import Schema
from stream_capi.events.rules import TELL_WHO, SourceRules
from stream_capi.events.taking import Columns, Taking
from stream_capi.model import Skipped

SUPPRESSED = Skipped("suppressed")
_PHONE, _USER_ID, _REGION = "user_data.phone", "user_data.user_id", "phone_region"


class People(Protocol):
    """The suppression list (``pipeline.suppression_list`` reads it)."""

    def key_of_hash(self, text: str) -> bytes: ...
    def key_of_user_id(self, text: str) -> bytes: ...
    def among(self, keys: Sequence[bytes]) -> list[int]:
        """The indexes of the keys that are on the list."""
        ...


class Suppression:
    """Compares the values mapped to email, phone and user_id with the list.

    It maps and validates these fields itself, because a lane may not send them, or may send them unhashed.
    """

    def __init__(self, rules: SourceRules, schema: Schema, people: People) -> None:
        self._people = people
        self._region: tuple[Taking, Judge] | None = None
        self._looked_at: list[tuple[Taking, Judge, Callable[[str], bytes]]] = []
        fields, takings = dict(FIELDS), _takings(rules, schema)
        if (region := takings.pop(_REGION, None)) is not None:
            from stream_capi.events import phone_regions  # imported only if it is configured

            self._region = region, _judge(phone_regions.REGION)
            fields[_PHONE] = phone_regions.phone_field(fields[_PHONE])
        for target, taking in takings.items():
            if not taking.is_never:
                key = people.key_of_user_id if target == _USER_ID else people.key_of_hash
                self._looked_at.append((taking, _judge(fields[target]), key))

    def of(self, columns: Columns, length: int) -> set[int]:
        """The indexes of the records to be skipped."""
        found: set[int] = set()
        region = self._region and self._region[1](self._region[0].column(columns, length)[0], None)[0]
        for taking, judge, key in self._looked_at:
            texts = judge(taking.column(columns, length)[0], region)[0]
            there = [at for at, text in enumerate(texts) if text]
            if there:
                found.update(there[at] for at in self._people.among([key(texts[at]) for at in there]))
        return found


def paths_of(rules: SourceRules, schema: Schema) -> set[str]:
    """The columns that are read to find people on a list."""
    return {path for taking in _takings(rules, schema).values() for path in taking.paths}


def _takings(rules: SourceRules, schema: Schema) -> dict[str, Taking]:
    """Where the fields of the list come from, and the country of phone numbers, if it is configured."""
    takings = {target: Taking(rules.rule(target), schema, target, FIELDS[target].longest) for target in TELL_WHO}
    if rules.phone_region is not None:
        takings[_REGION] = Taking(rules.phone_region, schema, _REGION, FIELDS["user_data.country_code"].longest)
    return takings


def _judge(field: Field) -> Judge:
    return judge_of(field, hash_here=True, restricted=False)
