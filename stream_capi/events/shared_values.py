"""One value in many events of a source: a default, a test account, a server's own address (contract, section 9).

Some events are looked at, as many as cost nothing that could be measured, whatever the load. Nothing is kept of a value but
a hash with a key that this process drew at its start, of the most frequent ones alone, and none of it is ever shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from math import ceil

from stream_capi.events.fields import IDENTIFIER_FIELDS
from stream_capi.events.judging import NOTHING
from stream_capi.events.work import Work

LOOKS = 64  # events that all sources together look at between two collections
# The share of the events with a value from which one is suspect. Browsers of a kind have the same user agent: there only
# what nearly all have is a server's own.
SHARES: Mapping[str, float] = {
    "client_ip_address": 1 / 3,
    "client_user_agent": 0.9,
    **dict.fromkeys(IDENTIFIER_FIELDS, 1 / 3),
}
_LEAST = 100  # values that must have been looked at, before one is called suspect
_MOST_SAVED = 512.0  # looks that a source in which little happens may have at once
_MOST_OF_CHUNK = 128
_FEW = 16  # of a chunk with fewer looks each value counts, of a larger one what is there twice
_HELD = 16  # different values


class FrequentValues:
    """Counts the most frequent ones of many keys in fixed memory, by the algorithm of Misra and Gries.

    ``most`` never counts too many. It counts too few, by one in 17 at most, where a key came up late.
    """

    def __init__(self) -> None:
        self.looked_at = 0
        self._held: dict[bytes, tuple[int, int]] = {}  # how often since it is held, and the floor at that moment
        self._floor = 0

    def __repr__(self) -> str:
        return f"FrequentValues({self.looked_at} looked at)"

    @property
    def most(self) -> int:
        """How often the most frequent key was seen."""
        return max((count for count, _ in self._held.values()), default=0)

    def add(self, key: bytes, n: int) -> None:
        """A key was seen ``n`` times."""
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
    """Looks at values of one source's events.

    :param key: drawn at random by each process.
    :param looks: how many events may be looked at before more are allowed.
    """

    def __init__(self, key: bytes, looks: float = _MOST_SAVED) -> None:
        self._key = key
        self._windows: dict[tuple[str, str], FrequentValues] = {}
        self._carried: Counter[tuple[str, str]] = Counter()  # events with a value since the window's begin, all of them
        self._looks = looks
        self._turn = 0

    def __repr__(self) -> str:
        return f"SharedValues({len(self._windows)} windows)"

    def allow(self, looks: float) -> None:
        """So many more events may be looked at."""
        self._looks = min(_MOST_SAVED, self._looks + looks)

    def carried(self, event: str, field: str, n: int) -> None:
        """So many events carry a field, of those that were mapped since the last time."""
        self._carried[event, field] += n

    def look(self, event: str, work: Work) -> None:
        """Look at some of the events of a chunk that are sent."""
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
        """Indexes of events all over a chunk, others each time."""
        step = ceil(work.length / int(min(_MOST_OF_CHUNK, self._looks)))
        self._turn += 1
        return [at for at in range(self._turn % step, work.length, step) if at not in work.faults]

    def _key_of(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()

    def suspects(self) -> Iterator[tuple[str, str, int]]:
        """End the windows in which enough was looked at: event, field, and in how many events one value is, where that is
        too many. It is an estimate: the share of the looks, of all events that carried the field in that window.
        """
        for (event, field), window in list(self._windows.items()):
            if window.looked_at >= _LEAST:
                del self._windows[event, field]
                share, carried = window.most / window.looked_at, self._carried.pop((event, field), 0)
                if share >= SHARES[field]:
                    yield event, field, round(share * carried)
