"""The values of single keys of a case: checked, and made what they stand for. No fault repeats a value."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from stream_capi.config.shape import meant
from stream_capi.config.values import is_utf_8

_LEAST_MS, _MOST_MS = 10**11, 10**14  # what may be epoch milliseconds


class WrongValue(ValueError):
    """A value of a case is of no use; the text says what is wanted."""


def text(given: Any) -> str:
    if not isinstance(given, str) or not given.strip() or not is_utf_8(given):
        raise WrongValue("must be text")
    return given


def one_of(known: Sequence[str]) -> Callable[[Any], str]:
    def check(given: Any) -> str:
        if not isinstance(given, str) or given not in known:
            hint = meant(given, known) if isinstance(given, str) else ""
            raise WrongValue(f"must be one of {', '.join(known)}{hint}")
        return given

    return check


def table(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise WrongValue("must be a table")
    return given


def table_or_null(given: Any) -> dict[str, Any] | None:
    return None if given is None else table(given)


def scalar(given: Any) -> Any:
    if not isinstance(given, str | int | float | Decimal):
        raise WrongValue("must be text or a number; a field that is not sent is left out")
    return given


def true(given: Any) -> bool:
    if given is not True:
        raise WrongValue("must be true, or left out")
    return True


def number_to(most: int) -> Callable[[Any], int]:
    def check(given: Any) -> int:
        if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= most:
            raise WrongValue(f"must be a whole number from 0 to {most}")
        return given

    return check


def moment_ms(given: Any) -> int:
    """Epoch milliseconds; a time without an offset is UTC."""
    try:
        at = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        at = None
    if isinstance(at, datetime):
        at = at.replace(tzinfo=at.tzinfo or UTC)
        at = round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    if not isinstance(at, int) or isinstance(at, bool) or not _LEAST_MS <= at < _MOST_MS:
        raise WrongValue("must be a time like 2026-03-01T09:30:00Z, or epoch milliseconds")
    return at


def bytes_of_base64(given: Any) -> bytes:
    try:
        return base64.b64decode("".join(_own_text(given).split()), validate=True)
    except (binascii.Error, ValueError):
        raise WrongValue("is not base64") from None


def bytes_of_hex(given: Any) -> bytes:
    try:
        return bytes.fromhex(_own_text(given))
    except ValueError:
        raise WrongValue("is not hex") from None


def _own_text(given: Any) -> str:
    if not isinstance(given, str):
        raise WrongValue("must be text")
    return given


def bytes_of(given: Any) -> bytes:
    """A text stands for its UTF-8; other bytes are in a table."""
    if isinstance(given, dict) and len(given) == 1:
        (name,) = given
        if name in ("base64", "hex"):
            return (bytes_of_base64 if name == "base64" else bytes_of_hex)(given[name])
    if not isinstance(given, str) or not is_utf_8(given):
        raise WrongValue('must be text, { hex = "…" } or { base64 = "…" }')
    return given.encode()


def headers(given: Any) -> list[tuple[str, bytes]]:
    try:
        return [(name, bytes_of(value)) for name, value in table(given).items()]
    except WrongValue as wrong:
        raise WrongValue(str(wrong).replace("must be text", "each must be text")) from None
