"""Inputs and their right values from ``right_values/*.toml``: mapping, ``explain`` and the reference agree on each."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stream_capi.model import Rejection, Transformed
from tests.avro.records import decoder
from tests.events.line import Line, encoded
from tests.events.reference import Counts, outcome_of
from tests.events.sources_and_records import LEAD, NOW, TOPIC, lead, rules, sent

FOLDER = Path(__file__).parent / "right_values"
KEYS = {
    "id", "target", "raw", "hex", "type", "settings", "beside", "source", "right", "dropped", "rejected", "absent", "suspect",
    "drops",
}  # fmt: skip
OUTCOMES = ("right", "dropped", "rejected", "absent")
HASHED = ("user_data.email", "user_data.phone")


class Case:
    """One row of the tables."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row
        self.target: str = row["target"]
        self.name = self.target.rpartition(".")[2]
        self.delivery = row.get("settings", {}).get("delivery", {})
        self.raw = bytes.fromhex(row["hex"]) if "hex" in row else row.get("raw")

    def schema(self) -> Any:
        """The shipped Lead schema, perhaps with another type for the field."""
        if "type" not in self.row:
            return LEAD
        others = [field for field in LEAD["fields"] if field["name"] != self.name]
        return LEAD | {"fields": [*others, {"name": self.name, "type": json.loads(self.row["type"])}]}

    def record(self) -> dict[str, Any]:
        return lead(**{**self.row.get("beside", {}), self.name: self.raw})

    def dropped(self) -> dict[tuple[str, str], int]:
        """The fields that must be counted as left out."""
        own = {self.name: self.row["dropped"]} if "dropped" in self.row else {}
        return dict.fromkeys((own | self.row.get("drops", {})).items(), 1)

    def right(self) -> Any:
        """The value that must be sent; None if none is."""
        right = self.row.get("right")
        is_plain = self.delivery.get("hash") == "passthrough" or (right is not None and len(str(right)) == 64)
        return right if right is None or self.target not in HASHED or is_plain else sha256(right.encode()).hexdigest()


def cases() -> list[Case]:
    return [
        Case(row) for file in sorted(FOLDER.glob("*.toml")) for row in tomllib.loads(file.read_text("utf-8"))["case"]
    ]


CASES = cases()


@cache
def line_for(raw: str, of_rules: str) -> Line:
    """One line for all cases with the same schema and settings, since compiling it takes most of a case's time."""
    settings = json.loads(of_rules)
    return Line(raw, rules(settings.pop("delivery", {}), **settings))


def line_of(case: Case) -> Line:
    return line_for(json.dumps(case.schema()), json.dumps(case.row.get("settings", {})))


def value_in(event: Mapping[str, Any], target: str) -> Any:
    value: Any = event
    for step in target.split("."):
        value = value.get(step)
    return value


def check(case: Case, made: Transformed) -> None:
    """Assert the outcome that the table states."""
    if "rejected" in case.row:
        assert isinstance(made, Rejection), made
        assert made.code == case.row["rejected"]
    else:
        assert value_in(sent(made), case.target) == case.right()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row["id"])
def test_a_value_becomes_the_right_one(case: Case) -> None:
    raw, line = case.schema(), line_of(case)
    payload = encoded(raw, case.record())
    made = line.outcome(payload)  # mapped and explained
    check(case, made)
    assert line.dropped() == case.dropped()
    assert line.suspect() == ({(case.name, case.row["suspect"]): 1} if "suspect" in case.row else {})
    counts = Counts()
    (row,) = decoder(raw).decode([payload])
    assert not isinstance(row, Rejection)
    assert outcome_of(line.rules, raw, row, (TOPIC, 3, 7), NOW, counts) == made
    assert {what[1:]: n for what, n in counts.items() if what[0] == "dropped"} == case.dropped()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row["id"])
def test_and_the_same_one_among_sound_records(case: Case) -> None:
    """In such a chunk the fast path for columns meets the value."""
    raw = case.schema()
    odd = encoded(raw, case.record())
    is_typed = "type" in case.row  # no sound value of another type is known here
    sound = odd if is_typed else encoded(raw, lead(user_id="42", email="a@b.example", phone="+1 650 555 1212"))
    line = line_of(case)
    (alone,) = line.through([sound])
    line.dropped()
    *before, made, after = line.through([sound, sound, odd, sound])
    check(case, made)
    assert [*before, after] == [alone] * 3
    assert line.dropped() == {what: n * 4**is_typed for what, n in case.dropped().items()}


def test_the_tables_are_well_formed() -> None:
    ids = [case.row["id"] for case in CASES]
    assert len(set(ids)) == len(ids)
    for case in CASES:
        assert set(case.row) <= KEYS, case.row["id"]
        assert sum(key in case.row for key in OUTCOMES) == 1, case.row["id"]
        assert case.row["source"], case.row["id"]
