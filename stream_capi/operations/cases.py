"""Cases that test a configuration: files with records, and what is expected of each (contract, section 2: ``test``).

A file is TOML or JSON. It holds one case at its top, or a list ``cases``; what stands beside the list counts for each of
them. Every fault of a file is found in one reading. No fault repeats a value.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from stream_capi.config.files import content
from stream_capi.config.settings import TARGETS
from stream_capi.config.shape import Step, key_of, meant
from stream_capi.config.values import is_utf_8
from stream_capi.model import Code
from stream_capi.operations import case_values
from stream_capi.operations.case_values import WrongValue

FOLDER = "cases"
SENT_FIELDS = ("name", *(target for target in TARGETS if target != "event_id"))
SKIP_REASONS = ("where", "event", "no_consent", "tombstone", "unrouted", "suppressed")
_RECORD = ("record", "base64", "hex", "file", "tombstone")
_SHARED = ("topic", "schema", "now", "timestamp", "key", "headers", "partition", "offset")  # may stand beside the list
_KINDS = (".toml", ".json")
_MOST_NESTED = 100


class Unset:
    """Stands for a record that is no JSON."""


UNSET = Unset()


@dataclass(frozen=True, slots=True, repr=False)
class Expectation:
    """What should come out: exactly one of ``event``, ``skipped`` and ``dead_letter``.

    ``pixel`` goes with the first; ``field`` and ``detail`` with the last.
    """

    event: Mapping[str, Any] | None = None
    skipped: str | None = None
    dead_letter: str | None = None
    pixel: str | None = None
    field: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CaseRecord:
    """The record of a case, as the Kafka client would hand it over. Moments are epoch milliseconds."""

    in_topic: str = ""
    payload: bytes | None = None
    of_key: bytes | None = None
    of_headers: Sequence[tuple[str, bytes]] = ()
    in_partition: int = 0
    at_offset: int = 0
    written: int | None = None

    def topic(self) -> str:
        return self.in_topic

    def partition(self) -> int:
        return self.in_partition

    def offset(self) -> int:
        return self.at_offset

    def key(self) -> bytes | None:
        return self.of_key

    def value(self) -> bytes | None:
        return self.payload

    def headers(self) -> list[tuple[str, bytes]] | None:
        return list(self.of_headers) or None

    def timestamp(self) -> tuple[int, int]:
        return (0, 0) if self.written is None else (1, self.written)

    def leader_epoch(self) -> None:
        return None


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """One case. ``fields`` is a record as JSON, else ``record`` has its bytes; ``at`` is its place in the file's list."""

    file: Path
    at: int | None
    name: str
    record: CaseRecord
    fields: Any = UNSET
    topic: str | None = None
    schema: Path | None = None
    now: int | None = None
    expected: Expectation | None = None

    def __repr__(self) -> str:
        return f"Case({self.file}, {self.at})"

    @property
    def place(self) -> str:
        """The file, and the place of the case in it."""
        return str(self.file) if self.at is None else f"{self.file}: cases[{self.at}]"


@dataclass(frozen=True, slots=True, repr=False)
class CaseFile:
    """A file with its text, what it holds, its cases, and what is wrong with it: then it has no cases."""

    path: Path
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    faults: tuple[str, ...] = ()


class _Read(NamedTuple):
    text: str
    data: dict[str, Any]
    faults: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"_Read({len(self.text)} characters)"


class _FoundFile(NamedTuple):
    path: Path
    read: _Read
    is_from_folder: bool


def read_cases(paths: Sequence[Path]) -> list[CaseFile]:
    """The files at these paths; of a folder all that are TOML or JSON, unless a case names them as its record."""
    found: dict[str, _FoundFile] = {}
    for path in paths:
        for file, fault in _files_at(path):
            read = _read(file) if fault is None else _Read("", {}, (fault,))
            found.setdefault(os.path.realpath(file), _FoundFile(file, read, file != path))
    records = {
        os.path.realpath(one.path.parent / name) for one in found.values() for name in _record_files(one.read.data)
    }
    return [
        _case_file(one.path, one.read) for place, one in found.items() if not (one.is_from_folder and place in records)
    ]


def _files_at(path: Path) -> Iterator[tuple[Path, str | None]]:
    """The files, and the folders that can't be read, with why."""
    if not path.is_dir():
        yield path, None
        return
    unread: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=unread.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in _KINDS:
                yield Path(folder, name), None
    for error in unread:
        yield Path(error.filename), f"can't be read: {error.strerror}"


def _record_files(data: Mapping[str, Any]) -> Iterator[str]:
    tables = data.get("cases")
    for table in [data, *(tables if isinstance(tables, list) else ())]:
        name = table.get("file") if isinstance(table, dict) else None
        if isinstance(name, str) and is_utf_8(name):
            yield name


def _read(path: Path) -> _Read:
    try:
        text = content(path).decode("utf-8")
        kind = path.suffix.lower()
        if kind not in _KINDS:
            return _Read("", {}, ("is not a file of cases; its name must end in .toml or .json",))
        data = (_toml if kind == ".toml" else _json)(text.removeprefix("\ufeff"))
        if not isinstance(data, dict):
            return _Read("", {}, ("must be a table of one case, or of a list called cases",))
        return _Read(text, data)
    except FileNotFoundError:
        why = f"there is no such file or folder; name the files of cases, or put them into {FOLDER}/ beside the configuration"
    except OSError as error:
        why = f"can't be read: {error.strerror}"
    except UnicodeDecodeError:
        why = "is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        why = f"is not TOML: {error}"
    except WrongValue as wrong:
        why = str(wrong)
    except (ValueError, ArithmeticError, RecursionError) as error:
        where = f": line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        why = f"can't be parsed as {path.suffix[1:].upper()}{where}"
    return _Read("", {}, (why,))


def _toml(text: str) -> Any:
    return tomllib.loads(text, parse_float=Decimal)


def _json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_constant=float, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(key for key in table if [name for name, _ in pairs].count(key) > 1)
        raise WrongValue(f'has the key "{twice}" twice in one table')
    return table


def _case_file(path: Path, read: _Read) -> CaseFile:
    faults = list(read.faults)
    cases: list[Case] = []
    if not faults:
        tables = read.data.get("cases")
        if "cases" not in read.data:
            cases += _case(path, None, read.data, faults)
        elif not isinstance(tables, list) or not tables:
            faults.append("cases: must be a list of tables: write [[cases]]")
        else:
            shared = _shared(read.data, faults)
            for at, table in enumerate(tables):
                if isinstance(table, dict):
                    cases += _case(path, at, shared | table, faults)
                else:
                    faults.append(f"cases[{at}]: must be a table")
        names = [case.name for case in cases]
        faults += [f'name: "{name}" is the name of two cases' for name in dict.fromkeys(names) if names.count(name) > 1]
    lines = tuple(f"{path}: {fault}" for fault in dict.fromkeys(faults))
    return CaseFile(path, read.text, read.data, () if lines else tuple(cases), lines)


def _shared(data: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """What stands beside the list of cases and is of use."""
    shared = {name: value for name, value in data.items() if name in _SHARED}
    for name in data:
        if name not in shared and name != "cases":
            hint = "belongs in each of the cases" if name in _KEYS else f"unknown key{meant(name, _SHARED)}"
            faults.append(f"{key_of([name])}: {hint}")
    return {name: shared[name] for name in _checked(shared, _KEYS, [], faults)}


def _case(path: Path, at: int | None, table: Mapping[str, Any], faults: list[str]) -> Iterator[Case]:
    before: list[Step] = [] if at is None else ["cases", at]
    known = len(faults)
    found = _checked(table, _KEYS, before, faults)
    given = [name for name in _RECORD if name in table]
    if len(given) != 1:
        faults.append(f"{key_of(before) or 'the case'}: must have exactly one of {', '.join(_RECORD)}")
    if "name" not in table and at is not None:
        faults.append(f"{key_of([*before, 'name'])}: is missing")
    if "record" in table:
        faults += _no_times(table["record"], [*before, "record"])
    expected = _expected(found.get("expect"), [*before, "expect"], faults)
    if len(faults) > known:
        return
    record, fields = _record_of(path, found, [*before, given[0]], faults)
    if len(faults) > known:
        return
    schema = path.parent / found["schema"] if "schema" in found else None
    name = found.get("name", path.stem)
    yield Case(path, at, name, record, fields, found.get("topic"), schema, found.get("now"), expected)


def _checked(
    table: Mapping[str, Any], keys: Mapping[str, Callable[[Any], Any]], before: Sequence[Step], faults: list[str]
) -> dict[str, Any]:
    """The values of the keys as they are used. What is wrong is added to ``faults``."""
    found = {}
    for name, value in table.items():
        key = key_of([*before, name])
        if name not in keys:
            faults.append(f"{key}: unknown key{meant(name, keys if before else [*keys, 'cases'])}")
            continue
        try:
            found[name] = keys[name](value)
        except WrongValue as wrong:
            faults.append(f"{key}: {wrong}")
    return found


def _no_times(given: Any, at: list[Step], depth: int = 0) -> Iterator[str]:
    """TOML's own dates and times: which number or text of a schema each stands for can't be known."""
    if isinstance(given, date | time):
        yield f"{key_of(at)}: is a TOML time; write what the schema has there: a number, or a text in quotes"
    elif depth > _MOST_NESTED:
        yield f"{key_of(at[:4])}: is nested too deep"
    elif isinstance(given, dict | list):
        for step, inner in given.items() if isinstance(given, dict) else enumerate(given):
            yield from _no_times(inner, [*at, step], depth + 1)


def _expected(table: Any, before: Sequence[Step], faults: list[str]) -> Expectation | None:
    if table is None:
        return None
    found = _checked(table, _EXPECT, before, faults)
    here = key_of(before)
    kinds = [name for name in ("event", "skipped", "dead_letter") if name in table]
    if len(kinds) != 1:
        faults.append(f"{here}: must have exactly one of event, skipped and dead_letter")
        return None
    for name, kind in (("pixel", "event"), ("field", "dead_letter"), ("detail", "dead_letter")):
        if name in table and kinds != [kind]:
            faults.append(f"{here}.{name}: is allowed only with {kind}")
    if "event" in found:
        _check_event(found["event"], [*before, "event"], faults)
    return Expectation(**found)


def _check_event(event: Mapping[str, Any], before: list[Step], faults: list[str]) -> None:
    """Its keys are those of a ServerEvent. Its values may be anything that isn't a table: they are compared."""
    tables: dict[str, dict[str, Callable[[Any], Any]]] = {"": {}, "data": {}, "user_data": {}}
    for target in SENT_FIELDS:
        table, _, name = target.rpartition(".")
        tables[table][name] = case_values.scalar
    top = tables[""] | {"data": case_values.table_or_null, "user_data": case_values.table}
    found = _checked(event, top, before, faults)
    for name in ("data", "user_data"):
        if found.get(name) is not None:
            _checked(found[name], tables[name], [*before, name], faults)


def _record_of(path: Path, found: Mapping[str, Any], at: Sequence[Step], faults: list[str]) -> tuple[CaseRecord, Any]:
    payload, fields = found.get("base64", found.get("hex")), found.get("record", UNSET)
    if "file" in found:
        file = path.parent / found["file"]
        try:
            payload = content(file)
            if file.suffix.lower() == ".json":
                fields = _json(payload.decode("utf-8-sig"))
        except OSError as error:
            faults.append(f"{key_of(at)}: {file} can't be read: {error.strerror}")
        except WrongValue as wrong:
            faults.append(f"{key_of(at)}: {file} {wrong}")
        except (ValueError, ArithmeticError, RecursionError):
            faults.append(f"{key_of(at)}: {file} is not JSON")
    record = CaseRecord(
        found.get("topic", ""),
        payload if fields is UNSET else None,
        found.get("key"),
        found.get("headers", ()),
        found.get("partition", 0),
        found.get("offset", 0),
        found.get("timestamp"),
    )
    return record, fields


_EXPECT: dict[str, Callable[[Any], Any]] = {
    "event": case_values.table,
    "pixel": case_values.text,
    "skipped": case_values.one_of(SKIP_REASONS),
    "dead_letter": case_values.one_of([code.value for code in Code if code is not Code.REFUSED]),
    "field": case_values.one_of([*TARGETS, "event_field", "pixel_field"]),
    "detail": case_values.text,
}
_KEYS: dict[str, Callable[[Any], Any]] = {
    "name": case_values.text,
    "topic": case_values.text,
    "schema": case_values.text,
    "record": lambda given: given,
    "base64": case_values.bytes_of_base64,
    "hex": case_values.bytes_of_hex,
    "file": case_values.text,
    "tombstone": case_values.true,
    "key": case_values.bytes_of,
    "headers": case_values.headers,
    "partition": case_values.number_to(2**31 - 1),
    "offset": case_values.number_to(2**63 - 1),
    "timestamp": case_values.moment_ms,
    "now": case_values.moment_ms,
    "expect": case_values.table,
}
CASE_KEYS = frozenset(_KEYS)
