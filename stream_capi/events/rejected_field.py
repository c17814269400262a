"""Reads from a rejection's detail which field it is about, to count rejections by rule.

A detail consists of names from the settings and a rule's sentence, so there are few different ones.
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
    """``field``: a target or a setting, empty if the fault is not a field's. ``paths``: where its value was looked for."""

    field: str = ""
    paths: str = ""


class RejectedRule(NamedTuple):
    """The rule by which events were rejected: the code, and field and paths as in ``RejectedField``."""

    code: str
    field: str = ""
    source: str = ""

    def __str__(self) -> str:
        field = f" {self.field}" if self.field else ""
        return f"{self.code}{field}" + (f" (from {self.source})" if self.source else "")


def rule_of(code: Code, detail: str) -> RejectedRule:
    """The rule by which an event was rejected, from its dead letter's code and detail."""
    return RejectedRule(code.value, *_field_in(detail))


def most_rejected(rules: Counter[RejectedRule]) -> str:
    """The rule by which most events were rejected, with its count and the total, as text. Empty if there are none."""
    return "".join(f"{count:,} of {rules.total():,}: {rule}" for rule, count in rules.most_common(1))


def field_of(rejection: Rejection) -> RejectedField:
    """The field for which an event was rejected."""
    return _field_in(rejection.detail)


@lru_cache(maxsize=1_000)
def _field_in(detail: str) -> RejectedField:
    found = _of_field(detail)
    if found is not None and found[1] in TARGETS:
        return RejectedField(found[1], found[2] or "")
    routed = _of_routing(detail)
    return RejectedField(*routed.groups()) if routed is not None else RejectedField()
