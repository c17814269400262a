"""The worked cases of ``docs/mapping.md``, parsed from the document, so that the tests verify what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

DOCUMENT = Path(__file__).parents[2] / "docs" / "mapping.md"
_BLOCK = re.compile(r"<!-- (\w+): (\w+) -->\n```\w+\n(.*?)```\n", re.DOTALL)


class Case(NamedTuple):
    """One worked case. ``referenced`` is a schema that ``schema`` refers to, or None."""

    name: str
    schema: Any
    referenced: Any
    config: str
    record: str
    event: Any
    explained: str


def cases() -> list[Case]:
    parts: dict[str, dict[str, str]] = {}
    for name, part, text in _BLOCK.findall(DOCUMENT.read_text()):
        parts.setdefault(name, {})[part] = text
    return [
        Case(
            name,
            json.loads(of["schema"]),
            json.loads(of["referenced"]) if "referenced" in of else None,
            of["config"],
            of["record"],
            json.loads(of["event"]),
            of.get("explain", ""),
        )
        for name, of in parts.items()
    ]
