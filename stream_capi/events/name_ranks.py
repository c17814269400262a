"""Ranks a field by how well its name fits a target of the mapping (``stream-capi init``)."""

from __future__ import annotations

import re
from typing import NamedTuple

from stream_capi.events import known_names as known
from stream_capi.events.paths import Found, Leaf, Schema

UNKNOWN = 100  # added to the rank of a known name after unknown words
LAST = 1_000  # added to the rank of a name for a former value, or for another person or thing
_SIGNS = re.compile(r"[^a-z0-9]")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Names that follow Avro's rule, which any schema should.
is_plain_path = re.compile(r"[A-Za-z_]\w*(?:(?:\[0\])?\.[A-Za-z_]\w*)*", re.ASCII).fullmatch
_IDS = ("event_id", "user_data.user_id", "user_data.client_id")


class Candidate(NamedTuple):
    """A path for a target; the lowest rank is the best. ``beside``: how many words its name has besides the known one."""

    rank: int
    beside: int
    depth: int
    path: str
    leaf: Leaf


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case; they are the same for ``userIPAddress`` and ``user_ip_address``."""
    return [word.lower() for word in _WORDS.findall(name.removesuffix("__c"))]


def plain(name: str) -> str:
    return _SIGNS.sub("", name.lower())


def by_name(target: str, leaf: Leaf, schema: Schema) -> Candidate | None:
    steps = [words_of(step) for step in leaf.path.split(".")]
    best = _rank(target, steps)
    if best is None and target == "event_time":
        best = _rank_of_time(steps, leaf)
    if best is None or _is_of_a_pair(leaf.path, schema):
        return None
    rank, beside = best
    around = {word for words in steps[:-1] for word in _without_user_agent(words)} | {*beside}
    if around & (known.PAST | known.OTHERS) or (target.startswith("data.") and around & known.PARTS):
        rank += LAST
    return Candidate(rank, len(beside), leaf.path.count("."), leaf.path, leaf)


def _rank(target: str, steps: list[list[str]]) -> tuple[int, list[str]] | None:
    """The rank of a path's last name, alone or with the one before it, and the words beside the known name."""
    names = known.NAMES[target].replace("|", "").split()
    words = _trimmed(target, steps[-1])
    for last in (steps[-1], words):
        whole = ["".join(last), *(["".join(steps[-2] + last)] if len(steps) > 1 else ())]
        ranks = [names.index(name) for name in whole if name in names]
        if ranks and not _is_another_s_id(target, whole[0], steps):
            by_number = last != steps[-1] and last[-1] == "id"  # a customer number may not be the customer's id
            return min(ranks) + (UNKNOWN if by_number else 0), []
    excluded = known.NOT_IT | known.NOT_IT_FOR.get(target, frozenset())
    for at in range(1, len(words)):
        name, beside = "".join(words[at:]), _without_user_agent(words[:at])
        if name not in names or excluded & set(words[:at]):
            continue
        if set(beside) <= known.BESIDE.get(target, known.BESIDE_ANY):
            return names.index(name), beside
        if name not in known.ALONE:
            return names.index(name) + UNKNOWN, beside
    return None


def _trimmed(target: str, words: list[str]) -> list[str]:
    """The words of a name without those that don't change its meaning; ``number`` in an identifier becomes ``id``."""
    if len(words) > 1 and words[-1] in known.NOISE:
        return words[:-1]
    if len(words) > 1 and target in _IDS and words[-1] in known.NUMBERS:
        return [*words[:-1], "id"]
    if target == "event_time":
        return words_of(known.COUNTS.sub("", "_".join(words))) or words
    return words


def _is_another_s_id(target: str, name: str, steps: list[list[str]]) -> bool:
    """Whether a plain ``id`` is that of a thing in the record, and not the event's."""
    if target != "event_id" or name not in ("id", "uuid") or len(steps) < 2:
        return False
    around = {word for words in steps[:-1] for word in words}
    return not (around <= known.WRAPPERS | known.EVENT_LIKE | known.PAST or known.EVENT_LIKE & set(steps[-2]))


def _is_of_a_pair(path: str, schema: Schema) -> bool:
    """Whether the path is the value in a list of key-value pairs, where it may belong to any key."""
    item, _, last = path.rpartition(".")
    return (
        item.endswith("[0]")
        and last == "value"
        and any(isinstance(schema.find(f"{item}.{key}"), Found) for key in ("key", "name"))
    )


def _rank_of_time(steps: list[list[str]], leaf: Leaf) -> tuple[int, list[str]] | None:
    words = _trimmed("event_time", steps[-1])
    if len(words) < 2:
        return None
    around = {word for step in steps[:-1] for word in step}
    of_time = [word for word in (words[-1], words[0]) if word in known.TIME_WORDS]
    if not of_time or known.NEVER_TIMES & ({*words} | around):
        return None
    others = [word for word in words if word not in known.TIME_WORDS]
    if not others:
        return None
    bare = any(kind.type in ("int", "long", "float", "double") and not kind.logical for kind in leaf.kinds)
    rank = len(known.NAMES["event_time"].split())
    if known.EVENT_WORDS & {*others} and not known.LATER_TIMES & {*others}:
        return rank + UNKNOWN, others
    if bare and not known.MOMENTS & {*of_time}:
        return None  # it may be a duration
    return rank + (2 if known.LATER_TIMES & {*others} else 3) * UNKNOWN, others


def _without_user_agent(words: list[str]) -> list[str]:
    """Words without the pair ``user agent``, because ``agent`` alone means a person."""
    text = f" {' '.join(words)} ".replace(" user agent ", " ")
    return text.split()
