"""Writes into a file of cases what came out of them (``test --update``).

A file of TOML is changed line by line: what no expectation changes stays as it is, comments included, and a comment whose
line goes stays as a line of its own. A JSON file has no comments and is rewritten whole.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stream_capi.operations.cases import CaseFile, Expectation
from stream_capi.operations.mapping_tests import CaseResult, CaseVerdict

_BARE = re.compile(r"[A-Za-z0-9_-]+")
Keys = tuple[str, ...]


class CantBeUpdated(Exception):
    """The file is written in a way that can't be changed line by line."""


def expectation_as_table(outcome: Expectation) -> dict[str, Any]:
    """An expectation as a file has it."""
    event = outcome.event
    if event is not None:
        event = {name: value for name, value in event.items() if value is not None}
    named = {
        "pixel": outcome.pixel,
        "skipped": outcome.skipped,
        "dead_letter": outcome.dead_letter,
        "field": outcome.field,
        "detail": outcome.detail,
        "event": event,
    }
    return {name: value for name, value in named.items() if value is not None}


def write_outcomes(files: Sequence[CaseFile], results: Sequence[CaseResult]) -> list[CaseResult]:
    """Write what came out of the cases that differ or expect nothing yet; the results as they are then.

    A file that can't be written makes them broken.
    """
    done: list[CaseResult] = []
    for file in files:
        of_file = [result for result in results if result.case.file == file.path]
        due = {r.case.at: r.outcome for r in of_file if r.outcome is not None and r.verdict is not CaseVerdict.PASS}
        fault = _written(file, due) if due else ""
        for result in of_file:
            verdict = CaseVerdict.BROKEN if fault else CaseVerdict.UPDATED
            done.append(replace(result, verdict=verdict, fault=fault) if result.case.at in due else result)
    return done


def _written(file: CaseFile, outcomes: Mapping[int | None, Expectation]) -> str:
    """Write a file; why it can't be written, or nothing."""
    try:
        file.path.write_bytes(updated(file, outcomes).encode())
    except CantBeUpdated as error:
        return str(error)
    except OSError as error:
        return f"the file can't be written: {error.strerror}"
    return ""


def updated(file: CaseFile, outcomes: Mapping[int | None, Expectation]) -> str:
    """The text of the file with these expectations, by the places of their cases. Raises CantBeUpdated."""
    tables = {at: expectation_as_table(outcome) for at, outcome in outcomes.items()}
    mark = "\ufeff" if file.text.startswith("\ufeff") else ""
    text = file.text.removeprefix("\ufeff")
    return mark + (_of_json if file.path.suffix.lower() == ".json" else _of_toml)(text, tables)


# JSON

_NUMBER = re.compile('"\ufdd0([^"]*)"')


def _of_json(text: str, tables: Mapping[int | None, Any]) -> str:
    """Numbers stay as they are written."""
    data = json.loads(text, parse_float=lambda number: f"\ufdd0{number}")
    for at, table in tables.items():
        (data if at is None else data["cases"][at])["expect"] = table
    indent = re.search(r"^[{\[]\s*?\n([ \t]+)", text)
    written = json.dumps(data, indent=indent[1] if indent else 2, ensure_ascii=False)
    return _NUMBER.sub(r"\1", written) + "\n"


# TOML


@dataclass(slots=True, repr=False)
class _Statement:
    """A header, a pair of key and value, or a line with neither: then it has no keys.

    ``path`` is the full one, with the numbers of tables in lists; ``value`` is a pair's.
    """

    text: str
    path: tuple[str | int, ...] = ()
    is_header: bool = False
    value: Any = None
    keys: int = 0  # of a pair: how many its own line has


def _of_toml(text: str, tables: Mapping[int | None, dict[str, Any]]) -> str:
    wanted = tomllib.loads(text)
    end = "\r\n" if "\r\n" in text else "\n"
    statements = list(_statements(text, end))
    for at, table in tables.items():
        (wanted if at is None else wanted["cases"][at])["expect"] = table
        base: tuple[str | int, ...] = () if at is None else ("cases", at)
        statements = _with_expectation(statements, base, table, end)
    written = "".join(statement.text for statement in statements)
    try:
        if tomllib.loads(written) == wanted:
            return written
    except tomllib.TOMLDecodeError:
        pass
    raise CantBeUpdated(
        "can't be updated as it is written; write each case as [[cases]] and its expect as [cases.expect]"
    )


def _statements(text: str, end: str) -> Iterator[_Statement]:
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    lines = re.findall(r"[^\n]*\n|[^\n]+\Z", text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        sign = line.strip()
        if not sign or sign.startswith("#"):
            yield _Statement(line)
        elif sign.startswith("["):
            table = _header(line, counts)
            yield _Statement(line, table, is_header=True)
        else:
            parsed = _parsed(line)
            while parsed is None and at < len(lines):
                line, at = line + lines[at], at + 1
                parsed = _parsed(line)
            keys, value = _key_of(line, parsed or {})
            yield _Statement(line, (*table, *keys), value=value, keys=len(keys))


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _header(line: str, counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    """The path of the table that a header begins; the last table of a list stands for the list."""
    node: Any = tomllib.loads(line)
    names: list[str] = []
    while isinstance(node, dict) and node:
        ((name, node),) = node.items()
        names.append(name)
    path: tuple[str | int, ...] = (names[0],)
    for name in names[1:]:
        path = (*path, counts[path], name) if path in counts else (*path, name)
    if isinstance(node, list):
        counts[path] = counts.get(path, -1) + 1
        path = (*path, counts[path])
    return path


def _key_of(line: str, parsed: dict[str, Any]) -> tuple[Keys, Any]:
    """The keys of a pair. Those of an inline table are no keys of the line."""
    keys: list[str] = []
    node: Any = parsed
    rest = line
    while isinstance(node, dict) and len(node) == 1:
        ((name, inner),) = node.items()
        quoted = re.match(r"""\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*([.=])""", rest)
        if quoted is None:
            break
        keys.append(name)
        node, rest = inner, rest[quoted.end() :]
        if quoted[1] == "=":
            break
    return tuple(keys), node


def _with_expectation(
    statements: list[_Statement], base: tuple[str | int, ...], table: dict[str, Any], end: str
) -> list[_Statement]:
    """The statements with another expectation of the case at ``base``."""
    here = (*base, "expect")
    own = [one for one in statements if one.path[: len(here)] == here]
    pairs = [one for one in own if not one.is_header]
    if len(pairs) == 1 and pairs[0].path == here and len(own) == 1 and "event" not in table:
        pairs[0].text = _with_value(pairs[0].text, _inline(table), end)
        return statements
    is_plain = all(one.keys == 1 and not isinstance(one.value, dict) and one.path != here for one in pairs)
    leaves = dict(_leaves(table, here))
    kept: set[tuple[str | int, ...]] = set()
    done: list[_Statement] = []
    for one in statements:
        is_of_leaves = one.is_header and any(path[: len(one.path)] == one.path for path in leaves)
        if one.path[: len(here)] != here or (is_plain and is_of_leaves):
            done.append(one)
        elif is_plain and not one.is_header and one.path in leaves:
            value = leaves[one.path]
            if one.value != value or type(one.value) is not type(value):
                one.text = _with_value(one.text, _scalar(value), end)
            kept.add(one.path)
            done.append(one)
        elif comment := _comment(one.text):
            done.append(_Statement(comment.strip() + end))
    return _with_leaves(done, base, {path: value for path, value in leaves.items() if path not in kept}, end)


def _leaves(table: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name), value


def _with_leaves(
    statements: list[_Statement], base: tuple[str | int, ...], leaves: Mapping[tuple[str | int, ...], Any], end: str
) -> list[_Statement]:
    """Put pairs behind the last one of their table, and tables that are not there behind the last line of the case."""
    groups: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for path, value in leaves.items():
        groups.setdefault(path[:-1], {})[str(path[-1])] = value
    for table, values in groups.items():
        lines = [
            _Statement(f"{_key(name)} = {_scalar(value)}{end}", (*table, name), value=value, keys=1)
            for name, value in values.items()
        ]
        headers = [at for at, one in enumerate(statements) if one.is_header and one.path == table]
        if headers:
            place = headers[0] + 1
            while place < len(statements) and not statements[place].is_header:
                place += 1
            place = _after_last(statements, headers[0], place)
        else:
            inside = [at for at, one in enumerate(statements) if one.path and one.path[: len(base)] == base]
            place = inside[-1] + 1 if inside else len(statements)
            names = ".".join(_key(str(step)) for step in table if not isinstance(step, int))
            lines.insert(0, _Statement(f"{end}[{names}]{end}", table, is_header=True))
        statements[place:place] = lines
    return statements


def _after_last(statements: Sequence[_Statement], first: int, end: int) -> int:
    """Behind the last header or pair of these statements: comments that follow belong to what comes next."""
    return max(at for at in range(first, end) if statements[at].path) + 1


def _with_value(line: str, value: str, end: str) -> str:
    """A pair with another value, and the comment that it has."""
    before = re.match(r"""\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_.-]|\s)+?\s*=\s*""", line)
    assert before is not None  # noqa: S101 -- the line was read as a pair
    return f"{before[0]}{value}{_comment(line)}{end}"


def _comment(text: str) -> str:
    """The comment at the end of a header or pair, and the blanks before it.

    It begins at the first # that no text has around it.
    """
    for at, sign in enumerate(text):
        if sign == "#" and _parsed(text[:at]):
            return text[len(text[:at].rstrip()) :].rstrip()
    return ""


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _scalar(name)


def _scalar(value: Any) -> str:
    """JSON's texts, numbers and truth values are TOML's too, but for one sign."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{_key(name)} = {_scalar(value)}" for name, value in table.items()) + " }"
