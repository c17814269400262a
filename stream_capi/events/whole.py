"""Fast rules for whole columns, for values that are simple; ``fields`` says which field has which rule.

A fast rule takes the texts of a column, none of them empty, and the most characters that one may have. It returns what is
sent for each, in order. If it returns nothing for a text, the field's rule for one value (the careful rule) decides; None
instead of a column means that this rule must decide for every text. Results have no character that JSON escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any

import orjson

from stream_capi.events import network
from stream_capi.events.value_rules import PLACEHOLDERS

Found = Sequence[str | None] | None
Whole = Callable[[Sequence[str], int], Found]

_NOT_DIGITS = bytes(sorted(set(range(256)) - set(b"0123456789\n")))
_AROUND_DIGITS = b"0123456789+-(). \n"
_is_plain_number = re.compile(rb"(?!.*(?:\( *0|\.0|[0-9]{8}\.))[0-9+\-(). ]*").fullmatch
_MOST_DIGITS = 13  # a text with more of them may have two numbers
_are_addresses = re.compile(
    rb"""(?:(?=[a-z0-9_+])[^@<>,;:"()*%\[\\\]\x7f\n]+@(?!-)[a-z0-9_-]++(?:\.[a-z0-9_-]++)*+(?<![-_])\n)*+"""
).fullmatch


def is_plain(texts: Iterable[str]) -> bool:
    """Whether all texts consist of ASCII characters that JSON doesn't escape."""
    joined = "".join(texts)
    return len(orjson.dumps(joined)) == len(joined) + 2


def are_tidy(columns: Iterable[Iterable[str | None]], longest: int) -> bool:
    """Whether all texts in these columns are ASCII without spaces, with nothing that JSON escapes, and not too long."""
    joined = "".join(filter(None, chain.from_iterable(columns)))
    size = len(joined)
    if " " in joined or (size > longest and max(map(len, filter(None, chain.from_iterable(columns)))) > longest):
        return False  # checked before the texts are written as JSON, which may be six times as long
    return len(orjson.dumps(joined)) == size + 2


def escaped(texts: Iterable[str]) -> list[str]:
    """Each text as JSON writes it between quotes. One by one: the JSON of the whole list can't be split at ``","``, because a
    text that ends with ``",`` has that at its end, too.
    """
    return [orjson.dumps(text)[1:-1].decode() for text in texts]


def numbers(values: Sequence[Any]) -> list[str]:
    """Each number as JSON writes it."""
    return orjson.dumps(values)[1:-1].decode().split(",")


def _lines(texts: Sequence[str], longest: int) -> str | None:
    """The texts, one a line; None if one has a line break in it, or is too long."""
    lines = "\n".join(texts)
    if lines.count("\n") != len(texts) - 1 or (len(lines) > longest and max(map(len, texts)) > longest):
        return None
    return lines


def _odd(match: Callable[..., re.Match[str] | None], lines: str) -> list[int]:
    """The indexes of lines that don't match. ``match`` matches any number of lines; the last one must end with a break."""
    odd: list[int] = []
    start = number = 0
    while True:
        found = match(lines, start)
        end = found.end() if found else start
        if end >= len(lines):
            return odd
        number += lines.count("\n", start, end)
        odd.append(number)
        number += 1
        start = lines.index("\n", end) + 1


def _matching(pattern: str) -> Whole:
    """Texts that match are sent as they are. One match for the column takes two thirds of the time of one for each text."""
    match = re.compile(rf"(?:{pattern}\n)*+").match

    def matching(texts: Sequence[str], longest: int) -> Found:
        lines = _lines(texts, longest)
        if lines is None:
            return None
        lines += "\n"
        first = match(lines)
        if first is not None and first.end() == len(lines):
            return texts
        found: list[str | None] = list(texts)
        for at in _odd(match, lines):
            found[at] = None
        return found

    return matching


urls = _matching(network.URL)
# Addresses that no user on the internet has are left to the careful rule; they are counted as suspect, or refused.
addresses = _matching(network.PUBLIC_IPV4)


def trimmed(texts: Sequence[str], longest: int) -> Found:
    """Texts without whitespace around them."""
    joined = "".join(texts)
    size = len(joined)
    if (size > longest and max(map(len, texts)) > longest) or len(orjson.dumps(joined)) != size + 2:
        return None
    return list(map(str.strip, texts)) if " " in joined else texts  # JSON escapes all other ASCII whitespace


def careful_only(_: Sequence[str], __: int) -> Found:
    """For a field without a fast rule."""
    return None


def identifiers(texts: Sequence[str], longest: int) -> Found:
    """Texts without whitespace around them, unless they are placeholders."""
    found = trimmed(texts, longest)
    if found is None or PLACEHOLDERS.isdisjoint(found):
        return found
    return [None if text in PLACEHOLDERS else text for text in found]


def device_ids(texts: Sequence[str], longest: int) -> Found:
    """Texts without whitespace around them, unless they are placeholders or all zeros."""
    found = identifiers(texts, longest)
    if found is None or all(text and text.strip("0-") for text in found):
        return found
    return [text if text and text.strip("0-") else None for text in found]


def _addresses(texts: Sequence[str], longest: int) -> list[bytes]:
    """Email addresses in lower case, empty for those left to the careful rule; an empty list leaves it all of them."""
    lines = _lines(texts, longest)
    if lines is None or not _has_no_blanks(lines, len(texts)):
        return []
    joined = lines.lower().encode() + b"\n"
    found = joined.splitlines()
    if _are_addresses(joined):
        return found
    return [line if _are_addresses(line + b"\n") else b"" for line in found]


def _has_no_blanks(lines: str, length: int) -> bool:
    """Whether no line has a space, a character that JSON escapes, or one that is not ASCII, whose case may need context."""
    return " " not in lines and len(orjson.dumps(lines)) == len(lines) + length + 1  # each line's end is escaped


def _numbers(texts: Sequence[str], longest: int) -> list[bytes]:
    """The digits of phone numbers, empty for those left to the careful rule; an empty list if one may be a hash."""
    lines = _lines(texts, min(longest, 63))
    if lines is None:
        return []
    joined = lines.encode()
    found = joined.translate(None, _NOT_DIGITS).split(b"\n")
    if joined.translate(None, _AROUND_DIGITS) or b"(0" in joined or b"( " in joined or b"." in joined:
        each = zip(joined.split(b"\n"), found, strict=True)
        found = [digits if _is_plain_number(line) else b"" for line, digits in each]
    return [digits if 7 <= len(digits) <= _MOST_DIGITS and digits[:2] != b"00" else b"" for digits in found]


def _hashed(find: Callable[[Sequence[str], int], list[bytes]]) -> Whole:
    """The fast rule that returns the SHA-256 of what ``find`` returns."""
    return lambda texts, longest: [sha256(one).hexdigest() if one else None for one in find(texts, longest)] or None


def _plain(find: Callable[[Sequence[str], int], list[bytes]]) -> Whole:
    """The fast rule that returns what ``find`` returns, as text."""
    return lambda texts, longest: [one.decode() or None for one in find(texts, longest)] or None


emails, plain_emails = _hashed(_addresses), _plain(_addresses)
phones, plain_phones = _hashed(_numbers), _plain(_numbers)


def five_digits(texts: Sequence[str], _: int) -> Found:
    """Postcodes of five digits. They are valid in any country, also in the US."""
    if set(map(len, texts)) != {5}:  # first, so that no long text is joined
        return None
    joined = "".join(texts)
    return texts if joined.isascii() and joined.isdigit() else None


def digits(texts: Sequence[str], longest: int) -> Found:
    """Numbers without a sign."""
    joined = "".join(texts)
    if len(joined) > longest and max(map(len, texts)) > longest:
        return None
    return texts if joined.isascii() and joined.isdigit() else None


class Spellings:
    """A table of spellings and what is sent for each, for fields with few different values.

    At most ``most`` more spellings are learned from the results of the careful rule.
    """

    def __init__(self, table: Mapping[str, str], most: int = 0) -> None:
        self.table = dict(table)
        self._most = most and len(table) + most

    def learn(self, column: Sequence[Any], found: Sequence[Any]) -> None:
        """Remember what was found for these texts, while there is room."""
        for text, value in zip(column, found, strict=True):
            if value and len(self.table) < self._most:
                self.table[text] = value

    def __call__(self, texts: Sequence[str], _: int) -> Found:
        return list(map(self.table.get, texts))
