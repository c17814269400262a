"""What ``stream-capi init`` suggests in comments: fields that look like a consent, or like an event's type."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from stream_capi.events import known_names as known
from stream_capi.events.name_ranks import is_plain_path, plain, words_of
from stream_capi.events.paths import Schema

_TEXTS = frozenset({"string", "enum"})


class Consent(NamedTuple):
    """A field that looks like a consent. ``purposes``: it is a map or a list of the purposes that a person consented to."""

    path: str
    purposes: bool


def consents(schema_raw: Any, record: str = "") -> list[Consent]:
    """The fields that look like a consent, best first."""
    found: list[tuple[bool, bool, int, Consent]] = []
    for leaf in Schema(schema_raw, record).described_leaves():
        steps = [words_of(step) for step in leaf.path.split(".")]
        at = [_says_consent(words) for words in steps]
        if not any(at) or not is_plain_path(leaf.path) or known.NO_CONSENT & set(steps[-1]):
            continue
        types = {kind.type for kind in leaf.kinds if not kind.logical}
        if types & {"boolean", "string", "enum", "map", "array"}:
            purposes = not types & {"boolean", "string", "enum"}
            found.append((not at[-1], "opt" in leaf.path.lower(), len(found), Consent(leaf.path, purposes)))
    return [one[-1] for one in sorted(found)]


def _says_consent(words: list[str]) -> bool:
    pairs = {"".join(pair) for pair in pairwise(words)}
    return bool(known.CONSENTS & ({*words} | pairs))


def event_fields(schema_raw: Any, record: str = "") -> list[str]:
    """Fields that say what kind of event a record is, best first."""
    found = []
    for leaf in Schema(schema_raw, record).described_leaves():
        *around, last = leaf.path.split(".")
        name = plain(last)
        is_text = any(kind.type in _TEXTS for kind in leaf.kinds)
        if (
            is_text
            and name in known.EVENT_FIELDS
            and is_plain_path(leaf.path)
            and {*map(plain, around)} <= known.WRAPPERS
        ):
            found.append((known.EVENT_FIELDS.index(name), len(around), leaf.path))
    return [path for _, _, path in sorted(found)]


def is_change(schema_raw: Any, record: str = "") -> bool:
    """Whether a record is a change to a table's row, as Debezium writes it."""
    names = {leaf.path for leaf in Schema(schema_raw, record).described_leaves() if "." not in leaf.path}
    return {"before", "after", "op"} <= names
