"""Finds one value in many events of a source: a default, a test account, a server's own address (contract, section 9).

A sample of the events is inspected, so small that its cost can't be measured under any load. Only keyed hashes of the most
frequent values are kept, with a key that the process draws at its start, and they are never shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from math import ceil

from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.judging import NOTHING
from stream_capi.events.work import Work

LOOKS = 64  # events inspected between two collections, of all sources together
# A value is suspect from this share of the events that have the field. Browsers of a kind share a user agent, so there only
# one that nearly all events have is taken for a server's own.
SHARES: Mapping[str, float] = {
    "client_ip_address": 1 / 3,
    "client_user_agent": 0.9,
    **dict.fromkeys(IDENTIFIER_FIELDS, 1 / 3),
}
_LEAST = 100  # values that must be inspected before one is called suspect
_MOST_SAVED = 512.0  # unused looks that a source with few events may save up
_MOST_OF_CHUNK = 128
_FEW = 16  # with fewer looks at a chunk each value counts, with more only those found at least twice
_HELD = 16  # different values


class FrequentValues:
    """Counts the most frequent of many keys in fixed memory, by the algorithm of Misra and Gries.

    ``most`` is never too high. If a key was first seen late, it may be too low, by at most a 17th of all that was counted.
    """

    def __init__(self) -> None:
        self.looked_at = 0
        self._held: dict[bytes, tuple[int, int]] = {}  # count since the key is held, and the floor at that moment
        self._floor = 0

    def __repr__(self) -> str:
        return f"FrequentValues({self.looked_at} looked at)"

    @property
    def most(self) -> int:
        """The count of the most frequent key."""
        return max((count for count, _ in self._held.values()), default=0)

    def add(self, key: bytes, n: int) -> None:
        """Count a key ``n`` times."""
        held = self._held
        if key in held:
            count, floor = held[key]
            held[key] = count + n, floor
        elif len(held) < _HELD:
            held[key] = n, self._floor
        else:
            step = min(n, min(map(sum, held.values())) - self._floor)
            self._floor += step
            self._held = {one: counted for one, counted in held.items() if sum(counted) > self._floor}
            if n > step:
                self._held[key] = n, self._floor - step


class SharedValues:
    """Inspects values of one source's events.

    :param key: random, drawn by each process.
    :param looks: how many events may be inspected before ``allow`` adds more.
    """

    def __init__(self, key: bytes, looks: float = _MOST_SAVED) -> None:
        self._key = key
        self._windows: dict[tuple[str, str], FrequentValues] = {}
        self._carried: Counter[tuple[str, str]] = Counter()  # all events with a value since the window began
        self._looks = looks
        self._turn = 0

    def __repr__(self) -> str:
        return f"SharedValues({len(self._windows)} windows)"

    def allow(self, looks: float) -> None:
        """Allow so many more events to be inspected."""
        self._looks = min(_MOST_SAVED, self._looks + looks)

    def carried(self, event: str, field: str, n: int) -> None:
        """Add the number of events with a field that were mapped since the last call."""
        self._carried[event, field] += n

    def look(self, event: str, work: Work) -> None:
        """Inspect some of the events of a chunk that are sent."""
        if self._looks < 1:
            return
        places = self._places(work)
        self._looks -= len(places)
        least = 1 if len(places) < _FEW else 2
        for field in SHARES:
            texts, _, sent, _ = work.judged.get(f"user_data.{field}", NOTHING)
            if not sent:
                continue
            found = Counter(filter(None, [texts[at] for at in places]))
            window = self._windows.setdefault((event, field), FrequentValues())
            window.looked_at += found.total()
            for text, n in found.items():
                if n >= least:
                    window.add(self._key_of(text), n)

    def _places(self, work: Work) -> list[int]:
        """Indexes of events, spread evenly over the chunk and shifted with each call."""
        step = ceil(work.length / int(min(_MOST_OF_CHUNK, self._looks)))
        self._turn += 1
        return [at for at in range(self._turn % step, work.length, step) if at not in work.faults]

    def _key_of(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()

    def suspects(self) -> Iterator[tuple[str, str, int]]:
        """End the windows in which enough was inspected, and yield what is suspect: event, field, and in how many events of
        the window one value is. This is an estimate: its share among the inspected, of all events with the field.
        """
        for (event, field), window in list(self._windows.items()):
            if window.looked_at >= _LEAST:
                del self._windows[event, field]
                share, carried = window.most / window.looked_at, self._carried.pop((event, field), 0)
                if share >= SHARES[field]:
                    yield event, field, round(share * carried)
