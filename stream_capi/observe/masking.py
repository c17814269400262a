"""Masking: the one place that decides what a log line may show.

It fails closed in three ways. A field passes only if its name is in ``FIELDS``, and only as a value of the type given there.
Text is scrubbed of everything that looks like personal data, a key or a token; values in a library's messages are left out.
Names out of the settings stay in it, since a topic with a date in its name would pass for a telephone number.
An exception is logged by its type and the lines of code it passed, without its text and the frames' variables, since both can
hold the data that caused it. Only the program's own errors keep their text, which is written for people.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any

from stream_capi.applovin import KEY_PREFIXES
from stream_capi.errors import StreamCapiError

HIDDEN = "…"
_MAX_TEXT = 500
_MAX_ITEMS = 50
_MAX_FRAMES = 12  # of each exception: the innermost, where it happened
_MAX_DEPTH = 4  # of causes and of the members of groups

_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/?#@\"']*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?", re.IGNORECASE)
_SENSITIVE = re.compile(
    r"""
      (?P<server> (?<![\d.]) \d{1,3} (?:\.\d{1,3}){3} :\d{1,5} (?![\d.]) )   # an address with a port is a neighbour's
    | (?P<secret> (?: authorization | api[-_ ]?key | token | passw(?:or)?d | secret | cookie | user\.info ) \b
        ["']? \s* [:=,] \s* (?: b (?=["']) )? ["']? (?: (?:bearer|basic) \s+ )? [^\s"',]+ )
    | (?P<bearer> \b (?:bearer|basic) \s+ [^\s"',]+ )
    | (?P<query> \? [\w.%-]+ = [^\s"']* )
    | (?P<email> (?<! [^\s"'<>(),;:=] ) [^\s"'<>(),;:=@]*+ @ [^\s"'<>(),;]* )
    | (?P<hash> [0-9a-f]{32,} )
    | (?P<key> (?<! [\w+=] ) (?= [\w+=]* \d ) (?= [\w+=]* [a-z] ) [\w+=]{28,} )
    | (?P<phone> \+? \(? \d (?: [ .()/-]{0,2} \d ){6,} )                      # IPv4 addresses and moments in ms, too
    | (?P<ipv6> (?<! [\w:] ) (?: [0-9a-f]{1,4} : ){3,} [0-9a-f:.]* | (?<! [\w:] ) (?: [0-9a-f]{1,4} : )+ : [0-9a-f:.]* )
    """,
    re.IGNORECASE | re.VERBOSE,
)
# In a library's message anything in quotes may be a value, and so may any long word of letters and digits.
_VALUES = re.compile(
    r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|(?<![\w+/=-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[a-z])[\w+/=-]{20,}", re.IGNORECASE
)
_OFFSET = re.compile(r"(.+)(\[\d+\] up to \d+)", re.ASCII)
_OWN_URL = re.compile(
    r"(https?://)(?:[^/?#@]*@)?([\w.-]{1,253}(?::\d+)?|\[[\da-fA-F:.]+\](?::\d+)?)(/[^?#]*)?(?:[?#].*)?"
)
_TRACE = re.compile(r"[A-Za-z0-9_.:/+=;-]{1,64}")
_NAME = re.compile(r"[\w.:/\[\] -]{0,255}")


class _Names:
    """Names out of the settings, which stand in a text as they are."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[str] | None = None

    def keep(self, names: Iterable[str]) -> None:
        """Let these stand in every text from now on, but none that is nothing but a number, an address or a key."""
        longest_first = sorted({name for name in names if name and _name(name) == name}, key=len, reverse=True)
        any_of_them = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(rf"(?<![\w.@+-])(?:{any_of_them})(?![\w@]|\.\w)") if longest_first else None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the text has one of them."""
        return [found.span() for found in self._pattern.finditer(text)] if self._pattern is not None else []


_kept = _Names()
keep_names = _kept.keep


def scrub(text: str) -> str:
    """The text without what looks like an address, a phone number, a hash, a key, a token or a query; one line, bounded."""
    text = str.__str__(text)[: 4 * _MAX_TEXT]
    text = _URL.sub(r"\1\2", text).replace("%40", "@")
    names = _kept.spans(text)

    def shown(found: re.Match[str]) -> str:
        is_part_of_a_name = any(start <= found.start() and found.end() <= end for start, end in names)
        return found[0] if found.lastgroup == "server" or is_part_of_a_name else HIDDEN

    text = _SENSITIVE.sub(shown, text)
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + HIDDEN


def scrub_library_text(text: str) -> str:
    """A library's own words: the first line, without anything that may be a value."""
    return scrub(_VALUES.sub(HIDDEN, str.__str__(text).partition("\n")[0][: 4 * _MAX_TEXT]))


def _text(value: object) -> Any:
    return scrub(value) if isinstance(value, str) else HIDDEN


def _name(value: object) -> Any:
    """A name out of the settings; digits are in topics, too, so only one that is nothing else is taken for a number."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return HIDDEN
    found = _SENSITIVE.fullmatch(value) or re.search(r"[0-9A-Fa-f]{32}", value)
    return HIDDEN if found else str.__str__(value)


def _number(value: object) -> Any:
    return value if isinstance(value, (bool, int, float)) else HIDDEN


def _texts(value: object) -> Any:
    return [_text(item) for item in value[:_MAX_ITEMS]] if isinstance(value, (list, tuple)) else HIDDEN


def _offsets(value: object) -> Any:
    """Partitions with an offset: a topic is a name, whose digits are no telephone number."""
    found = [_OFFSET.fullmatch(str(item)) for item in value[:_MAX_ITEMS]] if isinstance(value, (list, tuple)) else []
    return [f"{_name(at[1])}{at[2]}" if at else HIDDEN for at in found]


def trace_id(value: object) -> Any:
    """A trace's id, which may be as long as a hash of MD5, and never one of SHA-256."""
    if not isinstance(value, str) or not _TRACE.fullmatch(value) or re.fullmatch(r"(?i)[0-9a-f]{40,}", value):
        return HIDDEN
    return str.__str__(value)


def _names(value: object) -> Any:
    return [_name(item) for item in value[:_MAX_ITEMS]] if isinstance(value, (list, tuple)) else HIDDEN


def _address(value: object) -> Any:
    """A neighbour's or the program's own URL out of the settings, without login, query and fragment."""
    found = _OWN_URL.fullmatch(value) if isinstance(value, str) else None
    return HIDDEN if found is None else f"{found[1]}{found[2]}{scrub(found[3] or '')}"


def _key_form(value: object) -> Any:
    """The name of a form, and never what stands in the header."""
    return value if isinstance(value, str) and value in KEY_PREFIXES else HIDDEN


FIELDS: Mapping[str, Callable[[object], Any]] = {
    "authorization": _key_form,
    "error_code": _name,
    "error_message": _text,
    "trace_id": trace_id,
    **dict.fromkeys(("endpoint", "page"), _address),
    "topics": _names,
    **dict.fromkeys(
        ("client", "code", "group", "host", "pixel", "schema", "state", "subject", "topic", "version"), _name
    ),
    **dict.fromkeys(("action", "detail", "reason"), _text),
    **dict.fromkeys(
        (
            "attempts",
            "bytes",
            "count",
            "dead_lettered",
            "delivered",
            "epoch",
            "last_offset",
            "limit",
            "offset",
            "partition",
            "pid",
            "port",
            "repeated",
        ),
        _number,
    ),
    **dict.fromkeys(
        ("hashes", "left_to_next_owner", "per_second", "seconds", "status", "user_ids", "worker", "workers"), _number
    ),
    "held": _texts,
    "uncommitted": _offsets,
}


def mask(logger: Any, method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """The structlog processor: returns a new dictionary of what may be shown. ``withheld`` counts the other fields."""
    shown: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": method,
        "logger": getattr(logger, "name", "stream_capi"),
        "event": _text(event.get("event")),
    }
    withheld = 0
    for key, value in event.items():
        if key in ("event", "exc_info"):
            continue
        show = FIELDS.get(key)
        if show is None:
            withheld += 1
        else:
            shown[key] = None if value is None else show(value)
    if withheld:
        shown["withheld"] = withheld
    error = _exception_of(event.get("exc_info"))
    if error is not None:
        shown["error"] = _type_of(error)
        shown["traceback"] = list(exception_lines(error))
    return shown


def _exception_of(given: object) -> BaseException | None:
    if isinstance(given, tuple):
        given = given[1] if len(given) == 3 else None
    elif given is True:
        given = sys.exc_info()[1]
    return given if isinstance(given, BaseException) else None


def exception_lines(error: BaseException, depth: int = 0) -> Iterator[str]:
    """An exception line by line: its type, the lines of code it passed, then its cause or the members of its group."""
    text = f": {scrub(str(error))}" if isinstance(error, StreamCapiError) else ""
    yield f"{_type_of(error)}{text}"
    yield from (f"  {frame}" for frame in _frames(error.__traceback__))
    if depth == _MAX_DEPTH:
        return
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions[:_MAX_ITEMS]:
            yield "with"
            yield from exception_lines(member, depth + 1)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield "after"
        yield from exception_lines(cause, depth + 1)


def _frames(traceback: TracebackType | None) -> list[str]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{place_of(code.co_filename)}:{traceback.tb_lineno} in {code.co_name}")
        traceback = traceback.tb_next
    return frames[-_MAX_FRAMES:]


def place_of(file: str) -> str:
    """The file from its package on: what lies before it is this machine's, and may be somebody's name."""
    parts = PurePath(file).parts
    for root in ("site-packages", "stream_capi"):
        if root in parts:
            at = len(parts) - 1 - parts[::-1].index(root)
            return "/".join(parts[at + (root == "site-packages") :])
    return parts[-1] if parts else "?"


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
