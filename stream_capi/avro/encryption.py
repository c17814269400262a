"""Which fields a registry's rules encrypt: a value mapped from one would be ciphertext (contract, section 4).

A data contract's rule of type ENCRYPT encrypts the fields that have one of its tags, or all if it names none. A field has
the tags written beside it in the schema (``confluent:tags``) and those that the schema's metadata give to its full name. A
rule of type ENCRYPT_PAYLOAD encrypts all that follows the schema id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from stream_capi.avro.hardening import Node
from stream_capi.config.dotted_paths import Step, steps
from stream_capi.errors import ENCRYPTED

_RULE_SETS = ("domainRules", "encodingRules")
_FIELDS, _PAYLOAD = "ENCRYPT", "ENCRYPT_PAYLOAD"
_MOST_WORK = 1_000_000  # fields times characters of all patterns with wildcards


class Encrypted(NamedTuple):
    """What is ciphertext in a schema's records: ``fields`` (``<record's full name>.<field>``), or the whole ``payload``."""

    fields: frozenset[str] = frozenset()
    payload: bool = False

    def fault(self, root: Node, paths: Iterable[str]) -> str:
        """Why the values at these paths can't be mapped; empty if none of them is encrypted."""
        if self.payload:
            return f"{ENCRYPTED} the whole payload ({_PAYLOAD})"
        met = [path for path in sorted(paths) if self._is_on(root, steps(path))] if self.fields else []
        if not met:
            return ""
        return f"{ENCRYPTED} fields that are mapped ({_FIELDS}): {', '.join(met)}"

    def _is_on(self, root: Node, path: Sequence[Step]) -> bool:
        """Whether a path ends in an encrypted field, in an item of one, or in a record with one inside."""
        here = [(root, False)]
        for step in path:
            here = [(inner, own) for node, was in here for inner, own in self._inside(node, str(step), was)]
        return any(own or not self.fields.isdisjoint(_fields_of(node)) for node, own in here)

    def _inside(self, node: Node, step: str, encrypted: bool) -> Iterator[tuple[Node, bool]]:
        for branch in node.branches or (node,):
            for name, field in branch.fields:
                if name == step:
                    yield field, f"{branch.name}.{name}" in self.fields
            if branch.items is not None:
                yield branch.items, encrypted


NOTHING_ENCRYPTED = Encrypted()


def _fields_of(root: Node) -> Iterator[str]:
    """The full names of the fields of all records inside a type; each type is visited once."""
    met, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in met:
            continue
        met.add(id(node))
        yield from (f"{node.name}.{name}" for name, _ in node.fields)
        waiting += node.inside


class Rules(NamedTuple):
    """Encryption by a registry's answer. ``rules``: the tags of each ENCRYPT rule; a rule without tags is for all fields."""

    rules: tuple[frozenset[str], ...] = ()
    payload: bool = False
    tags: Mapping[str, frozenset[str]] = MappingProxyType({})  # by the pattern of a field's full name


def rules_of(answer: Mapping[str, Any]) -> Rules | None:
    """The rules in an answer; None if they don't have the shape that a registry gives them."""
    rule_set, metadata = answer.get("ruleSet") or {}, answer.get("metadata") or {}
    if not isinstance(rule_set, dict) or not isinstance(metadata, dict):
        return None
    tags = metadata.get("tags") or {}
    lists = [rule_set.get(name) or [] for name in _RULE_SETS]
    if not isinstance(tags, dict) or not all(isinstance(one, list) for one in lists):
        return None
    stated = [rule for one in lists for rule in one]
    if not all(isinstance(rule, dict) and isinstance(rule.get("type"), str) for rule in stated):
        return None
    kinds = [(rule["type"].upper(), _texts(rule.get("tags"))) for rule in stated if rule.get("disabled") is not True]
    return Rules(
        tuple(of for kind, of in kinds if kind.startswith(_FIELDS) and not kind.startswith(_PAYLOAD)),
        any(kind.startswith(_PAYLOAD) for kind, _ in kinds),
        {str(pattern): _texts(of) for pattern, of in tags.items()},
    )


def encrypted(rules: Rules, types: Mapping[str, Any]) -> Encrypted:
    """What the rules encrypt in a schema; ``types`` is the JSON of its named types by full name."""
    if rules.payload or not rules.rules:
        return Encrypted(payload=rules.payload)
    fields = {f"{full}.{field['name']}": field for full, one in types.items() for field in one.get("fields") or ()}
    wild = [(pattern, of) for pattern, of in rules.tags.items() if "*" in pattern or "?" in pattern]
    if len(fields) * sum(len(pattern) for pattern, _ in wild) > _MOST_WORK:
        return Encrypted(frozenset(fields))  # rather too many fields than unbounded time
    found = set()
    for name, field in fields.items():
        tags = _texts(field.get("confluent:tags")) | rules.tags.get(name, frozenset())
        tags = tags.union(*(of for pattern, of in wild if matches(name, pattern)))
        if any(not of_rule or tags & of_rule for of_rule in rules.rules):
            found.add(name)
    return Encrypted(frozenset(found))


def matches(name: str, pattern: str) -> bool:
    """Whether a full name matches a pattern: ``?`` is one character, ``*`` any number of them, no dots; ``**`` any text.

    Patterns come from the registry, and a regular expression with many stars may backtrack without bound. So this keeps the
    set of positions in the name that the pattern can have reached, as bits of an integer; each sign of the pattern moves it.
    """
    places: dict[str, int] = {}
    for at, sign in enumerate(name):
        places[sign] = places.get(sign, 0) | 1 << at
    end = 1 << len(name)
    undotted = (end - 1) & ~places.get(".", 0)
    reached = 1
    for sign in _signs(pattern.replace("**.*", "**")):
        if sign == "**":
            reached = (2 * end - 1) & -(reached & -reached)
        elif sign == "*":
            while reached != (further := reached | (reached & undotted) << 1):
                reached = further
        else:
            reached = (reached & (undotted if sign == "?" else places.get(sign, 0))) << 1
    return bool(reached & end)


_signs = re.compile(r"\*\*|.", re.DOTALL).findall


def _texts(given: Any) -> frozenset[str]:
    return frozenset(map(str, given if isinstance(given, list) else [] if given is None else [given]))
