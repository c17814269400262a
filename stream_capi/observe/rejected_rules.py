"""The rules that events are rejected by, as ``/status`` has them: a few of each list, the most frequent first.

Fields and paths come from the settings, so that they show nothing of an event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from stream_capi.events.rejected_field import RejectedRule, most_rejected
from stream_capi.observe.status_document import DeadLetterEntry, HeldEntry, RuleEntry

_MOST_NAMED = 10  # rules of one entry


def rule_entries(rules: Counter[RejectedRule]) -> list[RuleEntry]:
    """The most frequent rules."""
    return [
        {"code": rule.code, "field": rule.field, "source": rule.source, "count": count}
        for rule, count in rules.most_common(_MOST_NAMED)
    ]


def dead_letter_entries(rules: Mapping[tuple[str, RejectedRule], int]) -> list[DeadLetterEntry]:
    """Dead letters by topic and code, each with its rules."""
    kinds: dict[tuple[str, str], Counter[RejectedRule]] = {}
    for (topic, rule), count in rules.items():
        kinds.setdefault((topic, rule.code), Counter())[rule] += count
    ordered = sorted(kinds.items(), key=lambda kind: -kind[1].total())
    return [
        {"topic": topic, "code": code, "count": of.total(), "rules": rule_entries(of)} for (topic, code), of in ordered
    ]


def dead_letters_joined(entries: Iterable[DeadLetterEntry]) -> list[DeadLetterEntry]:
    """The same of several members. What their lists leave out of the rules is counted without a field."""
    sums: Counter[tuple[str, RejectedRule]] = Counter()
    for entry in entries:
        rules = _counted(entry["rules"])
        rules[RejectedRule(entry["code"])] += entry["count"] - rules.total()
        sums.update({(entry["topic"], rule): count for rule, count in rules.items() if count})
    return dead_letter_entries(sums)


def held_joined(entries: Iterable[HeldEntry]) -> list[HeldEntry]:
    """What several members wait for alike, once, with the rules of all of them."""
    found: dict[tuple[str, str, str], list[HeldEntry]] = {}
    for entry in entries:
        found.setdefault((entry.get("pixel", ""), entry["subject"], entry["reason"]), []).append(entry)
    return [_held_of(alike) for alike in found.values()]


def _held_of(alike: list[HeldEntry]) -> HeldEntry:
    if len(alike) == 1:
        return alike[0]
    rules = sum((_counted(entry.get("rejected", ())) for entry in alike), Counter[RejectedRule]())
    return {**alike[0], "detail": most_rejected(rules), "rejected": rule_entries(rules)}


def _counted(entries: Iterable[RuleEntry]) -> Counter[RejectedRule]:
    found: Counter[RejectedRule] = Counter()
    for entry in entries:
        found[RejectedRule(entry["code"], entry["field"], entry["source"])] += entry["count"]
    return found
