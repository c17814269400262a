"""Inputs and their right values, out of ``right_values/*.toml``: mapping, ``explain`` and the reference agree on each."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stream_capi.events.rules import SourceRules
from stream_capi.model import Rejection, Transformed
from tests.avro.records import decoder
from tests.events.line import Line, encoded
from tests.events.making import LEAD, NOW, TOPIC, lead, rules, sent
from tests.events.reference import Counts, outcome_of

FOLDER = Path(__file__).parent / "right_values"
KEYS = {
    "id", "target", "raw", "hex", "type", "settings", "beside", "source", "right", "dropped", "rejected", "absent", "suspect",
}  # fmt: skip
OUTCOMES = ("right", "dropped", "rejected", "absent")
HASHED = ("user_data.email", "user_data.phone")


class Case:
    """One row of the tables."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row
        self.target: str = row["target"]
        self.name = self.target.rpartition(".")[2]
        settings = dict(row.get("settings", {}))
        self.delivery: Mapping[str, Any] = settings.pop("delivery", {})
        self.settings = settings
        self.raw = bytes.fromhex(row["hex"]) if "hex" in row else row.get("raw")

    def rules(self) -> SourceRules:
        return rules(self.delivery, **self.settings)

    def schema(self) -> Any:
        """The shipped contract's, or with another type for the field."""
        if "type" not in self.row:
            return LEAD
        others = [field for field in LEAD["fields"] if field["name"] != self.name]
        return LEAD | {"fields": [*others, {"name": self.name, "type": json.loads(self.row["type"])}]}

    def record(self) -> dict[str, Any]:
        return lead(**{**self.row.get("beside", {}), self.name: self.raw})

    def dropped(self) -> dict[tuple[str, str], int]:
        """What is counted as left out."""
        return {(self.name, self.row["dropped"]): 1} if "dropped" in self.row else {}

    def right(self) -> Any:
        """What is sent; None where nothing is."""
        right = self.row.get("right")
        is_plain = self.delivery.get("hash") == "passthrough" or (right is not None and len(str(right)) == 64)
        return right if right is None or self.target not in HASHED or is_plain else sha256(right.encode()).hexdigest()


def cases() -> list[Case]:
    return [
        Case(row) for file in sorted(FOLDER.glob("*.toml")) for row in tomllib.loads(file.read_text("utf-8"))["case"]
    ]


CASES = cases()


def value_in(event: Mapping[str, Any], target: str) -> Any:
    value: Any = event
    for step in target.split("."):
        value = value.get(step)
    return value


def check(case: Case, made: Transformed) -> None:
    """Hold an outcome against the table."""
    if "rejected" in case.row:
        assert isinstance(made, Rejection), made
        assert made.code == case.row["rejected"]
    else:
        assert value_in(sent(made), case.target) == case.right()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row["id"])
def test_a_value_becomes_the_right_one(case: Case) -> None:
    raw, of_rules = case.schema(), case.rules()
    payload = encoded(raw, case.record())
    line = Line(json.dumps(raw), of_rules)
    made = line.outcome(payload)  # mapped and explained
    check(case, made)
    assert line.dropped() == case.dropped()
    (transform,) = line.transforms
    assert [reason for _, reason in transform.counts.suspect] == (
        [case.row["suspect"]] if "suspect" in case.row else []
    )
    counts = Counts()
    (row,) = decoder(raw).decode([payload])
    assert not isinstance(row, Rejection)
    assert outcome_of(of_rules, raw, row, (TOPIC, 3, 7), NOW, counts) == made
    counted = {what[1:]: n for what, n in counts.items() if what[0] == "dropped"}
    assert counted == case.dropped()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row["id"])
def test_and_the_same_one_among_sound_records(case: Case) -> None:
    """Where the fast way of a column meets it."""
    raw = case.schema()
    odd = encoded(raw, case.record())
    is_typed = "type" in case.row  # a sound value of that type is not known
    sound = odd if is_typed else encoded(raw, lead(email="a@b.example", phone="+1 650 555 1212", zip="94025"))
    line = Line(json.dumps(raw), case.rules())
    *before, made, after = line.through([sound, sound, odd, sound])
    check(case, made)
    for one in (*before, after):
        assert is_typed or sent(one)["user_data"]["email"] == sha256(b"a@b.example").hexdigest()
    assert line.dropped() == {what: n * 4**is_typed for what, n in case.dropped().items()}


def test_the_tables_are_well_formed() -> None:
    ids = [case.row["id"] for case in CASES]
    assert len(set(ids)) == len(ids)
    for case in CASES:
        assert set(case.row) <= KEYS, case.row["id"]
        assert sum(key in case.row for key in OUTCOMES) == 1, case.row["id"]
        assert case.row["source"], case.row["id"]
