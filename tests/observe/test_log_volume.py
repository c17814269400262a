"""The check of log volume at the end of every row of the fault matrix can fail."""

from __future__ import annotations

import json

from tests.log_volume import loud_subjects


def line(level: str = "info", **fields: object) -> str:
    return json.dumps({"level": level, "event": "e", **fields})


def test_a_subject_with_more_than_a_line_a_second_is_found() -> None:
    flood = [line(subject="main/generate_lead")] * 70 + [line(pixel="main")] * 60 + [line(topic="leads")] * 90
    assert loud_subjects("\n".join(flood), 60) == {"main": 130}


def test_lines_without_a_subject_count_as_the_programs_and_debug_ones_not_at_all() -> None:
    text = "\n".join([line("debug")] * 500 + [line("error")] * 110 + ["Traceback"] * 15)
    assert loud_subjects(text, 60) == {"the program": 125}
    assert loud_subjects(text, 65) == {}
