"""The scorecard's sums: they leave out what mutants lose, and count failed rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.faults import scorecard
from tests.faults.scorecard import Row

ROWS = [
    Row(
        "a fault",
        "endpoint",
        True,
        100,
        98,
        2,
        0,
        0,
        3,
        80,
        "in flight when the answers were lost",
        ["4.1 s still"],
        1.5,
    ),
    Row("another", "broker", False, 50, 40, 0, 9, 1, 0, 0, "", [], 2.5),
    Row("a wrong program", "mutants", True, 30, 10, 0, 0, 20, 7, None, "", [], 1.0),
]


def test_a_row_says_how_many_events_may_be_repeated_and_why_and_a_mutant_need_not() -> None:
    assert all(row.states_budget for row in ROWS)
    assert not replace(ROWS[0], allowed=None).states_budget
    assert not replace(ROWS[0], why="").states_budget


def test_the_totals_leave_the_mutants_out_and_count_a_failed_row_as_not_survived() -> None:
    assert scorecard.totals(ROWS) == {
        "faults": 2,
        "survived": 1,
        "produced": 150,
        "delivered": 138,
        "dead_lettered": 2,
        "uncommitted": 9,
        "lost": 1,
        "repeated": 3,
        "mutants": 1,
        "mutants_found_out": 1,
    }


def test_the_file_has_every_row_and_says_whether_the_long_ones_were_run(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "scorecard.json"
    scorecard.write(ROWS, True, file)
    document = json.loads(file.read_text())
    assert document["whole"] is True
    assert document["totals"] == scorecard.totals(ROWS)
    assert [row["name"] for row in document["rows"]] == ["a fault", "another", "a wrong program"]


def test_the_table_has_a_line_for_each_row_and_one_for_all_and_more_for_what_a_row_adds() -> None:
    head, *lines, last = scorecard.table(ROWS)
    assert "lost" in head
    assert [line.split()[0] for line in lines] == ["survived", "up", "4.1", "FAILED", "found"]
    assert lines[1].strip() == "up to 80 repeated: in flight when the answers were lost"
    column = head.index("allowed") + len("allowed")
    assert [line[column - 10 : column].strip() for line in (lines[0], *lines[3:])] == ["80", "0", "-"]
    assert last == "1 of 2 faults survived; 150 events produced, 1 lost, 3 repeated; 1 of 1 mutants found out"
