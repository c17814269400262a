"""Values of events as people may see them who need not know the person (contract, section 2: ``explain``)."""

from __future__ import annotations

import re
from typing import Any

_is_hash = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_LEAST = 4  # a value this short would be given away by its first sign and its length


def masked(value: Any) -> str:
    """What kind of value it is and how long, with the first sign of a longer text: enough to see which field was mapped."""
    if value is None:
        return "null"
    if isinstance(value, str):
        if _is_hash(value):
            return "…(SHA-256)"
        first = value[0] if len(value) >= _LEAST and value[0].isprintable() else ""
        return f"{first}…({len(value)} chars)" if value else '""'
    if isinstance(value, bool):
        return "…(true or false)"
    if isinstance(value, int | float):
        return "…(number)"
    if isinstance(value, bytes):
        return f"…({len(value)} bytes)"
    return f"…({len(value)} item{'s' * (len(value) != 1)})" if isinstance(value, list | dict) else "…"


def masked_url(url: str) -> str:
    """Scheme and host of a URL, and how much follows."""
    scheme, _, rest = url.partition("://")
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    more = len(rest) - len(host)
    return f"{scheme}://{host}" + (f"/…({more} chars)" if more > 1 else "/" * more)
