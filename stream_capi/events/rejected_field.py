"""Which field of an event a rejection is about, read from its detail: for those who count rejections by rule.

A detail is made of the settings and of a rule's sentence, so that there are few different ones.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from stream_capi.config.settings import TARGETS
from stream_capi.model import Code, Rejection

_of_field = re.compile(r"([a-z_.]+): .*?(?: \(from (\".*\")\))?", re.DOTALL).fullmatch
_of_routing = re.compile(r"(event_field|pixel_field) (\".*\") (?:is|names) .*", re.DOTALL).fullmatch


class RejectedField(NamedTuple):
    """``field``: a target or a setting, empty where no field is at fault. ``paths``: where its value was looked for."""

    field: str = ""
    paths: str = ""


class RejectedRule(NamedTuple):
    """What events were rejected by: the code, and the field and the paths, as ``RejectedField`` has them."""

    code: str
    field: str = ""
    source: str = ""

    def __str__(self) -> str:
        field = f" {self.field}" if self.field else ""
        return f"{self.code}{field}" + (f" (from {self.source})" if self.source else "")


def rule_of(code: Code, detail: str) -> RejectedRule:
    """The rule that an event was rejected by, as its dead letter tells it."""
    return RejectedRule(code.value, *_field_in(detail))


def most_rejected(rules: Counter[RejectedRule]) -> str:
    """The rule that most were rejected by, and its count among all, in words. Empty where there are none."""
    return "".join(f"{count:,} of {rules.total():,}: {rule}" for rule, count in rules.most_common(1))


def field_of(rejection: Rejection) -> RejectedField:
    """The field that an event was rejected for."""
    return _field_in(rejection.detail)


@lru_cache(maxsize=1_000)
def _field_in(detail: str) -> RejectedField:
    found = _of_field(detail)
    if found is not None and found[1] in TARGETS:
        return RejectedField(found[1], found[2] or "")
    routed = _of_routing(detail)
    return RejectedField(*routed.groups()) if routed is not None else RejectedField()
