"""A path into a record, as it is written in the settings, and the value it leads to (contract, section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

Step = str | int
Path = tuple[Step, ...]

_STEP = re.compile(r'\.?(?:"((?:[^"\\]|\\.)+)"|\[([0-9]{1,6})\]|([^."\[\]]+))')
_INDEX = re.compile(r"\[[0-9]{1,6}\]")


@lru_cache(maxsize=4096)
def steps(path: str) -> Path:
    """The steps of a path: ``customer.email``, ``headers."x.y"``, ``items[0].price``.

    :raises ValueError: if it isn't a path.
    """
    found: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (match[0].startswith(".") is (at == 0) and not _INDEX.fullmatch(match[0])):
            break
        quoted, index, name = match.groups()
        found.append(int(index) if index else name or re.sub(r"\\(.)", r"\1", quoted))
        at = match.end()
    if at < len(path) or not found or not all(_plain(step) for step in found):
        raise ValueError("is not a path; write names with single dots between them")
    return tuple(found)


def follow(value: Any, path: Iterable[Step]) -> Any:
    """The value at a path inside a decoded value; None where a step leads nowhere."""
    for step in path:
        if value.__class__ is dict:
            value = value.get(str(step))
        elif value.__class__ is list and (isinstance(step, int) or step.isdecimal()):
            value = value[int(step)] if len(value) > int(step) else None
        else:
            return None
    return value


def _plain(step: Step) -> bool:
    return isinstance(step, int) or (step == step.strip() and step.isprintable())
