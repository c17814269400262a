"""How many of the lines that a person would write ``stream-capi init`` gets right, on schemas of other projects.

The schemas and the expected lines are in ``foreign/``; its README says where they come from and what is counted.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from stream_capi import config
from stream_capi.cli import init
from stream_capi.config import FieldRule, SourceSection
from stream_capi.events.fields import FIELDS, Need
from stream_capi.events.paths import Found, Schema
from tests.avro.records import schema as ready
from tests.events.cases import cases
from tests.events.sources_and_records import LEAD
from tests.events.test_worked_cases import whole

FOREIGN = Path(__file__).parent / "foreign"
PAGE = Path(__file__).parents[2] / "docs" / "tools" / "init.md"
NEEDED: dict[str, Any] = tomllib.loads((FOREIGN / "needed.toml").read_text())
SCHEMAS: dict[str, Any] = {
    **{case.name: whole(case) for case in cases()},
    "lead": LEAD,
    **{file.stem: json.loads(file.read_text()) for file in sorted(FOREIGN.glob("*.avsc"))},
}
of_each = pytest.mark.parametrize("name", SCHEMAS)


class Line(NamedTuple):
    """The mapping that a person would write for a target; ``gives`` are values of the field and their right results."""

    paths: tuple[str, ...]
    unit: str | None
    gives: dict[str, str]


class Written(NamedTuple):
    """The file that ``init`` wrote: its text, and the source in it as the program parses it."""

    text: str
    source: SourceSection

    def is_unsure(self, target: str) -> bool:
        key = target if "." not in target else f'"{target}"'
        return "# unsure" in next(line for line in self.text.splitlines() if line.startswith(f"{key} = "))


class Count(NamedTuple):
    """Targets by result. ``invented``: the schema has nothing for it. ``surely_wrong``: wrong, not marked as unsure."""

    right: list[str]
    missed: list[str]
    wrong: list[str]
    invented: list[str]
    surely_wrong: list[str]

    @property
    def needed(self) -> int:
        return len(self.right) + len(self.missed) + len(self.wrong)


def line(given: Any) -> Line:
    table = given if isinstance(given, dict) else {"path": given}
    paths = table["path"] if isinstance(table["path"], list) else [table["path"]]
    return Line(tuple(paths), table.get("unit"), table.get("gives", {}))


def is_right(rule: FieldRule, wanted: Line) -> bool:
    given = {value: (rule.map or {}).get(value, rule.const if rule.map else value.lower()) for value in wanted.gives}
    return set(rule.paths) <= set(wanted.paths) and rule.unit == wanted.unit and given == wanted.gives


def is_needed(target: str) -> bool:
    return target == "event_id" or FIELDS[target].need not in (Need.OPTIONAL, Need.ID)


def count(name: str, written: Written) -> Count:
    right, may = (
        {target: line(given) for target, given in NEEDED[name].get(key, {}).items()} for key in ("right", "may")
    )
    paths = {target: rule for target, rule in written.source.fields.items() if rule.paths}
    good = {target for target, rule in paths.items() if target in right | may and is_right(rule, (right | may)[target])}
    needed = [target for target in right if is_needed(target)]
    return Count(
        [target for target in needed if target in good],
        [target for target in needed if target not in paths],
        [target for target in needed if target in paths and target not in good],
        [target for target in paths if target not in right | may],
        [target for target in paths if target not in good and not written.is_unsure(target)],
    )


def write(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    async def newest(*_: Any) -> Any:
        return [ready(SCHEMAS[name])], None

    monkeypatch.setattr(init, "_newest", newest)
    app = typer.Typer()
    app.command()(init.command)
    words = (
        "--registry",
        "http://registry:8081",
        "--topic",
        "leads",
        "--event",
        "generate_lead",
        "--output",
        str(file),
    )
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return Written(file.read_text(), config.load(file, {}, keys=False).sources[0])


@pytest.fixture
def written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    return write(name, tmp_path / "made.toml", monkeypatch)


@of_each
def test_four_of_five_needed_lines_are_right(name: str, written: Written) -> None:
    found = count(name, written)
    assert 5 * len(found.right) >= 4 * found.needed, found


@of_each
def test_no_path_is_wrong_without_a_mark_and_none_is_invented(name: str, written: Written) -> None:
    found = count(name, written)
    assert (found.surely_wrong, found.invented) == ([], [])


def test_what_is_right_in_all_of_them_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documentation states how many lines are needed, how many are right, and how many of those are sure."""
    counts, sure = [], 0
    for name in SCHEMAS:
        made = write(name, tmp_path / f"{name}.toml", monkeypatch)
        counts.append(count(name, made))
        sure += sum(not made.is_unsure(target) for target in counts[-1].right)
    right, needed = sum(len(one.right) for one in counts), sum(one.needed for one in counts)
    assert f"{right} of {needed} needed lines right, {sure} of them without a mark" in PAGE.read_text()


def test_each_schema_has_its_lines() -> None:
    assert set(SCHEMAS) == set(NEEDED)
    assert len(list(FOREIGN.glob("*.avsc"))) >= 3


@of_each
def test_the_lines_are_of_fields_that_the_schema_has(name: str) -> None:
    schema = Schema(SCHEMAS[name])
    lines = [line(given) for key in ("right", "may") for given in NEEDED[name].get(key, {}).values()]
    paths = [path for one in lines for path in one.paths] + NEEDED[name].get("consent", [])
    assert [path for path in paths if not isinstance(schema.find(path), Found)] == []


def test_the_schemas_are_as_they_were_taken() -> None:
    rows = [row.split() for row in (FOREIGN / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in rows} == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in FOREIGN.glob("*.avsc")
    }
