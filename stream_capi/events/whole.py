"""Rules for whole columns: the fast ways of ``fields``, for values that need no care.

Each takes the texts of a column, none of them empty, and the most characters that one may have; it gives what is sent for
each one, in order. Where it gives nothing for a text, the careful way of the same field decides; None for the whole column
means that each of its texts needs care. What a fast way gives has no character that JSON escapes.
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
_is_plain_number = re.compile(rb"(?!.*(?:\( *0|\.0))[0-9+\-(). ]*").fullmatch
_are_addresses = re.compile(rb"""(?:(?!')[^@<>,;:"()*\[\\\]\x7f\n]+@[a-z0-9_-]++(?:\.[a-z0-9_-]++)*+\n)*+""").fullmatch


def is_plain(texts: Iterable[str]) -> bool:
    """Whether all are of ASCII characters that JSON writes as they are."""
    joined = "".join(texts)
    return len(orjson.dumps(joined)) == len(joined) + 2


def are_tidy(columns: Iterable[Iterable[str | None]], longest: int) -> bool:
    """Whether no text in these columns has a blank or a character that JSON escapes, or is too long."""
    joined = "".join(filter(None, chain.from_iterable(columns)))
    size = len(joined)
    if " " in joined or (size > longest and max(map(len, filter(None, chain.from_iterable(columns)))) > longest):
        return False  # before JSON is made of it, which may be six times as long
    return len(orjson.dumps(joined)) == size + 2


def escaped(texts: Iterable[str]) -> list[str]:
    """Each text as it stands between quotes in JSON. One by one: the JSON of the whole list can't be split between two texts,
    since a text that ends with ``",`` looks like such a place.
    """
    return [orjson.dumps(text)[1:-1].decode() for text in texts]


def numbers(values: Sequence[Any]) -> list[str]:
    """Each number as JSON writes it."""
    return orjson.dumps(values)[1:-1].decode().split(",")


def _lines(texts: Sequence[str], longest: int) -> str | None:
    """The texts, a line each; None where one has a line's end in it, or is too long."""
    lines = "\n".join(texts)
    if lines.count("\n") != len(texts) - 1 or (len(lines) > longest and max(map(len, texts)) > longest):
        return None
    return lines


def _odd(match: Callable[..., re.Match[str] | None], lines: str) -> list[int]:
    """Which lines a pattern of any number of lines leaves out; the last line has an end, too."""
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
    """Texts that a pattern matches go as they are. One search for the column takes two thirds of one for each text."""
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
# Those that nobody on the internet has need care: they are counted, or refused.
addresses = _matching(network.PUBLIC_IPV4)


def trimmed(texts: Sequence[str], longest: int) -> Found:
    """Texts without blanks around them."""
    joined = "".join(texts)
    size = len(joined)
    if (size > longest and max(map(len, texts)) > longest) or len(orjson.dumps(joined)) != size + 2:
        return None
    return list(map(str.strip, texts)) if " " in joined else texts  # no other blank goes into JSON as it is


def careful_only(_: Sequence[str], __: int) -> Found:
    """For a rule that has no fast way."""
    return None


def identifiers(texts: Sequence[str], longest: int) -> Found:
    """Texts without blanks around them that are no placeholders."""
    found = trimmed(texts, longest)
    if found is None or PLACEHOLDERS.isdisjoint(found):
        return found
    return [None if text in PLACEHOLDERS else text for text in found]


def device_ids(texts: Sequence[str], longest: int) -> Found:
    """Texts without blanks around them that are neither placeholders nor all zeros."""
    found = identifiers(texts, longest)
    if found is None or all(text and text.strip("0-") for text in found):
        return found
    return [text if text and text.strip("0-") else None for text in found]


def _addresses(texts: Sequence[str], longest: int) -> list[bytes]:
    """The texts in small letters, empty where they need care; nothing at all where each of them does."""
    lines = _lines(texts, longest)
    if lines is None or not _has_no_blanks(lines, len(texts)):
        return []
    joined = lines.lower().encode() + b"\n"
    found = joined.splitlines()
    if _are_addresses(joined):
        return found
    return [line if _are_addresses(line + b"\n") else b"" for line in found]


def _has_no_blanks(lines: str, length: int) -> bool:
    """Whether no line has a blank, a character to escape, or one beyond ASCII, whose neighbours have a say in its case."""
    return " " not in lines and len(orjson.dumps(lines)) == len(lines) + length + 1  # each line's end is escaped


def _numbers(texts: Sequence[str], longest: int) -> list[bytes]:
    """The digits of phone numbers, empty where they need care; nothing at all where one may be a hash instead."""
    lines = _lines(texts, min(longest, 63))
    if lines is None:
        return []
    joined = lines.encode()
    found = joined.translate(None, _NOT_DIGITS).split(b"\n")
    if joined.translate(None, _AROUND_DIGITS) or b"(0" in joined or b"( " in joined or b".0" in joined:
        each = zip(joined.split(b"\n"), found, strict=True)
        found = [digits if _is_plain_number(line) else b"" for line, digits in each]
    return [digits if 7 <= len(digits) <= 15 and digits[:2] != b"00" else b"" for digits in found]


def _hashed(find: Callable[[Sequence[str], int], list[bytes]]) -> Whole:
    """SHA-256 of what is found."""
    return lambda texts, longest: [sha256(one).hexdigest() if one else None for one in find(texts, longest)] or None


def _plain(find: Callable[[Sequence[str], int], list[bytes]]) -> Whole:
    """What is found, as text."""
    return lambda texts, longest: [one.decode() or None for one in find(texts, longest)] or None


emails, plain_emails = _hashed(_addresses), _plain(_addresses)
phones, plain_phones = _hashed(_numbers), _plain(_numbers)
HASHED: tuple[Whole, ...] = (emails, phones)  # of one text alone, the careful way costs less


def five_digits(texts: Sequence[str], _: int) -> Found:
    """Postcodes of five digits, which any country may have."""
    if set(map(len, texts)) != {5}:  # before anything is done with texts of any length
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
    """A table of spellings and what is sent for each, for values of which a column has few different ones.

    ``most`` of them are learned from what the careful way finds.
    """

    def __init__(self, table: Mapping[str, str], most: int = 0) -> None:
        self.table = dict(table)
        self._most = most and len(table) + most

    def learn(self, column: Sequence[Any], found: Sequence[Any]) -> None:
        """Keep what was found for texts, as long as there is room."""
        for text, value in zip(column, found, strict=True):
            if value and len(self.table) < self._most:
                self.table[text] = value

    def __call__(self, texts: Sequence[str], _: int) -> Found:
        return list(map(self.table.get, texts))
