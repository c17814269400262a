"""Makes foreign text safe to print: it can't move the cursor, change colours or reverse the reading order."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_NOT_IN_JSON = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """The text with each character that isn't printable replaced by its escape."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode() for sign in text
    )


def print_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON, in characters that standard output can encode."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    text = json.dumps(value, indent=indent, ensure_ascii=not encoding.startswith("utf"), default=repr)
    print(_NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=True)
