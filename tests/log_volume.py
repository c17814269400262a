"""The limit on what the program logs, whatever happens: on average one line per second for each pixel and topic."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

_START_AND_STOP = (
    60  # lines of one subject for a start, a stop and changes of state, which short backoffs make frequent in tests
)


def loud_subjects(output: str, seconds: float) -> dict[str, int]:
    """The subjects with more lines than that, with their counts. Debug lines are not counted: they are off by default."""
    counts = Counter(_subject_of(line) for line in map(_parsed, output.splitlines()) if line.get("level") != "debug")
    return {subject: count for subject, count in counts.items() if count > _START_AND_STOP + seconds}


def _parsed(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:  # cut off by a kill
        return {}
    return found


def _subject_of(line: dict[str, Any]) -> str:
    named = line.get("topic") or line.get("pixel") or line.get("subject") or "the program"
    return str(named).partition("/")[0]
