"""Looks up in the settings' models which keys a place in the file takes, and of which type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from stream_capi.config.settings import Settings
from stream_capi.config.values import FieldRule, Section

Step = str | int


class KeyFault(NamedTuple):
    """What is wrong at a key. ``of``: the keys it was derived from, if not from ``key`` alone.

    ``variable``: the environment variable, if its name itself is wrong.
    """

    key: str
    what: str
    of: tuple[str, ...] = ()
    variable: str = ""


def key_of(steps: Sequence[Step]) -> str:
    """A place as people write it: ``sources[0].fields."user_data.email"``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if step.replace("_", "").isalnum() else f'."{step}"'
    return text.removeprefix(".")


def outers(key: str) -> Iterator[str]:
    """Every key that encloses ``key``, and ``key`` itself."""
    yield from (key[:at] for at, sign in enumerate(key) if sign in ".[" and at)
    yield key


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or nothing."""
    known = list(known)
    last = [other for other in known if other.rpartition(".")[2] == name]
    close = last or get_close_matches(name, known, n=1, cutoff=0.6)
    return close[0] if close else ""


def meant(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, to be added to a message."""
    found = nearest(name, known)
    return f'; did you mean "{found}"?' if found else ""


def members(annotation: Any) -> Iterator[Any]:
    """The plain types that an annotation stands for."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member)
    else:
        yield annotation


def section_at(steps: Sequence[Step]) -> type[Section] | None:
    """The table at a place; None if a single value, a table of free keys, or nothing known is there."""
    section: type[Section] = Settings
    for step in steps:
        if isinstance(step, int):
            continue
        field = section.model_fields.get(step)
        inner = _section_in(field.annotation) if field else None
        if inner is None:
            return None
        section = inner
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    for member in members(annotation):
        if get_origin(member) is tuple:
            return _section_in(get_args(member)[0])
        if isinstance(member, type) and get_origin(member) is None and issubclass(member, Section):
            return None if member is FieldRule else member  # a rule is a single value that is written in several ways
    return None


def is_text(section: type[Section], name: str) -> bool:
    """Whether a key takes nothing but text, which a variable holds as it is, not as JSON."""
    kinds = [kind for kind in members(section.model_fields[name].annotation) if kind is not type(None)]
    return all(kind is str or get_origin(kind) is Literal for kind in kinds)


def is_list(name: str) -> bool:
    """Whether a section is written as ``[[name]]``."""
    return any(get_origin(member) is tuple for member in members(Settings.model_fields[name].annotation))


def keys_of(section: type[Section]) -> list[str]:
    """A table's keys as they are written in the file."""
    return [field.alias or name for name, field in section.model_fields.items()]
