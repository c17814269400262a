"""The rules for an email address and a phone number, for one text at a time (contract, section 5).

They remove what people, forms and exports put around a value, and refuse a text that isn't exactly one value: its hash
would be delivered and counted as an identifier, and would match nobody or somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from unicodedata import category, east_asian_width, normalize

from stream_capi.events.value_rules import PLACEHOLDER, PLACEHOLDERS, Wrong

NOT_ONE_ADDRESS = Wrong("must be a single address, without a name, blanks, brackets or a mask", "not_one_address")
LETTERS = Wrong("must have no letters except in an extension", "letters")
DECIMAL = Wrong("must not be a decimal number, as spreadsheets make of phone numbers", "decimal")
MASKED = Wrong("must have all of its digits, with none masked", "masked")
TWO_NUMBERS = Wrong("must be one phone number, not two, with nothing dialled after it", "two_numbers")
ESCAPED = Wrong("must have no escapes, as a URL or HTML has", "escaped")

_is_hash = re.compile(r"[0-9a-fA-F]{64}").fullmatch
# Unicode's property Default_Ignorable_Code_Point: soft hyphen, joiners, zero-width spaces, byte order mark …
_IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F),
    (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_INVISIBLE = {code: None for first, last in _IGNORABLE for code in range(first, last + 1)}
# The ASCII characters of a host are letters, digits, ``-``, ``_`` and single dots. ``*`` occurs in masked addresses. What is
# before the first letter, digit, ``_`` or ``+`` was put there by an export or a form; so was a ``-`` or ``_`` at the end.
_NO_SIGN = r"\s\x00-\x1f\x7f-\x9f\ufffd"
_HOST_PART = rf"[^{_NO_SIGN}!-,./:-@\[-\^`{{-~]++"
_is_one_address = re.compile(
    rf"""(?=[\w+])[^{_NO_SIGN}@<>,;:"()*\[\\\]]+@(?!-){_HOST_PART}(?:\.{_HOST_PART})*+(?<![-_])"""
).fullmatch
_is_escaped = re.compile(r"%[0-9a-f]{2}").search

_find_extension = re.compile(r"(?<=\d)[\s.,;()\-]*(?:ext(?:ension|n)?|x|#)[\s.:=\-]*\d+[\s.)]*\Z").search
_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")
_find_no_digit = re.compile(r"[^\W0-9_]").search  # a letter, or a digit of another script
# Thousands may be grouped, by another character than the one before the zeros. Of a whole number, any decimal places are odd.
_is_decimal = re.compile(
    r"[+-]?(?:[0-9]{8,}\.[0-9]+|(?:[0-9]+|[0-9]{1,3}([,. '’])[0-9]{2,3}(?:\1[0-9]{2,3})*+(?!\1))[.,]0+)"
).fullmatch
# Characters in place of a masked digit. ``#`` before or after the number is none, nor is ``_`` between two digits.
_find_mask = re.compile(r"[*?•●∙◦▪■█]|[0-9][^0-9#]*#.*[0-9]|(?<![0-9])_|_(?![0-9])", re.DOTALL).search
_PARTS = re.compile(r"[/,;|:&\\\n\r]")
_find_runs = re.compile(r"[1-9][0-9]{6,}").findall
_NOT_DIGITS = bytes(sorted(set(range(256)) - set(b"0123456789")))


def email_plain(text: str) -> str | Wrong | None:
    """One address without ``mailto:`` and invisible characters, or a hash; lower-cased."""
    text = _visible(text).lower()
    if text.startswith("mailto:"):
        text = text[7:].removeprefix("//").partition("?")[0].strip()
    if _is_one_address(text):
        if "%" in text and _is_escaped(text):
            return ESCAPED
        return text if text.isascii() or not any(map(_is_odd, text)) else NOT_ONE_ADDRESS
    if text in PLACEHOLDERS:
        return PLACEHOLDER
    if "@" in text:
        return NOT_ONE_ADDRESS
    return text if _is_hash(text) else None


def phone_plain(text: str) -> str | Wrong | None:
    """The digits of one number, without ``+`` and without a leading ``00``; or a hash."""
    return number_or_hash(text, phone_digits)


def hashing(plain: Callable[..., str | Wrong | None]) -> Callable[..., str | Wrong | None]:
    """A rule that returns the SHA-256 of what the rule ``plain`` returns, unless that is a hash already, or wrong."""

    def rule(*values: str | None) -> str | Wrong | None:
        found = plain(*values)
        return sha256(found.encode()).hexdigest() if isinstance(found, str) and not _is_hash(found) else found

    return rule


email, phone = hashing(email_plain), hashing(phone_plain)


def number_or_hash(text: str, digits_of: Callable[[str], str | Wrong | None]) -> str | Wrong | None:
    """The number by ``digits_of``, or the hash. Hashes are recognized first: their digits could look like a number."""
    text = _visible(text)
    if len(text) == 64 and _is_hash(text):
        text = text.lower()
        return PLACEHOLDER if text in PLACEHOLDERS else text
    if text in PLACEHOLDERS:
        return PLACEHOLDER
    number = _one_number(text)
    return digits_of(number) if isinstance(number, str) else number


def _is_odd(sign: str) -> bool:
    """Whether a character that is not ASCII is punctuation, a symbol or full-width, as around an address in a text."""
    return not sign.isascii() and (category(sign)[0] in "PSC" or east_asian_width(sign) == "F")


def _one_number(text: str) -> str | Wrong | None:
    """One number as it was written, without a prefix and without an extension."""
    text = normalize("NFKC", text).lower().removeprefix("tel:").strip()
    if ("x" in text or "#" in text) and (extension := _find_extension(text)):
        text = text[: extension.start()]
    text = _TRUNK_ZERO.sub("", text).strip()
    if "%" in text or "&#" in text:
        return ESCAPED
    if odd := _find_no_digit(text):
        return LETTERS if odd[0].isalpha() else None
    if _is_decimal(text):
        return DECIMAL
    if _find_mask(text):
        return MASKED
    return TWO_NUMBERS if _is_more_than_one(text) else text


def _is_more_than_one(text: str) -> bool:
    """Whether there are two numbers, or a whole one with digits after it: ``5551212 5551213``, ``+49 30 1234567/68``.

    Leading zeros don't count: ``0043 664/123 45 67`` has a country and an area before the slash.
    """
    if len(_find_runs(text)) > 1:
        return True
    sizes = [len(digits.lstrip("0")) for part in _PARTS.split(text) if (digits := _digits(part))]
    return any(size >= 8 for size in sizes[:-1]) or sum(size >= 7 for size in sizes) > 1


def phone_digits(number: str) -> str | None:
    """The digits of a number as it was written; None if they are too few or too many."""
    digits = _digits(number)
    if digits.startswith("00"):  # leading zeros are removed in pairs: of an odd number, one stays
        digits = digits[(len(digits) - len(digits.lstrip("0"))) // 2 * 2 :]
    return digits if 7 <= len(digits) <= 15 else None


def _digits(text: str) -> str:
    return text.encode().translate(None, _NOT_DIGITS).decode()  # in a sixth of the time of a regular expression


def _visible(text: str) -> str:
    """Without whitespace around it and without invisible characters."""
    return (text if text.isascii() else text.translate(_INVISIBLE)).strip()
