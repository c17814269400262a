"""People who asked to be forgotten: the file that ``suppress.file`` names, read again when it changes.

A person is kept as half a SHA-256, in one sorted array: a million of them take 16 MB, and half a digest is no easier to meet
by accident or on purpose. No message repeats a line of the file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from stream_capi.avro.arrays import np
from stream_capi.errors import ConfigurationError
from stream_capi.events import contacts

_KEY_BYTES = 16
_KEY = f"S{_KEY_BYTES}"
_PIECE = 1 << 20
_LONGEST_LINE = 65_536  # bytes; a user_id has 8,192 characters at most
_MOST_LINES = 10_000_000
_is_hash = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_find_hashes = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])").findall
_are_hashes = re.compile(rb"(?:[0-9a-fA-F]{64}\r?(?:\n|\Z))*+").fullmatch
_COLUMNS = re.compile('[,;|\t"]')

_FIRST_BITS = 24  # of a key


class SortedKeys(NamedTuple):
    """``keys`` is a sorted array. ``firsts`` has a bit for each value of a key's first bits: whether any key begins so."""

    keys: Any
    firsts: Any

    def __repr__(self) -> str:
        return "SortedKeys(…)"


class _Content(NamedTuple):
    """What a file has. ``hashes`` and ``user_ids`` count its lines."""

    people: SortedKeys
    hashes: int
    user_ids: int


class SuppressionList:
    """The list as it was read last.

    ``hashes`` and ``user_ids`` count its lines. ``fault`` says why the file couldn't be read again, and is empty where it
    could: the list that was read before stays.
    """

    def __init__(self, file: str) -> None:
        """Read the file. Raises ConfigurationError where that can't be done."""
        self.fault = ""
        self._file = file
        self._content_fault = ""
        try:
            self._seen = self._tried = _signature(file)
            self._take(self._read())
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"suppress.file: {_why(error)}"]) from None

    def __repr__(self) -> str:
        return f"SuppressionList({len(self)} people)"

    def __len__(self) -> int:
        return self.hashes + self.user_ids

    def key_of_hash(self, text: str) -> bytes:
        """What the list has for an email or phone, by its SHA-256 in hex."""
        return bytes.fromhex(text[: 2 * _KEY_BYTES])

    def key_of_user_id(self, text: str) -> bytes:
        """What the list has for a user_id, which may be a hash itself. A number isn't taken for that of a phone."""
        if _is_hash(text):
            return self.key_of_hash(text)
        return sha256(b"user_id\0" + text.encode("utf-8", "surrogatepass")).digest()[:_KEY_BYTES]

    def among(self, keys: Sequence[bytes]) -> list[int]:
        """The indexes of those on the list. The first bits already rule out nearly all others."""
        people, joined = self._people, b"".join(keys)
        first = np.frombuffer(joined, dtype=">u4")[:: _KEY_BYTES // 4] >> (32 - _FIRST_BITS)
        near = np.flatnonzero(people.firsts[first >> 3] >> (7 - (first & 7)) & 1)
        if not near.size:
            return []
        asked = np.frombuffer(joined, dtype=_KEY)[near]
        found: list[int] = near[people.keys[people.keys.searchsorted(asked, side="right") - 1] == asked].tolist()
        return found

    def changed(self) -> bool:
        """Look at the file again, and take a new list. Called once a second, off the event loop.

        A file that has just changed is read when it has stayed the same until the next call, since who writes it may be in
        the midst of it. One that is emptied is not believed: nobody would be forgotten any more.
        """
        try:
            now = _signature(self._file)
            settled, self._seen = now == self._seen, now
            if now == self._tried:
                self.fault = self._content_fault
                return False
            if not settled:
                return False
            content = self._read(emptied=not len(self))
        except OSError as error:  # it is tried again the next time
            self.fault = _why(error)
            return False
        except ValueError as error:
            self._tried, self.fault, self._content_fault = now, _why(error), _why(error)
            return False
        self._take(content)
        self._tried, self.fault, self._content_fault = now, "", ""
        return True

    def _take(self, content: _Content) -> None:
        """Forget these people from now on. Who sees the counts on another thread finds the people they count."""
        self._people, self.hashes, self.user_ids = content

    def _read(self, emptied: bool = True) -> _Content:
        """The people in the file. ``emptied``: it may have none. Raises OSError, ValueError."""
        keys, hashes = bytearray(), 0
        with open(self._file, "rb") as opened:
            piece = _without_mark(opened.read(_PIECE) + opened.readline(_LONGEST_LINE))
            while piece:
                if _are_hashes(piece):
                    keys += np.frombuffer(bytes.fromhex(piece.decode()), dtype=_KEY)[::2].tobytes()
                    hashes += piece.count(b"\n") + (not piece.endswith(b"\n"))
                else:
                    texts = list(_texts(piece))
                    # A line with more than a hash, or with a plain email or phone, may be a user_id, too: it counts as both.
                    inside = [one for text in texts if len(text) > 64 for one in _find_hashes(text)]
                    inside += [one for text in texts if "@" in text or "+" in text for one in _hashes_of_contacts(text)]
                    keys += b"".join(map(self.key_of_user_id, texts)) + b"".join(map(self.key_of_hash, inside))
                    hashes += sum(_is_hash(text) is not None for text in texts) + len(inside)
                if len(keys) > _MOST_LINES * _KEY_BYTES:
                    raise ValueError(f"names a file of more than {_MOST_LINES} lines")
                piece = opened.read(_PIECE) + opened.readline(_LONGEST_LINE)
        if not keys and not emptied:
            raise ValueError("names a file that has been emptied")
        return _Content(_people(keys), hashes, len(keys) // _KEY_BYTES - hashes)


def _people(keys: bytearray) -> SortedKeys:
    found = np.frombuffer(keys, dtype=_KEY)
    found.sort()
    firsts = np.zeros(1 << _FIRST_BITS, dtype=bool)
    firsts[np.frombuffer(keys, dtype=">u4")[:: _KEY_BYTES // 4] >> (32 - _FIRST_BITS)] = True
    return SortedKeys(found, np.packbits(firsts))


def _without_mark(piece: bytes) -> bytes:
    return piece.removeprefix(b"\xef\xbb\xbf")


def _texts(piece: bytes) -> Iterator[str]:
    """The lines without blanks and quotes around them; a line may end with CR alone.

    Raises ValueError where they can't be those of such a list.
    """
    for line in piece.split(b"\n"):
        if len(line) >= _LONGEST_LINE:
            raise ValueError(f"names a file with a line of {_LONGEST_LINE} bytes or more")
        if b"\0" in line:
            raise ValueError("names a file that is not text")
        try:
            texts = [text.strip() for text in line.decode().split("\r")]
        except UnicodeDecodeError:
            raise ValueError("names a file that is not UTF-8 text") from None
        yield from (text[1:-1] if text[0] == text[-1] == '"' and len(text) > 2 else text for text in texts if text)


def _hashes_of_contacts(text: str) -> Iterator[str]:
    """The SHA-256 of each plain email in a line's columns, and of each phone that begins with ``+``."""
    for cell in map(str.strip, _COLUMNS.split(text)):
        found = contacts.email(cell) if "@" in cell else contacts.phone(cell) if cell[:1] == "+" else None
        if isinstance(found, str):
            yield found


def _signature(file: str) -> tuple[int, ...]:
    """What changes with the file: a million lines are not read each second. Raises OSError, ValueError."""
    found = os.stat(file)
    if not stat.S_ISREG(found.st_mode):  # a pipe would block, and can't be read a second time
        raise ValueError("names something that is not a regular file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"names a file that can't be read: {error.strerror or type(error).__name__}"
    return str(error)
