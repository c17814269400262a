"""Guesses a first mapping for a schema from names, types and docs, for a person to correct (``stream-capi init``).

A guess is sure if the name has no other meaning. A guess for another reason (the only timestamp, a doc, symbols that fit, a
map's key) is never sure, and without any reason there is none: a sure guess that is wrong would be sent unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from stream_capi.config.settings import TARGETS
from stream_capi.events import known_names as known
from stream_capi.events.kinds import Kind
from stream_capi.events.mapping_check import unfit
from stream_capi.events.name_ranks import LAST, Candidate, by_name, is_plain_path, plain, words_of
from stream_capi.events.paths import Found, Leaf, Schema
from stream_capi.events.value_rules import esi, operating_system
from stream_capi.model import EventName

_TIMES = ("timestamp-", "local-timestamp-")


class Guess(NamedTuple):
    """The paths that a field may come from, best first; empty if nothing in the schema looks like it.

    ``unit``: a guess, for a time whose type doesn't state it. ``sure``: the name has no other meaning. ``table``: a map for
    the values of the best path. ``why``: the reason, if it is not the name.
    """

    target: str
    paths: tuple[str, ...]
    sure: bool
    unit: str | None = None
    table: Mapping[str, str] | None = None
    why: str = ""


def guesses(schema_raw: Any, event: EventName, record: str = "") -> list[Guess]:
    """A guess for each field of an event, in the API document's order. ``record``: which record of a union is meant."""
    schema = Schema(schema_raw, record)
    leaves = _leaves(schema)
    targets = [one for one in TARGETS if not (one.startswith("data.") and event is EventName.PAGE_VIEW)]
    found = [_guess(target, leaves, schema) for target in targets]
    taken = {guess.paths[0]: guess.target for guess in found if guess.sure}
    return [_without(guess, taken) for guess in found]


def _leaves(schema: Schema) -> list[Leaf]:
    """The leaves, each path once: branches of a union may have fields of the same name."""
    found: dict[str, Leaf] = {}
    for leaf in schema.described_leaves():
        if is_plain_path(leaf.path):
            before = found.get(leaf.path, leaf)
            found[leaf.path] = Leaf(leaf.path, before.kinds | leaf.kinds, before.doc or leaf.doc)
    return list(found.values())


def event_of(name: str, topic: str) -> EventName:
    """The event that a schema's and a topic's name suggest."""
    return EventName.PAGE_VIEW if known.VIEWS & {*words_of(f"{name} {topic}")} else EventName.GENERATE_LEAD


def _guess(target: str, leaves: list[Leaf], schema: Schema) -> Guess:
    fitting = [leaf for leaf in leaves if _fits(target, leaf)]
    surely = len(known.NAMES[target].partition("|")[0].split())
    named = sorted(found for leaf in fitting if (found := by_name(target, leaf, schema)) is not None)
    if named and named[0].rank < LAST:
        best = named[0]
        unit, is_sure_unit = _unit(best.leaf) if target == "event_time" else (None, True)
        alike = [one for one in named[1:] if one[:3] == best[:3]]  # just as good: it can't be known which one is meant
        table = _table(target, best.leaf)
        sure = best.rank < surely and is_sure_unit and not alike and not table
        return Guess(target, _paths(named), sure, unit, table)
    for conclude in (_by_symbols, _by_type, _by_map, _by_doc):
        if (concluded := conclude(target, fitting if conclude is not _by_symbols else leaves, schema)) is not None:
            return concluded
    if not named:
        return Guess(target, (), sure=False)
    unit = _unit(named[0].leaf)[0] if target == "event_time" else None
    return Guess(target, _paths(named), False, unit, _table(target, named[0].leaf))


def _paths(candidates: Iterable[Candidate]) -> tuple[str, ...]:
    return tuple(one.path for one in candidates)[:3]


def _without(guess: Guess, taken: Mapping[str, str]) -> Guess:
    """A guess without the paths that are surely another field's. ``esi``, ``os`` and ``dedupe_id`` may share one."""
    if guess.sure or guess.target in ("user_data.esi", "user_data.os", "dedupe_id"):
        return guess
    left = tuple(path for path in guess.paths if path not in taken)
    if left[:1] == guess.paths[:1]:
        return guess._replace(paths=left)
    if not left:
        return Guess(guess.target, (), sure=False)
    return guess._replace(paths=left, why="")


def _fits(target: str, leaf: Leaf) -> bool:
    found = Found(leaf.kinds)
    if not unfit(target, found, None, restricted=False):
        return True
    return bool(_table(target, leaf))


# Guesses by something other than the name


def _by_symbols(target: str, leaves: list[Leaf], schema: Schema) -> Guess | None:
    """An enum whose symbols are all values of ``esi``, or of ``os``."""
    if target not in ("user_data.esi", "user_data.os"):
        return None
    meant = _source if target == "user_data.esi" else _system
    for leaf in leaves:
        symbols = [symbol for symbol in _symbols(leaf) if plain(symbol) not in known.NO_SYMBOLS]
        if len(symbols) > 1 and all(map(meant, symbols)) and not known.PAST & {*leaf.path.split(".")}:
            return Guess(target, (leaf.path,), False, None, _table(target, leaf), "its symbols fit")
    return None


def _by_type(target: str, leaves: list[Leaf], schema: Schema) -> Guess | None:
    """The only timestamp, decimal or UUID that a record has."""
    tests: dict[str, tuple[str, Callable[[Kind], bool]]] = {
        "event_time": ("the only timestamp", lambda kind: kind.logical.startswith(_TIMES)),
        "data.value": ("the only decimal", lambda kind: "decimal" in kind.logical.lower()),
        "event_id": ("the only UUID", lambda kind: kind.logical == "uuid"),
    }
    if target not in tests:
        return None
    why, is_one = tests[target]
    excluded = known.NOT_IT_FOR.get(target, frozenset()) | (known.NEVER_TIMES if target == "event_time" else set())
    found = [leaf for leaf in leaves if any(map(is_one, leaf.kinds))]
    left = [
        leaf for leaf in found if not known.PAST & {word for step in leaf.path.split(".") for word in words_of(step)}
    ]
    if len(left) != 1 or excluded & {*words_of(left[0].path.rpartition(".")[2])}:
        return None
    if target == "event_id" and _is_known_as_another(left[0], schema):
        return None
    return Guess(target, (left[0].path,), sure=False, why=why)


def _is_known_as_another(leaf: Leaf, schema: Schema) -> bool:
    others = [target for target in TARGETS if target not in ("event_id", "dedupe_id")]
    return any(_fits(target, leaf) and by_name(target, leaf, schema) is not None for target in others)


def _by_map(target: str, leaves: list[Leaf], schema: Schema) -> Guess | None:
    """A key of a map: schemas don't state a map's keys, so its name must suggest them."""
    if target not in known.KEYS:
        return None
    kinds = (
        (known.MAPS_OF_A_PERSON, known.MAPS_OF_AN_EVENT)
        if target.startswith("user_data.")
        else (known.MAPS_OF_AN_EVENT,)
    )
    paths = []
    for names in kinds:
        for leaf in schema.described_leaves():
            path = f"{leaf.path}.{known.KEYS[target]}"
            is_map = is_plain_path(leaf.path) and any(kind.type == "map" for kind in leaf.kinds)
            if is_map and plain(leaf.path.rpartition(".")[2]) in names:
                found = schema.find(path)
                if isinstance(found, Found) and not unfit(target, found, None, restricted=False):
                    paths.append(path)
    return Guess(target, tuple(paths[:3]), sure=False, why="a key of a map: do records have it?") if paths else None


def _by_doc(target: str, leaves: list[Leaf], schema: Schema) -> Guess | None:
    """A field whose documentation says what it holds."""
    says = known.DOCUMENTED.get(target)
    if says is None:
        return None
    excluded = known.NOT_IT | known.NOT_IT_FOR.get(target, frozenset()) | known.OTHERS | known.PAST
    found = [
        leaf
        for leaf in leaves
        if says.search(leaf.doc) and not excluded & {word for step in leaf.path.split(".") for word in words_of(step)}
    ]
    if not found:
        return None
    unit = _unit(found[0])[0] if target == "event_time" else None
    return Guess(target, tuple(leaf.path for leaf in found[:3]), False, unit, _table(target, found[0]), "by its doc")


# Tables of values, and units


def _table(target: str, leaf: Leaf) -> dict[str, str] | None:
    """A map for an enum's symbols, if they are not the field's own values; for a text field the usual values of ``esi``."""
    if target not in ("user_data.esi", "user_data.os"):
        return None
    meant, own = (_source, esi) if target == "user_data.esi" else (_system, operating_system)
    symbols = _symbols(leaf)
    if symbols:
        table = {symbol: value for symbol in symbols if (value := meant(symbol))}
        return table if any(not own(symbol) for symbol in table) else None
    is_text = any(kind.type == "string" for kind in leaf.kinds)
    if target == "user_data.esi" and is_text and words_of(leaf.path)[-1:] != ["esi"]:
        return {value: known.SOURCES[value] for value in known.TEXT_SOURCES}
    return None


def _symbols(leaf: Leaf) -> list[str]:
    is_enum = bool(leaf.kinds) and all(kind.type == "enum" for kind in leaf.kinds)
    return sorted({symbol for kind in leaf.kinds for symbol in kind.symbols}) if is_enum else []


def _source(symbol: str) -> str | None:
    return known.SOURCES.get(plain(symbol))


def _system(symbol: str) -> str | None:
    return operating_system(symbol) or known.SYSTEMS.get(plain(symbol))


def _unit(leaf: Leaf) -> tuple[str | None, bool]:
    """The probable unit of a plain number, and whether its doc states it. None for other types, which need no unit."""
    numbers = [kind for kind in leaf.kinds if kind.type in ("int", "long", "float", "double") and not kind.logical]
    if not numbers:
        return None, True
    for unit, says in known.DOCUMENTED_UNITS:
        if says.search(leaf.doc):
            return unit, True
    says_so = known.COUNTS.search(leaf.path)
    counts = says_so[0].strip("_").lower() if says_so else ""
    if any(kind.type == "int" for kind in numbers) or counts.startswith("s"):
        return "s", False
    return ("us" if counts in ("us", "micros") else "ms"), False
