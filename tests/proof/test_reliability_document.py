"""docs/reliability.md names only files that exist, and gives the right number of mutants."""

from __future__ import annotations

import re
from pathlib import Path

from tests.proof.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text()


def test_every_file_it_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", TEXT))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_it_counts_the_mutants_right() -> None:
    numbers = {7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}
    assert f"broken in {numbers[len(MUTANTS)]} ways" in TEXT
