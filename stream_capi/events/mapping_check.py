"""Whether a source's mapping can work with a schema: for ``check``, before the first event (contract, section 4).

Only what can never work is reported: a path that the schema lacks, a type that never fits, a required field that nothing
fills, an enum symbol that can never be valid. Faults that depend on a record's values show up in its dead letter.

If the schema's top-level type is a union, each of its records is checked by itself: ``$record`` then has one value, and a
record that is skipped because of it has no faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from stream_capi.config import FieldRule
from stream_capi.events import kinds
from stream_capi.events.fields import FIELDS, IDENTIFIER_FIELDS, NOT_IN_MAP, NUMBERS, RESTRICTED_IDENTIFIERS, Need
from stream_capi.events.kinds import Kind
from stream_capi.events.paths import RECORD, Found, MissingPath, Schema
from stream_capi.events.routing import holds
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.events.value_rules import Wrong
from stream_capi.model import EventName, Lane

_UNLISTED = object()
_MOST_NAMED = 12  # records
_KEYS = ("string", "enum", "int", "long", "float", "double", "boolean")
_MOST_LISTED = 12  # symbols in one message
_CONSENTS = ("boolean", "string", "enum")
_SETS_OF_PURPOSES = ("string", "enum", "map", "array", "record", "error")


def mapping_faults(rules: SourceRules, schema_raw: Any, record: str = "") -> list[str]:
    """What can't work in a source's rules, given a writer's schema (its JSON): a line for each fault.

    ``record``: the full name of the record to check, if the schema's top-level type is a union.
    """
    check = _Check(rules, Schema(schema_raw, record))
    return list(dict.fromkeys(check.faults()))


def mapping_notes(rules: SourceRules, schema_raw: Any, record: str = "") -> list[str]:
    """What is no fault but costs fields or events: symbols for which an optional field is left out, no identifier."""
    check = _Check(rules, Schema(schema_raw, record))
    return list(dict.fromkeys(check.notes()))


def is_for(rules: SourceRules, record: str) -> bool:
    """Whether records with this full name may become events, by the rules about ``$record``."""
    if not all(holds(where, record) for where in rules.where if where.field == RECORD):
        return False
    return rules.event_field != RECORD or rules.events.get(record, rules.events.get("*", _UNLISTED)) is not None


def record_names(rules: SourceRules) -> list[str]:
    """The full names of records that the rules name."""
    return list(dict.fromkeys(name for _, name in _asked_for(rules)))


def record_faults(rules: SourceRules, records: Sequence[str], *, are_all: bool) -> list[str]:
    """The faults for names in the rules that no record has, given the full names of all known ``records``.

    ``are_all``: there are no others. If each type has a schema of its own, there may be: then it is enough that one of the
    known records becomes an event.
    """
    if not are_all and any(is_for(rules, record) for record in records):
        return []
    return [f"{key}: {no_record(name, records)}" for key, name in _asked_for(rules) if name not in records]


def _asked_for(rules: SourceRules) -> list[tuple[str, str]]:
    """The names of records in the rules, each with its key in the settings."""
    asked = [
        ("where", str(name))
        for where in rules.where
        if where.field == RECORD
        for name in where.one_of or (() if where.equals is None else (where.equals,))
    ]
    if rules.event_field == RECORD:
        asked += [("event_field", name) for name in rules.events if name != "*"]
    return asked


def no_record(name: str, records: Sequence[str]) -> str:
    """The message that no record has this name, with the name that was probably meant."""
    close = get_close_matches(name, records, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"it has {', '.join(records[:_MOST_NAMED])}"
    return f'the schema has no record "{name}"; {hint}'


class _Check:
    def __init__(self, rules: SourceRules, schema: Schema) -> None:
        self._rules = rules
        self._schema = schema

    def faults(self) -> Iterator[str]:
        if not is_for(self._rules, self._schema.record):
            return
        yield from self._routing()
        yield from self._phone_region()
        for lane in self._different_lanes():
            targets = self._rules.targets(lane)
            for target in targets:
                if target in self._rules.fields:
                    yield from self._mapped(target, self._rules.restricted[lane.pixel])
            for target in _required(lane):
                yield from self._unfilled(target, lane)
                yield from self._symbols(target, self._rules.restricted[lane.pixel])
            if self._rules.restricted[lane.pixel]:
                yield from self._restricted(lane)
        for target in self._rules.never_sent():
            if target in self._rules.fields:
                yield from self._mapped(target, restricted=False)

    def notes(self) -> Iterator[str]:
        if not is_for(self._rules, self._schema.record):
            return
        for lane in self._different_lanes():
            required = _required(lane)
            for target in self._rules.targets(lane):
                if target not in required:
                    yield from self._symbols(target, self._rules.restricted[lane.pixel])
            yield from self._identifiers(self._rules.restricted[lane.pixel])

    def _different_lanes(self) -> Iterable[Lane]:
        """One lane for each event and profile: others of these have the same faults."""
        rules, record = self._rules, self._schema.record
        lanes = [
            lane
            for lane in rules.lanes()
            if (rules.event_field != RECORD or lane.event == rules.events.get(record, rules.events.get("*")))
            and (rules.pixel_field != RECORD or lane.pixel == record)
        ]
        return {(lane.event, rules.restricted[lane.pixel]): lane for lane in lanes}.values()

    def _absent(self, missing: MissingPath) -> str:
        """The message about a missing path, with the one that was probably meant: beside it, or of that name anywhere."""
        if missing.nearest() is None:
            names = {path.rpartition(".")[2]: path for path, _ in reversed(self._schema.leaves())}
            close = get_close_matches(missing.step, names, n=1, cutoff=0.8)
            if close:
                return f'{missing.where()} no "{missing.step}"; did you mean "{names[close[0]]}"?'
        return str(missing)

    def _phone_region(self) -> Iterator[str]:
        rule = self._rules.phone_region
        for path in rule.paths if rule is not None else ():
            found = self._schema.find(path)
            if isinstance(found, MissingPath):
                yield f"phone_region: {self._absent(found)}"
            elif why := unfit("user_data.country_code", found, None, restricted=False):
                yield f'phone_region: "{path}" is {_named(found)}, {why}'

    # Routing

    def _routing(self) -> Iterator[str]:
        rules = self._rules
        for where in (where for where in rules.where if where.field != RECORD):
            wanted = where.one_of or (() if where.equals is None else (where.equals,))
            yield from self._where(where.field, wanted)
        yield from self._looked_up("event_field", rules.event_field, [key for key in rules.events if key != "*"])
        yield from self._looked_up("pixel_field", rules.pixel_field, list(rules.restricted))
        if rules.values is not None:
            yield from self._looked_up("values.field", rules.values.field, list(rules.values.table))
        if rules.consent_field is not None:
            yield from self._consent(rules.consent_field, bool(rules.consent_purposes))
        if rules.default_currency is not None and _wrong("data.currency", rules.default_currency):
            yield f"default_currency: {FIELDS['data.currency'].wrong.sentence}"

    def _where(self, path: str, wanted: Iterable[Any]) -> Iterator[str]:
        found = self._schema.find(path)
        if isinstance(found, MissingPath):
            yield f"where: {self._absent(found)}"
            return
        for value in wanted:
            if not any(_may_equal(kind, value) for kind in found.kinds):
                yield f'where: "{path}" is {_named(found)}, which is never equal to {_shown(value)}'

    def _looked_up(self, key: str, path: str | None, known: Iterable[str]) -> Iterator[str]:
        if path is None:
            return
        if path == RECORD:
            yield from self._looked_up_record(key)
            return
        found = self._schema.find(path)
        if isinstance(found, MissingPath):
            yield f"{key}: {self._absent(found)}"
        elif not any(kind.type in _KEYS for kind in found.kinds):
            yield f'{key}: "{path}" is {_named(found)}, which cannot be a key of a table'
        elif found.kinds and all(kind.type == "enum" for kind in found.kinds):
            symbols = {symbol for kind in found.kinds for symbol in kind.symbols}
            for value in known if key != "pixel_field" else ():
                if value not in symbols:
                    yield f'{key}: "{path}" is {_named(found)}, which has no symbol "{value}"'

    def _looked_up_record(self, key: str) -> Iterator[str]:
        """The faults if the looked-up value is the record's own name."""
        rules, record = self._rules, self._schema.record
        if key == "event_field" and record not in rules.events and "*" not in rules.events:
            yield f'event_field: "{record}" is not in events; add it, or "*" = "skip"'
        elif key == "pixel_field" and record not in rules.restricted:
            yield f'pixel_field: none of the pixels is named "{record}"'

    def _consent(self, path: str, purposes: bool) -> Iterator[str]:
        found = self._schema.find(path)
        fitting, other = (_SETS_OF_PURPOSES, _CONSENTS) if purposes else (_CONSENTS, _SETS_OF_PURPOSES)
        if isinstance(found, MissingPath):
            yield f"consent_field: {self._absent(found)}"
        elif not any(kind.type in fitting for kind in found.kinds):
            needs = f" {'with' if purposes else 'without'} consent_purposes" if _any_type(found, other) else ""
            yield f'consent_field: "{path}" is {_named(found)}, which is never a consent{needs}'

    # Fields

    def _mapped(self, target: str, restricted: bool) -> Iterator[str]:
        rule = self._rules.rule(target)
        if rule.has_const and (wrong := _wrong(target, rule.const, restricted)):
            yield f"{target}: its {'default' if rule.paths else 'constant'} {wrong.sentence}"
        for key, value in (rule.map or {}).items():
            if wrong := _wrong(target, value, restricted):
                yield f"{target}: what its map has for {_shown(key)} {wrong.sentence}"
        for path in rule.paths:
            found = self._schema.find(path)
            if isinstance(found, MissingPath):
                yield f"{target}: {self._absent(found)}"
            elif why := _unfit(target, found, rule, restricted):
                yield f'{target}: "{path}" is {_named(found)}, {why}'
        yield from self._unknown_keys(target, rule)

    def _unknown_keys(self, target: str, rule: FieldRule) -> Iterator[str]:
        """Keys of a map that no record has, if the schema states all values that a record can have."""
        found = [self._schema.find(path) for path in rule.paths]
        known = [kind for one in found if isinstance(one, Found) for kind in one.kinds]
        if known and all(kind.type == "enum" for kind in known):
            for key in rule.map or {}:
                if not any(key in kind.symbols for kind in known):
                    paths = " and ".join(f'"{path}"' for path in rule.paths)
                    yield f"{target}: {_shown(key)} of its map is not a symbol of {paths}"

    def _symbols(self, target: str, restricted: bool) -> Iterator[str]:
        """Symbols of an enum that are no valid value of the field, and that no ``where`` condition excludes."""
        rule = self._rules.rule(target)
        for path in rule.paths:
            found = self._schema.find(path)
            if isinstance(found, MissingPath) or _unfit(target, found, rule, restricted):
                continue
            wheres = [where for where in self._rules.where if where.field == path]
            symbols = sorted({symbol for kind in found.kinds for symbol in kind.symbols})
            met = [symbol for symbol in symbols if all(holds(where, symbol) for where in wheres)]
            if rule.map is not None:
                wrong = {symbol: NOT_IN_MAP for symbol in met if symbol not in rule.map and not rule.has_const}
                help_by = "an entry or a default"
            else:
                wrong = {symbol: why for symbol in met if (why := _wrong(target, symbol, restricted))}
                help_by = "a map"
            for why in dict.fromkeys(wrong.values()):
                listed = _listed([symbol for symbol in wrong if wrong[symbol] == why])
                yield f'{target}: "{path}" may be {listed}, which can never be sent: it {why.sentence}; give it {help_by}'

    def _unfilled(self, target: str, lane: Lane) -> Iterator[str]:
        """A required field that nothing fills, unless its mapping has a fault, which is reported already."""
        if target in self._rules.fields or self._has_default(target):
            return
        (path,) = self._rules.rule(target).paths
        found = self._schema.find(path)
        if isinstance(found, MissingPath):
            why = f"required for {lane.event.value}, and {self._absent(found)}"
            yield f"TODO {target}: {why}; map it in [sources.fields]"
        elif why := unfit(target, found, None, self._rules.restricted[lane.pixel]):
            yield f'{target}: "{path}" is {_named(found)}, {why}; map another one in [sources.fields]'

    def _has_default(self, target: str) -> bool:
        rules = self._rules
        if target == "data.currency":
            return rules.default_currency is not None
        return target == "data.value" and rules.values is not None

    def _restricted(self, lane: Lane) -> Iterator[str]:
        if not any(self._fills(f"user_data.{field}") for field in RESTRICTED_IDENTIFIERS):
            needed = ", ".join(RESTRICTED_IDENTIFIERS)
            yield f"pixel {lane.pixel}: the restricted profile needs one of {needed}, and none is mapped or in the schema"

    def _identifiers(self, restricted: bool) -> Iterator[str]:
        """A note if no identifier is mapped. It is no fault, because an ad's click id in the URL is one, too."""
        if not restricted and not any(self._fills(f"user_data.{field}", restricted) for field in IDENTIFIER_FIELDS):
            yield (
                f"TODO user_data: none of {', '.join(IDENTIFIER_FIELDS)} is mapped or in the schema; only events whose URL "
                "has an aleid or alart will be sent, all others are dead letters (no_identifier)"
            )

    def _fills(self, target: str, restricted: bool = True) -> bool:
        rule = self._rules.rule(target)
        found = [self._schema.find(path) for path in rule.paths]
        return rule.has_const or any(
            isinstance(one, Found) and not _unfit(target, one, rule, restricted) for one in found
        )


def _required(lane: Lane) -> list[str]:
    needs = {Need.REQUIRED, Need.DATA} if lane.event is EventName.GENERATE_LEAD else {Need.REQUIRED}
    return [target for target, field in FIELDS.items() if field.need in needs]


def _unfit(target: str, found: Found, rule: FieldRule, restricted: bool) -> str:
    """Why no value of these types can fill the field by its mapping; empty if one can."""
    if rule.map is None or not found.kinds:
        return unfit(target, found, rule.unit, restricted)
    return "" if any(map(kinds.may_be_key, found.kinds)) else "which cannot be a key of a map"


def unfit(target: str, found: Found, unit: str | None, restricted: bool) -> str:
    """Why no value of these types can fill the field, if no map is in between; empty if one can."""
    if not found.kinds:
        return "and so never there"
    if target == "event_time":
        return _unfit_time(found, unit)
    if target == "data.value":
        fitting = [kind for kind in found.kinds if kinds.may_be_number(kind)]
        wanted = "a number"
    else:
        fitting = [kind for kind in found.kinds if kinds.may_be_text(kind)]
        wanted = "text"
    if not fitting:
        return f"which can't be {wanted}"
    if len(kinds.written_decimals(fitting)) > 1:
        return "and nothing in a record tells which"
    if all(kind.type == "enum" for kind in fitting):
        symbols = [symbol for kind in fitting for symbol in kind.symbols]
        if all(_wrong(target, symbol, restricted) for symbol in symbols):
            return f"none of which fits ({_listed(symbols)}): it {FIELDS[target].wrong.sentence}"
    if restricted and target == "user_data.user_id" and all(kind.logical == "uuid" for kind in fitting):
        return f"which never fits: it {FIELDS[target].wrong.sentence}"
    return ""


def _unfit_time(found: Found, unit: str | None) -> str:
    fitting = [kind for kind in found.kinds if kinds.may_be_time(kind)]
    if not fitting:
        return "which can't be a time"
    whole = [kind for kind in fitting if kind.type in ("int", "long")]
    if len({kind.logical for kind in whole}) > 1:
        return "and nothing in a record tells which"
    if unit is not None and all(kinds.says_unit(kind, unit) for kind in fitting):
        return "which says its unit itself; leave the unit out"
    return ""


def _wrong(target: str, given: Any, restricted: bool = False) -> Wrong | None:
    """The fault of a value by a field's rule; None if there is none, or if the rule depends on another field."""
    field = FIELDS[target]
    rule = field.rule_for(hash_here=True, restricted=restricted).one
    if rule is None or field.beside is not None:
        return None
    if isinstance(given, str) and target in NUMBERS:  # an enum's symbol, which is never a number
        return field.wrong
    found = rule(given)
    return field.wrong if found is None else found if isinstance(found, Wrong) else None


def _may_equal(kind: Kind, value: Any) -> bool:
    if isinstance(value, bool):
        return kind.type == "boolean"
    if isinstance(value, str):
        return kind.type == "string" or value in kind.symbols
    return kind.type in ("int", "long", "float", "double")


def _listed(symbols: Sequence[str]) -> str:
    """The first symbols, and how many more there are."""
    more = len(symbols) - _MOST_LISTED
    return ", ".join(symbols[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _any_type(found: Found, types: Iterable[str]) -> bool:
    return any(kind.type in types for kind in found.kinds)


def _named(found: Found) -> str:
    names = sorted({str(kind) for kind in found.kinds})
    return " or ".join(names) if names else "always null"


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(as_key(value))
