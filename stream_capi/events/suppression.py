"""Which records are of people who asked to be forgotten (contract, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stream_capi.events.fields import FIELDS
from stream_capi.events.judging import Judge, judge_of
from stream_capi.events.paths import Schema
from stream_capi.events.rules import SourceRules
from stream_capi.events.taking import Columns, Taking
from stream_capi.model import Skipped

SUPPRESSED = Skipped("suppressed")
_PHONE = "user_data.phone"


class People(Protocol):
    """The list (``pipeline.suppression_list`` reads it)."""

    def key_of_hash(self, text: str) -> bytes: ...
    def key_of_user_id(self, text: str) -> bytes: ...
    def among(self, keys: Sequence[bytes]) -> list[int]:
        """The indexes of those that are on the list."""
        ...


class Suppression:
    """Compares what is mapped to the fields that tell who a person is with the list.

    It takes and judges these fields itself: a lane may not send them, or send them unhashed, and the person is the same.
    """

    def __init__(self, rules: SourceRules, schema: Schema, people: People) -> None:
        self._people = people
        self._region: tuple[Taking, Judge] | None
        key_of: dict[str, Callable[[str], bytes]] = {
            "user_data.email": people.key_of_hash,
            _PHONE: people.key_of_hash,
            "user_data.user_id": people.key_of_user_id,
        }
        self._looked_at: list[tuple[Taking, Judge, Callable[[str], bytes]]] = []
        fields, self._region = dict(FIELDS), None
        if rules.phone_region is not None:
            from stream_capi.events import phone_regions  # loaded only where it is configured

            region = phone_regions.REGION
            taking = Taking(rules.phone_region, schema, region.target, region.longest)
            self._region = taking, judge_of(region, hash_here=True, restricted=False)
            fields[_PHONE] = phone_regions.phone_field(fields[_PHONE])
        for target, key in key_of.items():
            field = fields[target]
            taking = Taking(rules.rule(target), schema, target, field.longest)
            if not taking.is_never:
                self._looked_at.append((taking, judge_of(field, hash_here=True, restricted=False), key))

    @property
    def paths(self) -> set[str]:
        """The columns that it reads."""
        takings = [taking for taking, *_ in self._looked_at] + ([self._region[0]] if self._region else [])
        return {path for taking in takings for path in taking.paths}

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
